"""Every reference method against the exact posterior of the examples `linear_regression` and
`gaussian_linear`, judged by C2ST."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sbiwb import references
from sbiwb.contracts import Silent
from sbiwb.distances import c2st
from sbiwb.project.opening import open_project
from sbiwb.project.target import target_of

CONFIGS = Path(__file__).parents[2] / "configs"
LIMIT, NATS = 0.53, 0.05
METHODS = {
    "analytic": {},
    "ensemble": {},
    "hmc": {},
    "importance": {"proposal": "map", "width": 1.1, "proposals": 1_000_000},
    "metropolis": {},
    "nuts": {},
    "vi": {"family": "full_rank"},
}


def linear_regression():
    """The target of one data set of 20 pairs, and its exact log evidence: y ~ N(0, X X' + I)."""
    rng = np.random.default_rng(5)
    u = rng.uniform(-3, 3, 20)
    y = 0.4 - 0.8 * u + rng.standard_normal(20)
    project = open_project(CONFIGS / "linear_regression.yaml")
    design = np.stack([np.ones_like(u), u], axis=1)
    evidence = multivariate_normal(cov=design @ design.T + np.eye(20)).logpdf(y)
    return target_of(
        project.densities, {"u": u[None], "y": y[None]}, {"n_pairs": np.array([20])}, 0, None
    ), evidence


def gaussian_linear():
    """The target of one data set, and its exact log evidence: x ~ N(0, 0.2 I)."""
    x = np.random.default_rng(6).normal(0, np.sqrt(0.2), 10)
    project = open_project(CONFIGS / "gaussian_linear.yaml")
    return target_of(project.densities, {"x": x[None]}, {}, 0, None), multivariate_normal(
        cov=0.2 * np.eye(10)
    ).logpdf(x)


def check(make, kind, draws):
    target, evidence = make()
    method = references.family.parse({"kind": kind, **METHODS[kind]})
    found = method.run(target, draws, np.random.default_rng(1), Silent())
    assert not references.judge(found, target.columns).warnings
    assert found.theta.shape == (draws, len(target.columns))
    score = c2st(target.exact(draws, np.random.default_rng(2)), found.theta)
    print(f"{make.__name__} {kind}: C2ST {score:.4f}")
    assert score <= LIMIT
    if "log_evidence" in found.facts:
        print(
            f"{make.__name__} {kind}: log evidence {found.facts['log_evidence']:.4f}, exact "
            f"{evidence:.4f}"
        )
        assert found.facts["log_evidence"] == pytest.approx(evidence, abs=NATS)


def test_every_method_has_a_case():
    assert sorted(METHODS) == references.family.names()


@pytest.mark.parametrize(
    "kind", [kind for kind in METHODS if kind not in ("hmc", "nuts")]
)  # those take half a minute each
def test_linear_regression(kind):
    check(linear_regression, kind, 4_000)


@pytest.mark.slow
@pytest.mark.parametrize("make", [linear_regression, gaussian_linear])
@pytest.mark.parametrize("kind", METHODS)
def test_with_ten_thousand_draws(kind, make):
    check(make, kind, 10_000)
