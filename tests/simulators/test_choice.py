"""Drift-diffusion: choice shares and mean times in closed form, the distribution of times by
another series, and the edges."""

import numpy as np
import pytest

from tests.simulators.loaded import simulator

choice = simulator("choice")
CASES = [
    (1.0, 1.5, 0.5),
    (-2.0, 2.0, 0.3),
    (0.0, 1.2, 0.6),
    (3.0, 3.0, 0.5),
    (0.3, 0.4, 0.8),
    (5.0, 3.0, 0.2),
]


def column(value):
    return np.array([value], float)


def trials(v, a, w, n=100_000, t0=0.0):
    x = choice.simulate(
        column(v), column(a), column(w), column(t0), np.array([n]), rng=np.random.default_rng(0)
    )
    return x["rt"][0], x["choice"][0]


def small_time_density(s, c, w):
    """Density of s at the lower boundary, by the series of images (Navarro & Fuss 2009, equation
    5)."""
    k = np.arange(-20, 21)
    images = w + 2 * k
    free = (images * np.exp(-(images**2) / (2 * s[:, None]))).sum(1) / np.sqrt(2 * np.pi * s**3)
    return np.exp(-c * w - 0.5 * c**2 * s) * free


@pytest.mark.parametrize(("v", "a", "w"), CASES)
def test_share_and_mean_time(v, a, w):
    rt, up = trials(v, a, w)
    share = (1 - np.exp(-2 * v * a * w)) / (1 - np.exp(-2 * v * a)) if v else w
    mean = (a * share - w * a) / v if v else w * (1 - w) * a**2
    assert choice.upper_share(column(v), column(a), column(w))[0] == pytest.approx(share, abs=1e-6)
    assert up.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(up)) + 1e-5)
    assert rt.mean() == pytest.approx(mean, abs=4 * rt.std() / np.sqrt(len(rt)))


@pytest.mark.parametrize(
    ("c", "w"), [(1.5, 0.5), (-4.0, 0.3), (0.0, 0.6), (9.0, 0.5), (15.0, 0.2), (-15.0, 0.9)]
)
def test_distribution_of_times_is_that_of_the_other_series(c, w):
    fine = np.geomspace(1e-5, 3.0, 40_000)
    density = small_time_density(fine, c, w)
    integral = np.concatenate([[0], np.cumsum(np.diff(fine) * (density[1:] + density[:-1]) / 2)])
    share = 1 - choice.upper_share(column(c), column(1.0), column(w))[0]
    times = choice.SCALED < 3.0
    found = choice.lower_times(column(c), column(w))[0][times]
    assert found == pytest.approx(np.interp(choice.SCALED[times], fine, integral) / share, abs=2e-4)


def test_sizes_types_and_non_decision_time():
    n = 50
    rng = np.random.default_rng(1)
    sizes = rng.integers(40, 201, n)
    x = choice.simulate(
        rng.normal(1, 2, n),
        rng.gamma(4, 0.375, n),
        rng.beta(5, 5, n),
        np.full(n, 0.3),
        sizes.astype(float),
        rng=rng,
    )
    assert [len(one) for one in x["rt"]] == [len(one) for one in x["choice"]] == list(sizes)
    assert min(one.min() for one in x["rt"]) >= 0.3
    assert set(np.concatenate(x["choice"])) == {0, 1}


def test_corners_of_the_prior_are_finite_and_within_the_deadline():
    corners = np.array(
        np.meshgrid([-9.0, 0.0, 9.0], [1e-3, 1.0, 8.0], [1e-3, 0.5, 1 - 1e-3], [1e-6])
    ).reshape(4, -1)
    x = choice.simulate(*corners, np.full(27, 40), rng=np.random.default_rng(0))
    rt = np.concatenate(x["rt"])
    assert np.isfinite(rt).all() and rt.min() > 0 and rt.max() <= 10.0 + 1e-5


def test_starting_nearer_is_the_same_as_mirrored():
    there, back = (
        choice.upper_share(column(v), column(1.7), column(w))[0]
        for v, w in ((0.8, 0.3), (-0.8, 0.7))
    )
    assert there == pytest.approx(1 - back)
