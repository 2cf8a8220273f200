"""The squared MMD to a standard normal against Monte Carlo, itself without rounding, and what it
does to summaries.
"""

import pytest
import torch

from sbiwb.networks.summary._mmd import WIDTHS, mmd_to_normal


def kernel(x, y):
    """Sum of the Gaussian kernels between rows of x (A, H) and y (B, H), (A, B)."""
    distances = torch.cdist(x, y).square()
    return sum(torch.exp(-distances / (2 * width * x.shape[1])) for width in WIDTHS)


@pytest.mark.parametrize("features", [1, 3, 16])
def test_expectations_are_those_of_monte_carlo(features):
    """Of one row, which has no pairs, the estimate is E k(y, y') - 2 E k(x, y); rows at several
    distances tell the two apart.
    """
    y, other = torch.randn(2, 1000, features, dtype=torch.float64)
    within = kernel(y, other).mean(1)
    for distance in (0.0, 1.0, 3.0):
        x = torch.full((1, features), distance, dtype=torch.float64)
        across = kernel(x, y)[0]
        noise = (within.std() + 2 * across.std()) / 1000**0.5
        assert abs(mmd_to_normal(x) - (within.mean() - 2 * across.mean())) < 4 * noise


def test_estimate_of_pairs_is_that_of_the_definition():
    x = torch.randn(7, 3, dtype=torch.float64)
    pairs = (kernel(x, x).sum() - kernel(x, x).diag().sum()) / 42
    each = torch.stack([mmd_to_normal(row[None]) for row in x]).mean()
    assert torch.allclose(mmd_to_normal(x), pairs + each)


@pytest.mark.parametrize("features", [1, 8, 64])
def test_normal_summaries_have_none_on_average(features):
    found = torch.stack([mmd_to_normal(torch.randn(32, features)) for _ in range(400)])
    assert abs(found.mean()) < 4 * found.std() / 20


@pytest.mark.parametrize(
    "change", [lambda x: x + 1, lambda x: 2 * x, lambda x: x / 2, lambda x: x.sign()]
)
def test_other_summaries_have_some(change):
    x = torch.randn(512, 4)
    assert mmd_to_normal(change(x)) > 20 * abs(mmd_to_normal(x))


@pytest.mark.parametrize("shift", [0.0, 1e2, 1e4, 1e6])
def test_float32_is_enough(shift):
    x = torch.randn(64, 4).double().float() + shift
    assert torch.allclose(mmd_to_normal(x).double(), mmd_to_normal(x.double()), atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert (
            torch.equal(mmd_to_normal(x), mmd_to_normal(x))
            and mmd_to_normal(x).dtype == torch.float32
        )
        assert torch.allclose(mmd_to_normal(x).double(), mmd_to_normal(x.double()), atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_gradients_are_finite_and_equal_rows_are_no_trouble(rows):
    x = torch.full((rows, 5), 0.5, requires_grad=True)
    mmd_to_normal(x).backward()
    assert x.grad.isfinite().all() and (x.grad > 0).all()


def test_half_precision_is_taken():
    x = torch.randn(64, 4).bfloat16()
    assert torch.equal(mmd_to_normal(x), mmd_to_normal(x.float()))


@pytest.mark.parametrize(("scale", "shift"), [(0.01, 0.0), (3.0, 1.0), (1.0, 10.0)])
def test_summaries_are_drawn_to_the_normal(scale, shift):
    """From too close together, too wide, and ten standard deviations away."""
    weight, bias = (
        torch.nn.Parameter(scale * torch.eye(2)),
        torch.nn.Parameter(torch.full((2,), shift)),
    )
    optimizer = torch.optim.Adam([weight, bias], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        optimizer.zero_grad()
        mmd_to_normal(torch.randn(128, 2) @ weight.T + bias).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        assert bias.abs().max() < 0.1 and (weight @ weight.T - torch.eye(2)).abs().max() < 0.15
