"""Pair plots: no text lies over another or beyond the figure, and levels stand there by name."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from sbiwb.report import pairs_picture
from sbiwb.report.figures import fitted, span_of
from sbiwb.report.kernel_density import smooth_density
from sbiwb.report.losses import loss_picture

RNG = np.random.default_rng(0)
SHORT = ("a", "b (1/day)")
LONG = ("drift_rate_of_the_second_condition (probability per trial)", "W" * 40)


def texts(figure) -> list[Text]:
    """What can be read, as laid out."""
    FigureCanvasAgg(figure).draw()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    shown = [axes for axes in figure.axes if axes.axison]
    return [text for text in found if text.axes is None or text.axes in shown]


def assert_nothing_overlaps(figure) -> None:
    page = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    for words, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1, f"cut: {words!r}"
        assert page.y0 <= box.y0 and box.y1 <= page.y1, f"cut: {words!r}"
    for (first, one), (second, other) in itertools.combinations(boxes, 2):
        wide = min(one.x1, other.x1) - max(one.x0, other.x0)
        high = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(wide, high) <= 1, f"{first!r} lies over {second!r}"


@pytest.mark.parametrize(
    ("d", "names", "place"),
    [
        (1, SHORT, 0.0),
        (1, LONG, 1.09e9),
        (2, SHORT, 0.0),
        (2, LONG, 0.0),
        (3, SHORT, 1.09e9),
        (3, LONG, 1.09e9),
        pytest.param(10, LONG, 0.0, marks=pytest.mark.slow),
    ],
)
def test_no_text_lies_over_another_or_is_cut(d, names, place):
    draws = place + RNG.normal(size=(200, d)) * 10.0 ** -np.arange(d)
    labels = [names[i % 2] for i in range(d)]
    figure = pairs_picture(draws, labels, prior=draws[:50], title=f"{names[-1]}: posterior")
    assert_nothing_overlaps(figure)


@pytest.mark.parametrize("sd", [1.0, 1e-3, 1e-4])
def test_a_narrow_column_far_from_0_counts_from_within(sd):
    draws = 1.09e9 + np.random.default_rng(0).normal(size=(500, 2)) * sd
    figure = pairs_picture(draws, ["t (s)", "u"])
    bottom = figure.axes[2]
    assert bottom.get_xlabel().startswith("t (s)\nminus 1090000000")
    FigureCanvasAgg(figure).draw()
    ticks = [float(label.get_text()) for label in bottom.get_xticklabels()]
    assert len(ticks) >= 2 and max(map(abs, ticks)) < 10 * sd


def test_a_column_that_is_constant_but_for_rounding_is_drawn():
    draws = np.stack([1e9 + RNG.normal(size=100) * 1e-7, np.full(100, 3.0)], axis=1)
    figure = pairs_picture(draws, ["a", "b"], prior=draws)
    assert figure.axes[0].get_xlim() == pytest.approx((0.9e9, 1.1e9))
    assert figure.axes[3].get_xlim() == pytest.approx((2.7, 3.3))


LEVELS = {0.0: "random walk", 1.0: "diffusion", 2.0: "race"}


def test_levels_have_their_names_and_probabilities():
    model = np.repeat([0.0, 1.0, 2.0], [100, 250, 150])
    draws = np.stack([model, RNG.normal(size=500)], axis=1)
    figure = pairs_picture(draws, ["model", "mu"], prior=draws, levels={0: LEVELS})
    first, _, below, _ = figure.axes
    assert first.get_title() == "model\nP(diffusion) = 0.50"
    assert [text.get_text() for text in first.texts] == ["0.20", "0.50", "0.30"]
    heights = [bar.get_height() for bar in first.patches[3:]]
    assert heights == [0.2, 0.5, 0.3]
    assert [label.get_text() for label in below.get_xticklabels()] == list(LEVELS.values())
    assert not below.collections  # points, and no contours of levels
    assert_nothing_overlaps(figure)


def test_text_is_broken_where_it_does_not_fit():
    assert fitted("short", 100, 9) == "short"
    lines = fitted("a long label of several words", 60, 9).split("\n")
    assert len(lines) > 2 and " ".join(lines) == "a long label of several words"
    assert fitted("W" * 30, 60, 9).replace("\n", "") == "W" * 30


def test_the_label_of_the_loss_fits_its_axis():
    figure = loss_picture([[10, 2.0, 2.5], [20, 1.0, 1.5]], 20)
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    label, panel = axes.yaxis.label.get_window_extent(), axes.get_window_extent()
    assert axes.get_ylabel() == "loss (nats per pair)"
    assert label.x0 >= 0 and panel.y0 <= label.y0 and label.y1 <= panel.y1


def test_a_density_keeps_its_mass_and_does_not_sink_at_a_bound():
    draws = RNG.random(20_000)
    places, density = smooth_density(draws, (-0.1, 1.1), (0.0, 1.0))
    assert density.sum() * (places[1] - places[0]) == pytest.approx(1, abs=0.01)
    inside = (places > 0) & (places < 1)
    assert density[inside] == pytest.approx(np.ones(inside.sum()), abs=0.12)
    assert not density[(places < 0) | (places > 1)].any()


def test_a_density_of_normal_draws_is_normal_also_far_out():
    draws = RNG.normal(size=20_000)
    places, density = smooth_density(draws, span_of(draws))
    exact = np.exp(-0.5 * places**2) / np.sqrt(2 * np.pi)
    assert density == pytest.approx(exact, abs=0.02)
    falling = density[places > 1.5]
    assert (np.diff(falling) < 0.002).all()  # no peak at the outermost draw


def test_a_wide_density_is_flat_over_a_narrow_view():
    """Of 20,000 draws of the prior 80 are in view of a narrow posterior."""
    _, density = smooth_density(RNG.normal(size=20_000), (0.0, 0.01))
    assert np.ptp(density) < 0.02 * density.mean()


def test_two_narrow_modes_are_two():
    draws = np.concatenate([RNG.normal(-5, 0.1, 5_000), RNG.normal(5, 0.1, 5_000)])
    places, density = smooth_density(draws, (-6, 6))
    assert density.max() == pytest.approx(0.5 / (0.1 * np.sqrt(2 * np.pi)), rel=0.12)
    assert density[np.abs(places) < 4].max() < 1e-6


def test_draws_that_are_all_the_same_have_a_peak():
    places, density = smooth_density(np.full(100, 2.0), (1.8, 2.2))
    assert places[density.argmax()] == pytest.approx(2, abs=0.01)
    assert np.isfinite(density).all()


def test_every_curve_is_in_view():
    draws = RNG.normal(size=(2_000, 1))
    figure = pairs_picture(0.01 * draws, ["a"], prior=draws, truth=np.array([0.3]))
    [axes] = figure.axes
    low, high = axes.get_ylim()
    curves = [line.get_ydata() for line in axes.lines[:2]]
    assert low == 0
    assert all(0 < max(curve) < high for curve in curves)
    assert axes.get_xlim()[1] > 0.3
