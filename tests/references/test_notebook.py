"""A teaching notebook's numbers (Bayesian inference from a line to a network): the banana by
quadrature, importance sampling and VI.

log p(x, y) = -x²/18 - (y - x²/10)²/2. Under q = N(mx, sx²) N(my, sy²), with a = 1/10,

    E_q[log p] = -(mx² + sx²)/18 - (my² + sy² - 2 a my (mx² + sx²) + a² (mx⁴ + 6 mx² sx² + 3
    sx⁴))/2.
"""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from sbiwb.references import family
from sbiwb.references._elbo import Bound
from sbiwb.references._families import MeanField
from tests.references import targets
from tests.tiny import Recorder

OPTIMUM = np.array([0.0, 0.3800, 1.9495, 1.0000])  # means and standard deviations of x and y
WIDTHS = [0.5, 1.0, 2.0, 3.0, 5.0, 10.0]


def closed_form_elbo(mx, my, sx, sy):
    """The mean-field ELBO of the banana, by hand."""
    square, fourth = mx**2 + sx**2, mx**4 + 6 * mx**2 * sx**2 + 3 * sx**4
    energy = -square / 18 - (my**2 + sy**2 - 0.2 * my * square + 0.01 * fourth) / 2
    return energy + math.log(sx * sy) + 1 + math.log(2 * math.pi)


def quadrature(half_width=30.0, points=2_001):
    """Grid (G, 2), its log-density (G,) and the area of a cell; x to `half_width`, y where x
    reaches."""
    x, y = (
        np.linspace(-half_width, half_width, points),
        np.linspace(-8, 0.1 * half_width**2 + 8, points),
    )
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    return (
        grid,
        targets.banana().log_density(torch.from_numpy(grid)).numpy(),
        (x[1] - x[0]) * (y[1] - y[0]),
    )


def fitted(gradient, seed=0):
    """Means and standard deviations of the mean-field approximation, (4,)."""
    config = family.parse(
        {"kind": "vi", "family": "mean_field", "gradient": gradient, "steps": 3_000}
    )
    found = config.fit(targets.banana(), np.random.default_rng(seed), Recorder())
    scale = np.diag(found.start.scale)
    return np.concatenate(
        [found.start.mean + scale * found.q.mean.numpy(), scale * found.q.log_scale.exp().numpy()]
    )


def test_evidence_and_means_by_quadrature():
    grid, log_p, cell = quadrature()
    p = np.exp(log_p) * cell
    assert (
        math.log(p.sum()) == pytest.approx(math.log(6 * math.pi), abs=1e-6)
        and round(math.log(6 * math.pi), 4) == 2.9365
    )
    assert p @ grid / p.sum() == pytest.approx([0.0, 0.9], abs=1e-6)


def test_the_closed_form_has_the_notebooks_optimum():
    found = minimize(
        lambda v: -closed_form_elbo(v[0], v[1], *np.exp(v[2:])),
        [0.5, 0.0, 0.0, 0.0],
        method="BFGS",
        options={"gtol": 1e-8},
    )
    assert np.concatenate([found.x[:2], np.exp(found.x[2:])]) == pytest.approx(OPTIMUM, abs=1e-4)


def test_the_methods_closed_form_is_the_one_by_hand():
    q = MeanField(2)
    with torch.no_grad():
        q.mean += torch.tensor([0.7, -0.4], dtype=torch.float64)
        q.log_scale += torch.tensor([0.5, -0.2], dtype=torch.float64)
    by_hand = closed_form_elbo(0.7, -0.4, math.exp(0.5), math.exp(-0.2))
    assert Bound(q, targets.banana().log_density, "closed_form", 1)()[1] == pytest.approx(
        by_hand, abs=1e-12
    )


@pytest.mark.parametrize(
    ("gradient", "tolerance"), [("closed_form", 1e-3), ("reparameterised", 0.03), ("score", 0.07)]
)
def test_mean_field_reaches_the_optimum(gradient, tolerance):
    assert fitted(gradient) == pytest.approx(OPTIMUM, abs=tolerance)


def gradient_variance(gradient, means, deviations, *, samples=32, estimates=500):
    """Variance of the gradient from one draw, summed over the four parameters; every `gradient`
    sees the same draws."""
    q = MeanField(2)
    with torch.no_grad():
        q.mean.copy_(torch.tensor(means, dtype=torch.float64))
        q.log_scale.copy_(torch.tensor(deviations, dtype=torch.float64).log())
    log_density, found = targets.banana().log_density, []
    bound = Bound(q, log_density, gradient, samples)
    with torch.no_grad():
        u = q.sample(100_000)
        bound.baseline = float(
            (log_density(u) - q(u)).mean()
        )  # the best that a moving baseline can be
    for seed in range(estimates):
        torch.manual_seed(seed)
        q.zero_grad()
        baseline = bound.baseline
        bound()[0].backward()
        bound.baseline = baseline
        found.append(torch.cat([parameter.grad for parameter in q.parameters()]))
    return samples * float(torch.stack(found).var(0).sum())


@pytest.mark.parametrize(
    ("means", "deviations"),
    [([0.0, 0.0], [1.0, 1.0]), (OPTIMUM[:2], OPTIMUM[2:])],
    ids=["start", "optimum"],
)
def test_the_reparameterised_gradient_has_less_than_half_the_variance(means, deviations):
    with torch.random.fork_rng(devices=[]):
        reparameterised, score = (
            gradient_variance(name, means, deviations) for name in ("reparameterised", "score")
        )
    assert 0 < reparameterised <= 0.5 * score


def importance(width):
    options = {"kind": "importance", "proposal": "normal", "width": width, "proposals": 50_000}
    return (
        family.parse(options).run(targets.banana(), 500, np.random.default_rng(1), Recorder()).facts
    )


def test_effective_draws_have_their_largest_number_at_a_width_between():
    ess = [importance(width)["ess"] for width in WIDTHS]
    best = int(np.argmax(ess))
    assert 0 < best < len(WIDTHS) - 1 and WIDTHS[best] == 3
    assert ess[0] < 0.1 * ess[best] and ess[-1] < 0.5 * ess[best]


@pytest.mark.parametrize("width", [5.0, 7.0, 10.0])
def test_effective_draws_are_those_of_quadrature(width):
    """Within |x| <= 15, five standard deviations: far out in the banana's arms p² / q grows without
    end, where no draw comes."""
    grid, log_p, cell = quadrature(half_width=15.0)
    log_q = -0.5 * (grid**2).sum(1) / width**2 - math.log(2 * math.pi * width**2)
    expected = 1 / (np.exp(2 * (log_p - math.log(6 * math.pi)) - log_q).sum() * cell)
    assert importance(width)["efficiency"] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("width", "trusted"), [(0.5, False), (5.0, True)])
def test_the_integral_is_trusted_only_where_the_proposal_is_wide(width, trusted):
    facts = importance(width)
    assert (facts["pareto_k"] < 0.7) is trusted
    if trusted:
        assert facts["log_integral"] == pytest.approx(math.log(6 * math.pi), abs=0.05)
        assert abs(facts["log_integral"] - math.log(6 * math.pi)) < 4 * facts["log_integral_error"]
