"""Figures as small SVG files: text as text, crowds of marks as an image inside, the same bytes for
the same figure."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import DPI, to_png

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

# SVG elements of an artist from which it becomes an image; in a figure of many, from fewer.
PANEL_MARKS, FIGURE_MARKS, FEW_MARKS = 300, 2000, 40
LONG_CURVE = 60  # vertices
# Points of the page within which two vertices are one, and three lie on a line.
SAME_VERTEX, STRAIGHT = 0.6, 0.2
PATH = re.compile(r'(?<= d=")[^"]*')
VERTEX = re.compile(r"([MLQCz])((?: -?[\d.]+)*)")
FONTS = re.compile(r"'DejaVu Sans'[^;\"]*")
INDENTATION = re.compile(r"\n\s+")
TAG = re.compile(r"<[^>]+>")
LONG_DECIMAL = re.compile(r"-?\d+\.\d{3,}")
SILENT = dict.fromkeys(("Date", "Creator", "Format", "Type"))
NO_MARKER = ("None", "none", None, "", " ")


def to_svg(figure: Figure) -> bytes:
    """The figure as SVG bytes.

    Text is laid out with DejaVu Sans, which is wide: whatever font the reader has fits. A curve
    keeps its course within a point.
    """
    text = FONTS.sub("'DejaVu Sans', sans-serif", _drawn(figure))
    text = PATH.sub(lambda match: shorter_path(match[0]), text)
    text = TAG.sub(lambda match: _rounded(match[0]), text)
    return INDENTATION.sub("\n", text).encode()


def _drawn(figure: Figure) -> str:
    from matplotlib import rc_context

    buffer = io.BytesIO()
    settings = rc_context({"svg.fonttype": "none", "svg.hashsalt": "sbiwb"})
    with settings, _crowds_as_image(figure), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(buffer, format="svg", dpi=DPI, metadata=SILENT)
    return buffer.getvalue().decode()


def _rounded(tag: str) -> str:
    """An element with two decimals in its attributes."""
    return LONG_DECIMAL.sub(lambda match: _decimal(float(match[0]), 2), tag)


def to_both(figure: Figure) -> tuple[bytes, bytes]:
    """The figure as PNG and as SVG, laid out once; its layout is fixed from then on."""
    png = to_png(figure)
    figure.set_layout_engine("none")
    return png, to_svg(figure)


@dataclass(frozen=True)
class _Step:
    """One command of SVG path data with its numbers."""

    command: str
    numbers: tuple[float, ...] = ()

    def written(self, places: int) -> str:
        return self.command + " ".join(_decimal(number, places) for number in self.numbers)


def _decimal(number: float, places: int) -> str:
    return f"{round(number, places):.6g}"


def shorter_path(path: str) -> str:
    """SVG path data with few decimals; a long curve, or a long outline, with the vertices that it
    needs."""
    steps = list(map(_step, VERTEX.findall(path)))
    outline = steps
    if steps and steps[-1].command == "z":
        outline = steps[:-1]
    if len(steps) <= LONG_CURVE or not _is_polyline(outline):
        return "".join(step.written(2) for step in steps)
    corners = _simplified(np.array([step.numbers for step in outline])).tolist()
    lines = [_Step("L", tuple(corner)) for corner in corners[1:]]
    whole = [_Step("M", tuple(corners[0])), *lines, *steps[len(outline) :]]
    return "".join(step.written(1) for step in whole)


def _step(match: tuple[str, str]) -> _Step:
    command, numbers = match
    return _Step(command, tuple(map(float, numbers.split())))


def _is_polyline(steps: list[_Step]) -> bool:
    commands = "".join(step.command for step in steps)
    return commands.strip("L") == "M"


def _simplified(corners: np.ndarray) -> np.ndarray:
    """Corners (n, 2) without those close to the one before, and without those nearly on a line."""
    from matplotlib.path import Path

    kept = [corners[0]]
    for corner in corners[1:-1]:
        if np.abs(corner - kept[-1]).max() >= SAME_VERTEX:
            kept.append(corner)
    path = Path(np.array([*kept, corners[-1]]))
    path.simplify_threshold = STRAIGHT
    vertices = np.asarray(path.cleaned(simplify=True).vertices)
    return vertices[:-1]  # the last one only says that the path ends


@contextmanager
def _crowds_as_image(figure: Figure) -> Iterator[None]:
    """Has artists of too many marks rasterized, and takes that back."""
    crowds = _crowds(figure)
    for artist in crowds:
        artist.set_rasterized(True)
    try:
        yield
    finally:
        for artist in crowds:
            artist.set_rasterized(False)


def _crowds(figure: Figure) -> list[Artist]:
    """Artists of too many marks that are not rasterized yet."""
    artists: list[Artist] = []
    for axes in figure.axes:
        artists += axes.get_children()
    marks = list(map(_marks, artists))
    most = PANEL_MARKS
    if sum(marks) > FIGURE_MARKS:
        most = FEW_MARKS
    crowds = []
    for artist, count in zip(artists, marks, strict=True):
        if count > most and not artist.get_rasterized():
            crowds.append(artist)
    return crowds


def _marks(artist: Artist) -> int:
    """How many SVG elements the artist becomes, where each of its points, segments or cells is
    one."""
    from matplotlib.collections import Collection, PolyCollection, QuadMesh
    from matplotlib.lines import Line2D

    match artist:
        case Line2D():
            return 0 if artist.get_marker() in NO_MARKER else np.size(artist.get_xdata())
        case QuadMesh():
            return np.size(np.asarray(artist.get_array()))
        case PolyCollection():
            return 0
        case Collection():
            return max(len(np.asarray(artist.get_offsets())), len(artist.get_paths()))
    return 0
