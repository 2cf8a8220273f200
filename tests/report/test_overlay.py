"""Methods over one another: the table has their numbers, the picture a panel a pair and a line a
method."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from sbiwb.report import Distance, overlay_csv, overlay_picture, to_png
from sbiwb.report.kernel_density import densest_level

ROWS = [
    Distance("vi", "first", 1000, 0.5, -0.001, {"a": 0.1, "b[0]": 0.2}, {"a": 1.0, "b[0]": 0.5}),
    Distance(
        "amortized", "first", 1000, 0.75, 0.25, {"a": 1.5, "b[0]": 0.0}, {"a": 2.0, "b[0]": 1.0}
    ),
]


def test_the_table_has_a_line_a_method_and_data_set():
    first, second = csv.DictReader(io.StringIO(overlay_csv(ROWS)))
    assert (first["method"], first["data_set"], first["draws"], first["c2st"], first["mmd2"]) == (
        "vi",
        "first",
        "1000",
        "0.5",
        "-0.001",
    )
    assert (first["mean_shift[b[0]]"], first["sd_ratio[b[0]]"]) == ("0.2", "0.5")
    assert (second["method"], second["mean_shift[a]"], second["sd_ratio[a]"]) == (
        "amortized",
        "1.5",
        "2",
    )


@pytest.mark.parametrize(("d", "draws"), [(1, 2000), (3, 2000), (2, 100)])
def test_the_picture_has_a_curve_a_method_and_names_them(d, draws):
    rng = np.random.default_rng(0)
    figure = overlay_picture(
        {"nuts": rng.normal(size=(draws, d)), "vi": rng.normal(size=(draws, d))},
        [f"t{i}" for i in range(d)],
        title="",
    )
    grid = np.array(figure.axes).reshape(d, d)
    for i in range(d):
        curves = grid[i, i].lines
        assert [curve.get_label() for curve in curves] == ["nuts", "vi"]
        for curve in curves:
            places, density = curve.get_data()
            assert 0.97 < density.sum() * (places[1] - places[0]) <= 1.0 + 1e-9  # tails: outside
    for row, column in zip(*np.tril_indices(d, -1), strict=True):
        contours, points = len(grid[row, column].collections), len(grid[row, column].lines)
        assert (contours, points) == ((3, 0) if draws > 500 else (0, 2))
    legend = (grid[0, 0] if d == 1 else grid[0, 1]).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["nuts", "vi"]
    assert to_png(figure)[:4] == b"\x89PNG"


def test_discrete_columns_are_drawn_as_points():
    rng = np.random.default_rng(0)
    figure = overlay_picture(
        {"a": rng.integers(0, 2, (2000, 2)).astype(float), "b": np.zeros((2000, 2))},
        ["k", "l"],
        title="",
    )
    assert to_png(figure)[:4] == b"\x89PNG"


def test_a_contour_holds_its_share_of_a_normal():
    """The density at the edge of the ellipse that holds a share s is 1 - s of that in the
    middle."""
    x = np.linspace(-5, 5, 401)
    density = np.exp(-0.5 * (x[:, None] ** 2 + x**2))
    assert [densest_level(density, share) for share in (0.5, 0.9)] == pytest.approx(
        [0.5, 0.1], abs=0.005
    )
