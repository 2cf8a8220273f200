"""Figures as small SVG files: text as text, crowds of marks as an image inside, the same bytes for the same figure."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import DPI, to_png

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

PANEL_MARKS, FIGURE_MARKS, FEW_MARKS = (
    300,
    2000,
    40,
)  # SVG elements; where there are more they become an image
LONG = 60  # vertices of a long curve
NEAR, STRAIGHT = (
    0.6,
    0.2,
)  # points of the page within which two vertices are one, and three on a line
PATH = re.compile(r'(?<= d=")[^"]*')
VERTEX = re.compile(r"([MLQCz])((?: -?[\d.]+)*)")
FONTS = re.compile(r"'DejaVu Sans'[^;\"]*")


def to_svg(figure: Figure) -> bytes:
    """The figure as SVG bytes.

    Text is laid out with DejaVu Sans, which is wide: whatever font the reader has fits. A curve keeps its course within a point.
    """
    from matplotlib import rc_context

    buffer = io.BytesIO()
    silent = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with (
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "sbiwb"}),
        _crowds_as_image(figure),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(buffer, format="svg", dpi=DPI, metadata=silent)
    text = FONTS.sub("'DejaVu Sans', sans-serif", buffer.getvalue().decode())
    return PATH.sub(lambda found: _shorter(found[0]), text).encode()


def to_both(figure: Figure) -> tuple[bytes, bytes]:
    """The figure as PNG and as SVG, laid out once; its layout is fixed from then on."""
    png = to_png(figure)
    figure.set_layout_engine("none")
    return png, to_svg(figure)


def _shorter(path: str) -> str:
    """SVG path data with few decimals; a long curve, or a long outline, with the vertices that it needs."""
    steps = [
        (command, [float(number) for number in numbers.split()])
        for command, numbers in VERTEX.findall(path)
    ]
    closed = steps[-1:] == [("z", [])]
    corners = steps[:-1] if closed else steps
    if len(steps) <= LONG or "".join(command for command, _ in corners).strip("L") != "M":
        return _told(steps, places=2)
    first, *others = _simplified(np.array([numbers for _, numbers in corners])).tolist()
    return _told([("M", first), *(("L", one) for one in others), *steps[len(corners) :]], places=1)


def _told(steps: Iterable[tuple[str, list[float]]], *, places: int) -> str:
    return "".join(
        command + " ".join(f"{round(number, places):g}" for number in numbers)
        for command, numbers in steps
    )


def _simplified(corners: np.ndarray) -> np.ndarray:
    """Corners (n, 2) without those within `NEAR` of the one before, and without those nearly on a line."""
    from matplotlib.path import Path

    kept = [corners[0]]
    for corner in corners[1:-1]:
        if np.abs(corner - kept[-1]).max() >= NEAR:
            kept.append(corner)
    path = Path(np.array([*kept, corners[-1]]))
    path.simplify_threshold = STRAIGHT
    return np.asarray(path.cleaned(simplify=True).vertices)[
        :-1
    ]  # the last one only says that the path ends


@contextmanager
def _crowds_as_image(figure: Figure) -> Iterator[None]:
    """Has artists of too many marks rasterized, and takes that back."""
    marks = [(artist, _marks(artist)) for axes in figure.axes for artist in axes.get_children()]
    most = FEW_MARKS if sum(count for _, count in marks) > FIGURE_MARKS else PANEL_MARKS
    crowds = [artist for artist, count in marks if count > most and not artist.get_rasterized()]
    for artist in crowds:
        artist.set_rasterized(True)
    try:
        yield
    finally:
        for artist in crowds:
            artist.set_rasterized(False)


def _marks(artist: Artist) -> int:
    """How many SVG elements the artist becomes, where each of its points, segments or cells is one."""
    from matplotlib.collections import Collection, PolyCollection, QuadMesh
    from matplotlib.lines import Line2D

    if isinstance(artist, Line2D):
        return (
            len(np.asarray(artist.get_xdata()))
            if artist.get_marker() not in ("None", "none", None, "", " ")
            else 0
        )
    if isinstance(artist, QuadMesh):
        return np.asarray(artist.get_array()).size
    if isinstance(artist, PolyCollection) or not isinstance(artist, Collection):
        return 0
    return max(len(np.asarray(artist.get_offsets())), len(artist.get_paths()))
