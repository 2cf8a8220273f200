"""Pictures of a run: PNG for people, SVG for the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sbiwb.files import put
from sbiwb.report import to_both

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def put_picture(stem: Path, figure: Figure) -> Path:
    """Writes STEM.png and STEM.svg; returns the first."""
    path = stem.with_name(f"{stem.name}.png")  # a stem may hold a dot
    png, svg = to_both(figure)
    put(path, png)
    put(stem.with_name(f"{stem.name}.svg"), svg)
    return path
