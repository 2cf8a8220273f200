"""Point networks: means, medians and quantiles against closed forms; quantiles never cross; draws
have them.
"""

import pytest
import torch
from scipy import stats
from torch import nn
from zuko.bayesian import BayesianModel

from sbiwb.errors import ConfigError
from sbiwb.networks.inference import family

H = 3
SMALL = {"hidden": [32, 32]}


def build(d, context=H, **options):
    return family.parse({"kind": "point", **SMALL, **options}).build(d, context)


def scrambled(net, std=0.5):
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=std)
    return net


def fitted(net, simulate, steps=600):
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        z, x = simulate(512)
        loss = net.loss(z, x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


def conjugate(n):
    """z ~ N(0, 1), x | z ~ N(z, 0.5^2), in two columns: the posterior is N(0.8 x, 0.2) in each."""
    z = torch.randn(n, 2)
    return z, z + 0.5 * torch.randn_like(z)


def skewed(n):
    """z | x = x + an exponential number, whose median is log 2 and whose mean is 1."""
    x = torch.randn(n, 1)
    return x + torch.empty(n, 1).exponential_(), x


def test_mse_learns_the_posterior_mean():
    net, (_, x) = fitted(build(2, 2, loss="mse"), conjugate), conjugate(2000)
    assert (net.estimate(x)[..., 0] - 0.8 * x).square().mean().sqrt() < 0.05


@pytest.mark.parametrize(("loss", "expected"), [("mse", 1.0), ("mae", 0.6931)])
def test_mean_and_median_of_a_skewed_posterior(loss, expected):
    net, (_, x) = fitted(build(1, 1, loss=loss), skewed), skewed(2000)
    assert (net.estimate(x)[:, 0] - x - expected).mean().abs() < 0.05


def test_quantiles_hold_their_levels_on_fresh_data():
    """P(z < q_l) = l, overall and at either side of x; five standard errors and 0.02 for the
    training.
    """
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    net, (z, x) = fitted(build(1, 1, loss="quantile", levels=levels), skewed, 1000), skewed(20_000)
    below = (z[..., None] < net.estimate(x))[:, 0].double()
    for part in (below, below[x[:, 0] < -0.5], below[x[:, 0] > 0.5]):
        error = (part.mean(0) - torch.tensor(levels)).abs()
        assert (
            error
            < 0.02 + 5 * (torch.tensor(levels) * (1 - torch.tensor(levels)) / len(part)).sqrt()
        ).all()


def test_quantiles_are_those_of_a_conjugate_gaussian():
    levels = [0.1, 0.5, 0.9]
    net, x = (
        fitted(build(2, 2, loss="quantile", levels=levels), conjugate),
        torch.tensor([[1.0, -0.5]]),
    )
    exact = 0.8 * x[0, :, None] + 0.2**0.5 * torch.tensor(stats.norm.ppf(levels)).float()
    assert torch.allclose(net.estimate(x)[0], exact, atol=0.1)


@pytest.mark.parametrize(("loss", "outputs"), [("mse", 1), ("mae", 1), ("quantile", 5)])
def test_shapes_and_the_loss_of_each_row(loss, outputs):
    net, z, h = scrambled(build(2, loss=loss)), torch.randn(7, 2), torch.randn(7, H)
    assert net.estimate(h).shape == (7, 2, outputs) and net.loss(z, h).shape == (7,)
    assert torch.allclose(net.loss(z, h)[3:4], net.loss(z[3:4], h[3:4]))
    error = z - net.estimate(h)[..., 0]
    if loss != "quantile":
        assert torch.allclose(
            net.loss(z, h), (error.square() if loss == "mse" else error.abs()).sum(-1)
        )


def test_pinball_loss_is_the_published_one():
    net, z, h = (
        scrambled(build(1, loss="quantile", levels=[0.1, 0.7])),
        torch.randn(50, 1),
        torch.randn(50, H),
    )
    error = z - net.estimate(h)[:, 0]
    by_level = [
        torch.where(one > 0, level * one, (level - 1) * one)
        for level, one in zip([0.1, 0.7], error.unbind(-1), strict=True)
    ]
    assert torch.allclose(net.loss(z, h), sum(by_level) / 2, atol=1e-6)


@pytest.mark.parametrize("std", [0.1, 1.0, 10.0])
def test_quantiles_never_cross(std):
    quantiles = scrambled(build(3, loss="quantile"), std).estimate(torch.randn(200, H) * 5)
    assert quantiles.isfinite().all() and (quantiles.diff() >= 0).all()


@pytest.mark.parametrize(
    "levels", [[0.025, 0.25, 0.5, 0.75, 0.975], [0.2, 0.9], [0.001, 0.01, 0.3, 0.999]]
)
def test_before_training_it_is_the_prior(levels):
    net, noise, h = (
        build(2, loss="quantile", levels=levels),
        torch.randn(50, 20, 2) * 2,
        torch.randn(50, H),
    )
    assert torch.allclose(
        net.estimate(h), torch.tensor(stats.norm.ppf(levels)).float().expand(50, 2, -1), atol=1e-5
    )
    assert torch.allclose(net.transport(noise, h), noise, atol=1e-4)
    assert torch.equal(build(2, loss="mse").transport(noise, h), torch.zeros_like(noise))


def test_quantiles_of_draws_are_the_quantiles():
    net, h = scrambled(build(2, loss="quantile")).double(), torch.randn(3, H).double()
    even = torch.special.ndtri((torch.arange(40_000).double() + 0.5) / 40_000)
    draws = net.transport(even[None, :, None].expand(3, -1, 2), h)
    found = torch.quantile(draws, net.levels, dim=1).movedim(0, -1)
    assert torch.allclose(found, net.estimate(h), atol=2e-3)
    assert (draws.diff(dim=1) >= 0).all()


def test_draws_are_straight_lines_in_the_normal_score_also_beyond_the_levels():
    net, h = (
        scrambled(build(1, loss="quantile", levels=[0.1, 0.5, 0.9])).double(),
        torch.randn(1, H).double(),
    )
    low, middle, high = net.estimate(h)[0, 0]
    score = net.scores[2]
    noise = torch.tensor([-3.0, -0.5, 0.5, 3.0]).double()
    slopes = torch.stack([(middle - low) / score] * 2 + [(high - middle) / score] * 2)
    assert torch.allclose(
        net.transport(noise[None, :, None], h)[0, :, 0], middle + slopes * noise, atol=1e-6
    )


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_every_draw_is_the_estimate(loss):
    net, h = scrambled(build(2, loss=loss)), torch.randn(4, H)
    draws = net.transport(torch.randn(4, 9, 2), h)
    assert torch.equal(draws, net.estimate(h)[:, None, :, 0].expand(4, 9, 2))


@pytest.mark.parametrize("loss", ["mse", "mae", "quantile"])
def test_uncertain_weights(loss):
    """zuko's Bayesian weights, with the local trick: one draw of the weights per context, gradients
    to means and variances.
    """
    bayesian = BayesianModel(scrambled(build(2, loss=loss)), init_logvar=-2)
    with bayesian.reparameterize(local_trick=True) as net:
        net.loss(torch.randn(6, 2), torch.randn(6, H)).sum().backward()
    assert all(
        (one.grad != 0).any() for one in [*bayesian.means.values(), *bayesian.logvars.values()]
    )
    noise, h = torch.zeros(1, 1, 2), torch.ones(1, H)
    draws = [bayesian.sample_model().transport(noise, h) for _ in range(5)]
    assert all((one != draws[0]).any() for one in draws[1:])


def test_there_is_no_density():
    assert {loss: build(2, loss=loss).output_kind for loss in ("mse", "mae", "quantile")} == {
        "mse": "estimate",
        "mae": "estimate",
        "quantile": "marginals",
    }
    net = build(2)
    with pytest.raises(
        ConfigError,
        match=(
            r"model\.inference\.kind  a point network gives estimates and has no density  Use nsf"
        ),
    ):
        net.log_prob(torch.zeros(1, 2), torch.zeros(1, H))


def test_the_weights_are_saved_and_loaded():
    net, other, h = (
        scrambled(build(3, loss="quantile")),
        build(3, loss="quantile"),
        torch.randn(5, H),
    )
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.estimate(h), other.estimate(h))


def test_no_draws():
    for loss in ("mse", "quantile"):
        assert build(2, loss=loss).transport(torch.zeros(0, 5, 2), torch.zeros(0, H)).shape == (
            0,
            5,
            2,
        )
        assert build(2, loss=loss).transport(torch.zeros(4, 0, 2), torch.zeros(4, H)).shape == (
            4,
            0,
            2,
        )


def test_refused():
    with pytest.raises(ConfigError, match="at least one feature"):
        build(2, 0)
    with pytest.raises(ValueError, match=r"levels must rise, and 0\.5 stands before 0\.5"):
        build(2, levels=[0.1, 0.5, 0.5])


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "huber"},
        {"levels": [0.5]},
        {"levels": [0.0, 0.5]},
        {"levels": [0.5, 1.0]},
        {"hidden": []},
    ],
)
def test_options_are_bounded_and_described(options):
    assert all(field.description for field in family.config("point").model_fields.values())
    with pytest.raises(ValueError, match=next(iter(options))):
        family.parse({"kind": "point", **options})
