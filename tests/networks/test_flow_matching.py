"""Flow matching: the density is that of the draws, rows keep to themselves, solvers agree, and it
learns narrow and curved posteriors.
"""

import copy
import math

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from sbiwb.errors import ConfigError
from sbiwb.networks.inference import _ode, family
from tests.c2st import c2st

H = 3
SMALL = {"hidden": [16, 16], "tolerance": 1e-7}


def build(d, **options):
    return family.parse({"kind": "flow_matching", **options}).build(d, H)


def trained(d, *, std=0.25, **options):
    """A network far from the identity, in double precision."""
    net = build(d, **{**SMALL, **options}).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return net.eval()


def solved_otherwise(net, **options):
    other = copy.copy(net)
    other.config = net.config.model_copy(update=options)
    return other


def normal_log_prob(z):
    return -0.5 * (z**2 + math.log(2 * math.pi)).sum(-1)


@pytest.mark.parametrize(
    "options", [{}, {"solver": "rk4"}, {"affine": False, "hidden": [8, 9, 9], "activation": "tanh"}]
)
@pytest.mark.parametrize("d", [1, 3])
def test_untrained_is_the_standard_normal(d, options):
    net, z, h = build(d, **options), torch.randn(40, d).mul(2), torch.randn(40, H)
    assert torch.allclose(net.log_prob(z, h), normal_log_prob(z), rtol=1e-6, atol=1e-5)
    assert torch.allclose(net.transport(z[:, None], h)[:, 0], z, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"affine": False, "activation": "gelu"}, {"hidden": [12, 16, 16], "sigma_min": 0.1}],
)
@pytest.mark.parametrize("d", [1, 3])
def test_density_is_that_of_the_draws(d, options):
    """log q(z) = log N(noise) - log |dz/dnoise| for z = transport(noise)."""
    net, noise, h = trained(d, **options), torch.randn(4, d).double(), torch.randn(4, H).double()
    z = net.transport(noise[:, None], h)[:, 0]
    assert (z - noise).abs().max() > 0.1
    dz = jacobian(lambda u: net.transport(u[:, None], h).sum((0, 1)), noise).movedim(
        1, 0
    )  # rows are independent
    expected = normal_log_prob(noise) - torch.linalg.slogdet(dz)[1]
    assert torch.allclose(net.log_prob(z, h), expected, atol=1e-4)


@pytest.mark.parametrize("options", [{"tolerance": 1e-4}, {"solver": "rk4", "steps": 10}])
def test_density_integrates_to_one(options):
    net, grid = trained(2, std=0.17, affine=False, **options), torch.linspace(-10, 10, 61).double()
    z = torch.cartesian_prod(grid, grid)
    with torch.no_grad():
        density = net.log_prob(z, torch.ones(1, H).double().expand(len(z), -1)).exp()
    edges = density.view(61, 61)
    assert max(edges[[0, -1]].max(), edges[:, [0, -1]].max()) < 1e-6  # all mass in view
    assert abs(density.sum().item() * (grid[1] - grid[0]).item() ** 2 - 1) < 1e-3


@pytest.mark.parametrize(
    ("solver", "steps", "error"), [("rk4", 50, 1e-4), ("midpoint", 200, 1e-3), ("euler", 500, 3e-2)]
)
def test_equal_steps_agree_with_adaptive_ones(solver, steps, error):
    net, noise, h = trained(2), torch.randn(4, 2, 2).double(), torch.randn(4, H).double()
    other = solved_otherwise(net, solver=solver, steps=steps)
    with torch.no_grad():
        z = net.transport(noise, h)
        assert torch.allclose(other.transport(noise, h), z, atol=error)
        assert torch.allclose(other.log_prob(z[:, 0], h), net.log_prob(z[:, 0], h), atol=3 * error)


def test_rows_do_not_influence_one_another():
    """A draw or a density is the same in any company, also beside one that needs much smaller
    steps.
    """
    net, noise, h = (
        trained(2, tolerance=1e-4),
        torch.randn(6, 30, 2).double(),
        torch.randn(6, H).double(),
    )
    h[0] *= 5
    with torch.no_grad():
        together, alone = (
            net.transport(noise, h),
            [net.transport(noise[i : i + 1, :7], h[i : i + 1]) for i in range(6)],
        )
        assert torch.allclose(together[:, :7], torch.cat(alone), atol=1e-8, rtol=1e-8)
        z = together[:, 0]
        assert torch.allclose(
            net.log_prob(z, h)[3:4], net.log_prob(z[3:4], h[3:4]), atol=1e-8, rtol=1e-8
        )
        half = copy.deepcopy(net).float()
        together = half.transport(noise.float(), h.float())
        alone = [half.transport(noise[:, s : s + 10].float(), h.float()) for s in (0, 10, 20)]
        assert torch.allclose(
            together, torch.cat(alone, 1), atol=2e-3
        )  # of the tolerance of 1e-4 and single precision


def test_far_values_are_finite_and_no_number_stays_none():
    net, z, h = trained(2, tolerance=1e-5).float(), torch.randn(6, 2), torch.randn(6, H)
    z[0], z[1], z[2], h[3] = 37.0, -37.0, 1e6, 1e4
    z[4, 1] = math.nan
    with torch.no_grad():
        density = net.log_prob(z, h)
        draws = net.transport(torch.full((6, 1, 2), 37.0), h)
    assert (
        density.isnan().tolist() == [False] * 4 + [True, False]
        and density[[0, 1, 2, 3, 5]].isfinite().all()
    )
    assert draws.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 5, 2), (4, 0, 2)])
def test_no_draws(shape):
    net = trained(2)
    assert (
        net.transport(torch.zeros(shape).double(), torch.zeros(shape[0], H).double()).shape == shape
    )
    assert net.log_prob(torch.zeros(0, 2).double(), torch.zeros(0, H).double()).shape == (0,)


def test_gradients_are_those_of_finite_differences():
    net, z, h = (
        trained(2, solver="rk4", steps=3, hidden=[8, 8]),
        torch.randn(2, 2).double(),
        torch.randn(2, H).double().requires_grad_(),
    )
    assert torch.autograd.gradcheck(net.log_prob, (z.requires_grad_(), h))
    assert torch.autograd.gradcheck(
        net.transport, (torch.randn(2, 1, 2).double().requires_grad_(), h)
    )


@pytest.mark.parametrize("name", ["log_prob", "transport"])
def test_gradients_do_not_depend_on_the_solver(name):
    net, z, h = trained(2), torch.randn(3, 2).double(), torch.randn(3, H).double().requires_grad_()
    argument = z if name == "log_prob" else z[:, None]
    wanted = [h, *net.parameters()]
    every = [
        torch.autograd.grad(getattr(one, name)(argument, h).sum(), wanted)
        for one in (net, solved_otherwise(net, solver="rk4"))
    ]
    for adaptive, fixed in zip(*every, strict=True):
        assert torch.allclose(adaptive, fixed, atol=1e-3, rtol=1e-3)


def test_loss_is_the_published_one():
    """|v - u|^2 on the straight path, v written out from w, with numbers drawn as in training."""
    net, z, h = (
        trained(2, affine=False, sigma_min=0.05, time_power=1.0).train(),
        torch.randn(50, 2).double(),
        torch.randn(50, H).double(),
    )
    torch.manual_seed(3)
    found = net.loss(z, h)
    torch.manual_seed(3)
    t, noise = torch.rand_like(z[:, :1]).sqrt(), torch.randn_like(z)
    a = 1 - 0.95 * t
    path, speed, radius = a * noise + t * z, z - 0.95 * noise, (a**2 + t**2).sqrt()
    w = net.field(
        torch.atan2(t, a),
        path / radius,
        net.field.given(h, torch.zeros_like(z), torch.zeros_like(z)),
    )
    v = (t - 0.95 * a) / radius * path / radius + w / radius  # ds/dt y + w / s
    assert torch.allclose(found, (v - speed).square().sum(-1))


def test_times_follow_their_power():
    """The untrained field's loss grows with t in a known way: E |u - v|^2 = D / s^2, averaged over
    the density of t.
    """
    z, h, t = torch.randn(50_000, 1), torch.zeros(50_000, H), torch.linspace(0, 1, 10_001).double()
    for power in (0.0, 2.0):
        density = (1 + power) * t**power
        expected = torch.trapezoid(density / ((1 - t) ** 2 + t**2), t).item()
        net = build(1, affine=False, hidden=[8], time_power=power, sigma_min=0.0)
        assert net.loss(z, h).mean().item() == pytest.approx(expected, rel=0.03)


def test_validation_loss_is_always_the_same_and_precise():
    net, z, h = trained(2), torch.randn(500, 2).double(), torch.randn(500, H).double()
    before = torch.get_rng_state()
    found = net.loss(z, h)
    assert torch.equal(found, net.loss(z, h)) and torch.equal(before, torch.get_rng_state())
    net.train()
    random = torch.stack([net.loss(z, h).mean() for _ in range(200)])
    assert not torch.equal(net.loss(z, h), net.loss(z, h))
    assert (
        abs(found.mean() - random.mean()) < 0.3 * random.std()
    )  # one draw a pair errs by a whole standard deviation


def test_draws_and_densities_take_no_random_numbers():
    net, before = trained(2), torch.get_rng_state()
    z = net.transport(torch.zeros(2, 3, 2).double(), torch.zeros(2, H).double())
    net.log_prob(z[:, 0], torch.zeros(2, H).double())
    assert torch.equal(before, torch.get_rng_state())


def test_the_weights_are_saved_and_loaded():
    net, other, z, h = (
        trained(3),
        build(3, **SMALL).double(),
        torch.randn(5, 3).double(),
        torch.randn(5, H).double(),
    )
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.log_prob(z, h), other.log_prob(z, h))


def test_loss_reaches_every_parameter():
    net = trained(2).train()
    net.loss(torch.randn(20, 2).double(), torch.randn(20, H).double()).sum().backward()
    assert all((parameter.grad != 0).any() for parameter in net.parameters())


A = torch.tensor([[1.0, 0.5], [-0.3, 0.8]])


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.5, 0.02])
def test_learns_a_conjugate_gaussian(noise):
    """theta ~ N(0, I), x = A theta + noise: C2ST against exact draws, for a wide posterior and one
    fifty times narrower than the prior.
    """
    net = fitted(
        family.parse("flow_matching").build(2, 2),
        lambda z: z @ A.t() + noise * torch.randn_like(z),
        steps=1500,
    )
    precision, x = torch.eye(2) + A.t() @ A / noise**2, torch.tensor([1.0, 0.5])
    exact = torch.distributions.MultivariateNormal(
        torch.linalg.solve(precision, A.t() @ x / noise**2), precision_matrix=precision
    )
    reference = exact.sample((2000,))
    with torch.no_grad():
        draws, log_q = (
            net.transport(torch.randn(1, 2000, 2), x[None])[0],
            net.log_prob(reference, x.expand(2000, -1)),
        )
    assert c2st(reference.double().numpy(), draws.double().numpy()) <= 0.58
    assert (
        abs((exact.log_prob(reference) - log_q).mean()) < 0.05
    )  # the divergence of q from the posterior, nats


def test_learns_two_modes():
    """x = |z| + noise: q has half its mass on either side, and little between."""
    net = fitted(
        family.parse({"kind": "flow_matching", "hidden": [32, 32]}).build(1, 1),
        lambda z: z.abs() + 0.2 * torch.randn_like(z),
        500,
    )
    with torch.no_grad():
        draws = net.transport(torch.randn(1, 4000, 1), torch.full((1, 1), 1.5))[0, :, 0]
    assert abs((draws > 0).float().mean() - 0.5) < 0.08
    assert (draws.abs() < 0.7).float().mean() < 0.05
    assert abs(draws.abs().mean() - 1.5 / 1.04) < 0.1


def fitted(net, simulate, steps):
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        z = torch.randn(256, net.field.last.out_features)
        loss = net.loss(z, simulate(z)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def test_refused():
    with pytest.raises(ConfigError, match="at least one feature"):
        family.parse("flow_matching").build(2, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": []},
        {"solver": "heun"},
        {"steps": 0},
        {"tolerance": 0},
        {"sigma_min": 0.5},
        {"time_power": -1},
    ],
)
def test_options_are_bounded_and_described(options):
    assert all(field.description for field in family.config("flow_matching").model_fields.values())
    with pytest.raises(ValueError, match=next(iter(options))):
        family.parse({"kind": "flow_matching", **options})


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_orders_of_the_fixed_steps(method, order):
    """dy/dt = y cos t, y = exp(sin t): half the step, 2^order times less error."""
    one = torch.ones(1, 1).double()
    errors = [
        abs(
            _ode.fixed(lambda t, y, _: y * t.cos(), one, 0.0, 2.0, method=method, steps=n).item()
            - math.exp(math.sin(2))
        )
        for n in (40, 80)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_adaptive_steps_keep_the_tolerance_each_row_its_own():
    """dy/dt = -k y, forth and back, from slow to stiff."""
    k, y = torch.tensor([[0.1], [1.0], [10.0], [100.0]]).double(), torch.ones(4, 1).double()
    rates = []

    def field(t, y, rows):
        rates.append(len(rows))
        return -k[rows] * y

    end = _ode.adaptive(field, y, 0.0, 1.0, tolerance=1e-8)
    assert np.allclose(end.numpy(), torch.exp(-k).numpy(), atol=1e-6)
    assert rates[0] == 4 and rates[-1] == 1  # the stiff row goes on alone
    back = _ode.adaptive(field, end[:3], 1.0, 0.0, tolerance=1e-10)
    assert np.allclose(back.numpy(), 1, atol=1e-2)
