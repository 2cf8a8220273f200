"""SIR: the integration against an adaptive solver, the counts against their moments."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

PATH = Path(__file__).parents[2] / "simulators" / "sir.py"
spec = importlib.util.spec_from_file_location("sir", PATH)
sir = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sir)


@pytest.mark.parametrize(("beta", "gamma"), [(1.73, 0.54), (0.3, 0.6), (5.0, 0.1)])
def test_prevalence_solves_the_equations(beta, gamma):
    def slopes(t, y):
        infection = beta * y[0] * y[1] / 763
        return [-infection, infection - gamma * y[1]]

    exact = solve_ivp(slopes, (0, 14), [762, 1], t_eval=np.arange(1, 15), rtol=1e-10, atol=1e-12).y[
        1
    ]
    assert sir.prevalence(np.array([beta]), np.array([gamma]), 763, 14)[0] == pytest.approx(
        exact, rel=1e-4
    )


def test_counts_have_the_moments_of_a_negative_binomial():
    mean, phi_inv = np.full((200_000, 1), 30.0), np.full(200_000, 0.2)
    counts = sir.observe(mean, phi_inv, np.random.default_rng(0))
    assert counts.mean() == pytest.approx(30, rel=0.01)
    assert counts.var() == pytest.approx(30 + 0.2 * 30**2, rel=0.03)


def test_every_corner_of_the_prior_gives_counts():
    beta, gamma, phi_inv = (
        column.ravel() for column in np.meshgrid([1e-12, 2, 8], [1e-12, 0.4, 3], [1e-12, 0.2, 50])
    )
    counts = sir.simulate(
        beta, gamma, phi_inv, rng=np.random.default_rng(0), population=763, days=14
    )["in_bed"]
    assert counts.shape == (27, 14) and (counts >= 0).all()


def test_derived_quantities():
    assert sir.derived(np.array([1.8]), np.array([0.6]), None) == {
        "R0": pytest.approx(3.0),
        "recovery_days": pytest.approx(1 / 0.6),
    }
