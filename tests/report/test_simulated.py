"""Pictures of simulations alone: bands of the right quantiles where there is an order, histograms
elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from sbiwb.report import predictive_picture, shown_simulations, simulated_picture, to_png


def test_bands_are_the_quantiles_at_each_step_of_those_that_reach_it():
    long = [np.array([i, 10.0 * i]) for i in range(101)]
    figure = simulated_picture({"y": [*long, np.array([50.0])]}, {"y": "series"}, title="prior")
    wide, narrow = (band.get_paths()[0].vertices for band in figure.axes[0].collections)
    at_two = wide[wide[:, 0] == 2][:, 1]
    assert (at_two.min(), at_two.max()) == (
        25.0,
        975.0,
    )  # of 0, 10, ..., 1000: the short one does not count
    assert narrow[narrow[:, 0] == 2][:, 1].max() == 750.0
    assert len(figure.axes[0].lines) == 5 and to_png(figure)[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("many", "kind", "panels", "ordered"),
    [
        ([np.array(0.5), np.array(0.7)], "vector", 1, False),
        ([np.zeros(3), np.ones(3)], "vector", 1, True),
        ([np.zeros(3), np.ones(3)], "set", 1, False),
        ([np.zeros(3), np.ones(4)], "set", 1, False),
        ([np.zeros((4, 2)), np.ones((4, 2))], "series", 2, True),
        ([np.zeros(300), np.ones(300)], "vector", 1, False),
    ],
)
def test_each_observable_is_drawn_as_what_it_is(many, kind, panels, ordered):
    axes = simulated_picture({"y": many}, {"y": kind}, title="prior").axes
    assert sum(one.axison for one in axes) == panels
    assert bool(axes[0].collections) == ordered and bool(axes[0].patches) != ordered


def test_the_own_show_draws_each_simulation_once():
    seen = []
    figure = shown_simulations(
        lambda x, axes: seen.append(x["y"]), [{"y": i} for i in range(4)], title="prior"
    )
    assert seen == [0, 1, 2, 3] and [axes.get_title() for axes in figure.axes] == [
        *(f"simulated {i}" for i in range(1, 5)),
        "",
        "",
    ]


@pytest.mark.parametrize("kind", ["vector", "set", "series"])
def test_booleans_are_drawn_as_0_and_1(kind):
    heads = [np.array([True, False, True]), np.array([False, False, True])]
    figure = predictive_picture({"x": heads[0]}, {"x": heads}, {"x": kind}, title="coin")
    axes = figure.axes[0]
    if kind == "set":
        density = [bar.get_height() * bar.get_width() for bar in axes.patches[:3]]
        assert density == pytest.approx([0.5, 0, 0.5])
        assert axes.patches[0].get_x() == -0.25 and axes.patches[2].get_x() == 0.75
    else:
        assert axes.lines[-1].get_ydata().tolist() == [1, 0, 1]
    alone = simulated_picture({"x": [np.array(True), np.array(False)]}, {}, title="coin")
    assert to_png(alone)[:4] == b"\x89PNG"


RAMP = np.arange(12.0).reshape(3, 4)


def test_pictures_are_drawn_as_pictures_with_where_they_differ():
    many = [RAMP + shift for shift in (-1.0, 1.0)]  # mean RAMP, sd 1
    observed = RAMP.copy()
    observed[2, 3] += 3
    figure = predictive_picture({"map": observed}, {"map": many}, {"map": "grid"}, title="map")
    shown, mean, difference = (axes.images[0] for axes in figure.axes[:3])
    np.testing.assert_allclose(shown.get_array(), observed)
    np.testing.assert_allclose(mean.get_array(), RAMP)
    assert shown.get_clim() == mean.get_clim() == (0, 14)  # one scale
    apart = np.zeros((3, 4))
    apart[2, 3] = 3
    np.testing.assert_allclose(difference.get_array(), apart)
    assert to_png(figure)[:4] == b"\x89PNG"


def test_cells_that_are_missing_or_never_move_stay_white():
    many = [RAMP.copy(), RAMP.copy()]
    many[0][0, 0] = many[1][0, 0] = np.nan
    figure = predictive_picture({"map": RAMP}, {"map": many}, {"map": "grid"}, title="map")
    assert np.isnan(np.ma.filled(figure.axes[2].images[0].get_array(), np.nan)).all()


def test_the_first_channels_of_a_picture_have_panels_without_data_too():
    many = [np.stack([RAMP] * 6, -1) * i for i in range(3)]
    figure = simulated_picture({"map": many}, {"map": "grid"}, title="prior")
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles[:3] == [
        "map[0]: simulated 1",
        "map[0]: mean of simulations",
        "map[0]: sd of simulations",
    ]
    assert len(titles) == 3 * 4
