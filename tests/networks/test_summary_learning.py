"""Every summary network learns what only its kind can know; one feature, a few hundred steps."""

import pytest
import torch

from sbiwb.contracts import InputShape
from sbiwb.networks.summary import family

STEPS, ROWS, LONGEST = 250, 64, 8
SERIES = [
    ("lstm", {"hidden": 16}),
    ("gru", {"hidden": 16}),
    ("lstnet", {"hidden": 16, "filters": 16}),
    ("transformer", {"hidden": 16, "blocks": 1}),
    ("conv1d", {"hidden": 16, "depth": 2}),
]
SETS = [
    ("deepset", {"hidden": 16}),
    ("deepset", {"hidden": 16, "equivariant": 1, "pooling": "mean"}),
    ("set_transformer", {"hidden": 16, "blocks": 1, "inducing": 4}),
    ("set_transformer", {"hidden": 16, "blocks": 1, "inducing": None}),
]


def mask():
    return torch.arange(LONGEST) < torch.randint(2, LONGEST + 1, (ROWS, 1))


def rises():
    """Series of 2 to 8 steps, and whether they rise or fall (1 or -1), which members without an
    order do not tell.
    """
    real, sign = mask(), torch.randint(2, (ROWS, 1)) * 2.0 - 1
    rising = (
        torch.randn(ROWS, LONGEST).masked_fill(~real, float("inf")).sort(1)[0].masked_fill(~real, 0)
    )
    return torch.where(sign > 0, rising, -rising)[..., None], real, sign


def spread():
    """Sets of 2 to 8 members, and their largest distance from their mean, standardized."""
    real = mask()
    values = torch.randn(ROWS, LONGEST).masked_fill(~real, 0)
    centred = (values - values.sum(1, keepdim=True) / real.sum(1, keepdim=True)).masked_fill(
        ~real, 0
    )
    return values[..., None], real, (centred.abs().amax(1, keepdim=True) - 1.5) / 0.6


def stripes(grid):
    """Noisy grids, and whether their stripes run along the last axis or the one before it (1 or
    -1), shifted at random.
    """

    def draw():
        sign, (rows, columns) = torch.randint(2, (ROWS, 1)) * 2.0 - 1, grid
        phase = torch.randint(2, (ROWS, 1, 1))
        along = ((torch.arange(rows)[:, None] + phase) % 2).expand(ROWS, rows, columns)
        across = ((torch.arange(columns) + phase) % 2).expand(ROWS, rows, columns)
        values = torch.where(sign[..., None] > 0, along, across) + 0.2 * torch.randn(
            ROWS, rows, columns
        )
        return values[..., None], None, sign

    return draw


def loss_left(net, draw):
    """Share of the target's variance that the network misses, on new data."""
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    for _ in range(STEPS):
        values, real, target = draw()
        optimizer.zero_grad()
        (net(values, real) - target).square().mean().backward()
        optimizer.step()
        schedule.step()
    values, real, target = (
        None if parts[0] is None else torch.cat(parts)
        for parts in zip(*(draw() for _ in range(10)), strict=True)
    )
    with torch.no_grad():
        return ((net(values, real) - target).square().mean() / target.var()).item()


def build(kind, options, shape):
    return family.parse({"kind": kind, **options}).build(shape, 1)


@pytest.mark.parametrize(("kind", "options"), SERIES)
def test_series_networks_learn_an_order(kind, options):
    assert loss_left(build(kind, options, InputShape("series", 1, LONGEST, True)), rises) < 0.15


def test_no_set_network_learns_an_order():
    assert (
        loss_left(build("deepset", {"hidden": 16}, InputShape("set", 1, LONGEST, True)), rises)
        > 0.8
    )


@pytest.mark.parametrize(("kind", "options"), SETS)
def test_set_networks_learn_how_members_differ(kind, options):
    assert loss_left(build(kind, options, InputShape("set", 1, LONGEST, True)), spread) < 0.15


@pytest.mark.parametrize("kind", ["conv2d", "mlp"])
def test_grid_networks_learn_a_direction(kind):
    options = {"filters": [8, 8]} if kind == "conv2d" else {"hidden": [32]}
    assert (
        loss_left(build(kind, options, InputShape("grid", 1, grid=(6, 4))), stripes((6, 4))) < 0.1
    )


@pytest.mark.parametrize("pooled", ["every", "last"])
def test_a_grid_network_learns_how_strong_a_field_is(pooled):
    def draw():
        strength = torch.rand(ROWS, 1)
        values = (2 * strength).exp()[..., None, None] * torch.randn(ROWS, 6, 4, 1)
        return values, None, strength - 0.5

    options = {"filters": [8, 8], "pooling": "mean", "pooled": pooled}
    left = loss_left(build("conv2d", options, InputShape("grid", 1, grid=(6, 4))), draw)
    assert left < 0.1  # 24 cells leave 12 / (2 * 24 * 2**2) = 0.062


def test_a_grid_of_one_axis_is_learnt_by_conv1d():
    def draw():
        values, _, target = stripes((6, 4))()
        return values[:, :, 0], None, target  # along the one axis there are stripes, or none

    assert (
        loss_left(
            build("conv1d", {"hidden": 16, "depth": 1}, InputShape("grid", 1, grid=(6,))), draw
        )
        < 0.1
    )


def test_fusion_learns_a_product():
    def draw():
        values = torch.randn(ROWS, 2)
        return values, None, values.prod(1, keepdim=True)

    assert loss_left(build("fusion", {"hidden": 32}, InputShape("vector", 2)), draw) < 0.1
