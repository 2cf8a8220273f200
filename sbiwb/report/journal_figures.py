"""Pictures for a paper: an SVG of the run as PDF, whose lines and letters stay lines and letters,
and as PNG, at the width of a journal's column."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from sbiwb.errors import ConfigError
from sbiwb.extras import imported
from sbiwb.report._picture import Picture

ONE_COLUMN, TWO_COLUMNS = 88.0, 180.0  # mm, of Nature, Science and PNAS within 3 mm
NARROW = 480  # CSS pixels of a picture that one column holds with letters of 6 points
MM_PER_INCH, PIXELS_PER_INCH = 25.4, 96
DPI = 600  # what journals ask of lines
OPTION = "report --figures"
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>{fonts}</dir>
  <cachedir>{cache}</cachedir>
</fontconfig>
"""


def width_of(picture: Picture) -> float:
    """Of one column or of two, in mm: what the picture fills with letters that can be read."""
    width, _ = picture.size or (NARROW + 1, 0)
    return ONE_COLUMN if width <= NARROW else TWO_COLUMNS


@contextmanager
def journal_renderer() -> Iterator[ModuleType]:
    """CairoSVG, which finds the letters that matplotlib brings where the machine has none.

    Raises:
        ConfigError: It is not installed, or there is no Cairo on this machine.
    """
    import matplotlib

    before = os.environ.get("FONTCONFIG_FILE")
    with tempfile.TemporaryDirectory(prefix="sbiwb-fonts-") as folder:
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        settings = Path(folder) / "fonts.conf"
        settings.write_text(FONTS.format(fonts=fonts, cache=folder), encoding="utf-8")
        os.environ["FONTCONFIG_FILE"] = str(settings)
        try:
            yield _cairosvg()
        finally:
            os.environ.pop("FONTCONFIG_FILE")
            if before is not None:
                os.environ["FONTCONFIG_FILE"] = before


def _cairosvg() -> ModuleType:
    try:
        return imported("cairosvg", extra="figures", where=OPTION)
    except OSError as error:  # the package is there, and the C library is not
        raise ConfigError(
            f"needs the library Cairo: {str(error).splitlines()[0]}",
            where=OPTION,
            todo="apt-get install libcairo2, or conda install cairo; the run's folders hold every "
            "picture as PNG and SVG without it",
        ) from error


def journal_files(renderer: ModuleType, picture: Picture, width: float) -> dict[str, bytes]:
    """The picture by the suffix of its file; one that is no SVG stays the PNG it is.

    Args:
        renderer: From `journal_renderer`.
        picture: As the run has it.
        width: In mm.
    """
    if picture.suffix != ".svg":
        return {picture.suffix: picture.data}
    inches = width / MM_PER_INCH
    pdf: bytes = renderer.svg2pdf(bytestring=picture.data, output_width=inches * PIXELS_PER_INCH)
    png: bytes = renderer.svg2png(
        bytestring=picture.data, output_width=round(inches * DPI), background_color="white"
    )
    return {".pdf": pdf, ".png": png}
