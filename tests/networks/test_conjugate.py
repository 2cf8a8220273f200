"""Every network with a density learns a correlated normal posterior, judged by a classifier against
exact draws.

theta ~ N(0, I), x = A theta + N(0, s^2 I): the posterior is N(C A' x / s^2, C) with C = (I + A' A /
s^2)^-1, of correlation -0.8.
"""

import pytest
import torch

from sbiwb.networks.inference import family
from tests.c2st import c2st
from tests.networks.cases import DENSITIES, MIXTURES

A, SD = torch.tensor([[1.0, 1.0], [0.3, -0.2]]), 0.5
COVARIANCE = torch.linalg.inv(torch.eye(2) + A.T @ A / SD**2)
LIMIT = 0.58
SMALL = {  # steps, and what makes a step cheap
    "bpf": (120, {"transforms": 1}),
    "cnf": (100, {"hidden": [32], "steps": 3}),
    "flow_matching": (500, {"hidden": [32, 32]}),
    "gf": (120, {"transforms": 1}),
    "gmm": (200, {"components": 3}),
    "maf": (150, {"transforms": 2}),
    "naf": (150, {"transforms": 1}),
    "ncsf": (120, {"transforms": 1}),
    "nice": (200, {"transforms": 3}),
    "nsf": (200, {"transforms": 2}),
    "sospf": (120, {"transforms": 1}),
    "unaf": (100, {"transforms": 1, "network": [16, 16], "points": 8}),
}
FULL = {"cnf": 400, "flow_matching": 6000}  # steps of 256 pairs where they are not 1000
DENSE = sorted({kind for kind, _ in DENSITIES + MIXTURES} | {"flow_matching"})


def pairs(n):
    theta = torch.randn(n, 2)
    return theta, theta @ A.T + SD * torch.randn(n, 2)


def exact(x, n):
    """n draws of the posterior given x (2,)."""
    return COVARIANCE @ A.T @ x / SD**2 + torch.randn(n, 2) @ torch.linalg.cholesky(COVARIANCE).T


def learned(kind, options, *, steps, rate):
    """A network trained on fresh pairs in each step."""
    net = family.parse({"kind": kind, **options}).build(2, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        theta, x = pairs(256)
        loss = (net.loss(theta, x) if hasattr(net, "loss") else -net.log_prob(theta, x)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def told_apart(net, x, n):
    return c2st(exact(x, n).numpy(), net.transport(torch.randn(1, n, 2), x[None])[0].numpy())


def test_a_wrong_correlation_is_told_apart():
    class Independent:
        def transport(self, noise, features):
            return exact(features[0], noise.shape[1]).mean(0) + noise * COVARIANCE.diagonal().sqrt()

    assert told_apart(Independent(), torch.tensor([1.0, 0.5]), 1000) > LIMIT + 0.05


@pytest.mark.parametrize("kind", DENSE)
def test_learns_a_correlated_normal_posterior(kind):
    steps, options = SMALL[kind]
    net = learned(kind, {"hidden": [32, 32], **options}, steps=steps, rate=1e-2)
    assert told_apart(net, torch.tensor([1.0, 0.5]), 1000) <= LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("kind", DENSE)
def test_learns_it_with_its_defaults(kind):
    net = learned(kind, {}, steps=FULL.get(kind, 1000), rate=2e-3)
    for x in ([1.0, 0.5], [-1.5, 0.0], [0.0, -0.8]):
        assert told_apart(net, torch.tensor(x), 4000) <= LIMIT
