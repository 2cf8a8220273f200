"""Lotka-Volterra: the invariant of the orbit, another solver, and the noise."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from tests.simulators.loaded import simulator

lynx_hare = simulator("lynx_hare")
STAN = {
    "alpha": 0.55,
    "beta": 0.028,
    "gamma": 0.80,
    "delta": 0.024,
}  # posterior means of the case study


def rates(**values):
    return tuple(np.array([value], float) for value in {**STAN, **values}.values())


@pytest.mark.parametrize("values", [{}, {"alpha": 2.0, "beta": 0.01}, {"delta": 0.1}])
def test_orbits_are_closed(values):
    q, p = lynx_hare.populations(rates(**values), np.log([34.0]), np.log([5.9]), 21)
    energy = lynx_hare.energy(rates(**values), q, p)
    assert energy == pytest.approx(np.full_like(energy, energy[0, 0]), rel=1e-4)


def test_solves_the_equations():
    def slopes(t, y):
        return [
            (STAN["alpha"] - STAN["beta"] * y[1]) * y[0],
            (-STAN["gamma"] + STAN["delta"] * y[0]) * y[1],
        ]

    exact = solve_ivp(slopes, (0, 20), [34.0, 5.9], t_eval=np.arange(21), rtol=1e-10, atol=1e-12).y
    q, p = lynx_hare.populations(rates(), np.log([34.0]), np.log([5.9]), 21)
    assert np.exp([q[0], p[0]]) == pytest.approx(exact, rel=1e-5)


def test_pelts_scatter_about_the_populations():
    n = 20_000
    same = [np.full(n, value) for value in (*STAN.values(), 34.0, 5.9, 0.25, 0.5)]
    x = lynx_hare.simulate(*same, rng=np.random.default_rng(0), years=3)
    q, p = lynx_hare.populations(rates(), np.log([34.0]), np.log([5.9]), 3)
    for name, clean, sigma in (("hare", q, 0.25), ("lynx", p, 0.5)):
        log = np.log(x[name])
        assert log.mean(0) == pytest.approx(clean[0], abs=0.015) and log.std(0) == pytest.approx(
            np.full(3, sigma), rel=0.03
        )


def test_corners_of_the_prior_stay_finite_and_positive():
    rates, first, sigma = ([1e-6, 1, 3], [1e-6, 0.2]), [0.1, 500], ([0.01], [3.0])
    corners = np.meshgrid(*rates, *rates, first, first, *sigma)
    x = lynx_hare.simulate(*np.reshape(corners, (8, -1)), rng=np.random.default_rng(0), years=21)
    assert all(np.isfinite(values).all() and (values > 0).all() for values in x.values())
