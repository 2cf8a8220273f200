"""Figures as SVG: small, the same each time, and true to what was drawn."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sbiwb.report import to_svg
from sbiwb.report._svg import shorter_path


def figure(dots: int = 20, panels: int = 1):
    from matplotlib.figure import Figure

    made = Figure(figsize=(4, 3), layout="constrained")
    t = np.linspace(0, 1, 1000)
    for axes in made.subplots(1, panels, squeeze=False).flat:
        axes.scatter(*np.random.default_rng(0).random((2, dots)), s=4)
        axes.plot(t, t**2, label="a < b")
        axes.fill_between(t, t - 0.1, t + 0.1, alpha=0.3)
        axes.vlines([0.1, 0.2], 0, 1)
        axes.set_title("σ & τ")
    return made


def elements(data: bytes, name: str):
    return list(ElementTree.fromstring(data).iter(f"{{http://www.w3.org/2000/svg}}{name}"))


def test_the_same_figure_gives_the_same_bytes():
    assert to_svg(figure()) == to_svg(figure())
    assert b"<dc:date>" not in to_svg(figure())


def test_text_stays_text():
    assert "σ & τ" in [element.text for element in elements(to_svg(figure()), "text")]


@pytest.mark.parametrize(
    ("dots", "panels", "images"),
    [(20, 1, 0), (301, 1, 1), (250, 9, 9)],
    ids=["few", "crowd", "many panels"],
)
def test_crowds_of_marks_become_an_image_of_their_own(dots, panels, images):
    made = figure(dots, panels)
    data = to_svg(made)
    assert len(elements(data, "image")) == images
    assert len(elements(data, "text")) > 5
    assert not any(artist.get_rasterized() for axes in made.axes for artist in axes.get_children())


def test_a_panel_costs_little():
    one, four = len(to_svg(figure(1000))), len(to_svg(figure(1000, panels=4)))
    assert four - one < 3 * 40_000


def corners(path: str) -> np.ndarray:
    return np.array(
        [
            [float(number) for number in pair.split()]
            for pair in re.findall(r"[ML] ?([-\d.]+ [-\d.]+)", path)
        ]
    )


def test_a_long_curve_keeps_its_course():
    t = np.linspace(0, 200, 1500)
    course = np.stack([t, 50 + 40 * np.sin(t / 7) + 3 * np.sin(t * 2)], axis=1)
    path = "M " + " L ".join(f"{x:.6f} {y:.6f} \n" for x, y in course)
    short = shorter_path(path)
    kept = corners(short)
    assert len(short) < len(path) / 4
    assert np.abs(kept[[0, -1]] - course[[0, -1]]).max() <= 0.05
    assert max(distance(point, kept[:-1], kept[1:]).min() for point in course) < 1.0


def distance(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Of a point from each piece of a line, (n,)."""
    along = np.clip(
        ((point - start) * (end - start)).sum(1) / np.maximum(((end - start) ** 2).sum(1), 1e-9),
        0,
        1,
    )
    return np.hypot(*(start + along[:, None] * (end - start) - point).T)


def test_outlines_stay_closed_and_short_paths_stay_whole():
    assert shorter_path("M 0 0 \nL 3.14159 0.004 \nL 3.1 4 \nz\n") == "M0 0L3.14 0L3.1 4z"
    assert shorter_path("M 0 0 \nQ 1 2 3 4 \nC 1 2 3 4 5 6.789") == "M0 0Q1 2 3 4C1 2 3 4 5 6.79"
    ring = [(np.cos(a) * 50, np.sin(a) * 50) for a in np.linspace(0, 6.2, 900)]
    short = shorter_path("M " + "L ".join(f"{x:.6f} {y:.6f} " for x, y in ring) + "z")
    assert short.endswith("z")
    assert np.abs(np.hypot(*corners(short).T) - 50).max() < 0.2
