"""Discrete columns ahead of a flow: masses and conditional densities are those of exact posteriors,
and of the draws.
"""

import math
from typing import ClassVar

import pytest
import torch

from sbiwb.contracts import InferencePart, OutputKind
from sbiwb.contracts.network_modules import InferenceModule
from sbiwb.errors import ConfigError
from sbiwb.networks import mixed
from sbiwb.networks.inference import family

H = 3
SHARES = {0: (0.2, 0.3, 0.5), 2: (0.6, 0.4)}
NSF = {"kind": "nsf", "transforms": 2, "hidden": [16, 16]}


def build(size=4, context=H, discrete=SHARES, part=NSF, circular=()):
    return mixed.build(family.parse(part), size, context, discrete=discrete, circular=circular)


def far(net):
    """The network far from where it starts, in double precision."""
    for parameter in net.double().parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    return net.eval()


def every(discrete):
    """All combinations of levels, (C, J)."""
    return (
        torch.cartesian_prod(*(torch.arange(len(shares)) for shares in discrete.values()))
        .double()
        .reshape(-1, len(discrete))
    )


def normal_log_prob(z):
    return -0.5 * (z**2 + math.log(2 * math.pi)).sum(-1)


def test_untrained_is_the_prior():
    net, h = build().double(), torch.randn(6, H).double()
    for k in every(SHARES):
        z = torch.randn(6, 4).double()
        z[:, [0, 2]] = k
        prior = math.log(SHARES[0][int(k[0])] * SHARES[2][int(k[1])])
        assert torch.allclose(net.log_prob(z, h), prior + normal_log_prob(z[:, [1, 3]]), atol=1e-6)
    draws = net.transport(torch.randn(1, 20_000, 4).double(), h[:1])[0]
    assert torch.allclose(
        draws[:, 0].long().bincount() / 20_000, torch.tensor(SHARES[0]), atol=0.015
    )
    assert torch.allclose(
        draws[:, 2].long().bincount() / 20_000, torch.tensor(SHARES[2]), atol=0.015
    )


def test_masses_and_densities_together_are_one():
    net, grid = (
        far(build(2, discrete={1: (0.2, 0.5, 0.3)}, part={**NSF, "affine": False})),
        torch.linspace(-8, 8, 2001).double(),
    )
    z = torch.cartesian_prod(grid, torch.arange(3).double())
    total = net.log_prob(z, torch.ones(len(z), H).double()).exp().sum() * (grid[1] - grid[0])
    assert abs(total.item() - 1) < 1e-3


def test_later_levels_and_columns_depend_on_the_levels_before():
    net, h = far(build()), torch.randn(1, H).double()
    z = torch.zeros(2, 4).double()
    z[1, 0] = 2
    _, known = net._log_mass(z, h.expand(2, -1))
    second = torch.log_softmax(net.heads[1](known[:, : H + 3]), -1)
    assert (second[0] - second[1]).abs().max() > 1e-3
    assert (net.flow.log_prob(z[:, [1, 3]], known).diff()).abs() > 1e-3


@pytest.mark.parametrize(
    "discrete",
    [SHARES, {3: (0.5, 0.5)}, {0: (0.2, 0.3, 0.5), 1: (0.6, 0.4), 2: (1.0,), 3: (0.1, 0.9)}],
)
def test_draws_have_the_density(discrete):
    """Levels come as often as their mass says, and log q of the rest is that of the noise less the
    log-slope of the way to z.
    """
    net, h, noise = (
        far(build(discrete=discrete)),
        torch.randn(2, H).double(),
        torch.randn(2, 20_000, 4).double(),
    )
    draws = net.transport(noise, h)
    for row in range(2):
        found = {}
        for k in every(discrete):
            found[tuple(k.tolist())] = (
                (draws[row][:, list(discrete)] == k).all(-1).double().mean().item()
            )
        assert sum(found.values()) == pytest.approx(1)
        for k, share in found.items():
            z = torch.zeros(1, 4).double()
            z[0, list(discrete)] = torch.tensor(k).double()
            assert share == pytest.approx(
                net._log_mass(z, h[row : row + 1])[0].exp().item(), abs=0.015
            )
    if net.flow is not None:
        log_mass, known = net._log_mass(draws[:, 0], h)
        back = net.flow.transport(noise[:, :1, net.rest], known)[:, 0]
        assert torch.allclose(draws[:, 0, net.rest], back)
        assert torch.allclose(
            net.log_prob(draws[:, 0], h), log_mass + net.flow.log_prob(back, known)
        )


def test_draws_do_not_depend_on_who_is_drawn_beside():
    net, h, noise = far(build()), torch.randn(5, H).double(), torch.randn(5, 40, 4).double()
    together = net.transport(noise, h)
    assert torch.allclose(together[2:3, 7:9], net.transport(noise[2:3, 7:9], h[2:3]))
    extreme = net.transport(
        torch.tensor([-40.0, 40.0]).double().reshape(1, 2, 1).expand(1, 2, 4), h[:1]
    )
    assert extreme[0, 0, 0] == 0 and extreme[0, 1, 0] == 2


def learn(net, simulate, steps=400, rate=5e-3):
    optimizer = torch.optim.Adam(net.train().parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        z, x = simulate(512)
        loss = (net.loss(z, x) if hasattr(net, "loss") else -net.log_prob(z, x)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


MASS, OFFSET, NOISE = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([-2.0, 0.0, 2.0]), 0.7


def mixture(n):
    """k of three levels, mu ~ N(0, 1), x ~ N(mu + offset_k, 0.7^2)."""
    k, mu = torch.multinomial(MASS, n, replacement=True), torch.randn(n)
    return torch.stack([k.float(), mu], 1), (mu + OFFSET[k] + NOISE * torch.randn(n))[:, None]


def test_learns_a_mixture_by_enumeration():
    """p(k | x) is MASS_k N(x; offset_k, 1 + 0.49) normalised; mu | k, x is N((x - offset_k) / 1.49,
    0.49 / 1.49).
    """
    net = learn(build(2, 1, {0: tuple(MASS.tolist())}, {**NSF, "hidden": [32, 32]}), mixture)
    x = torch.tensor([[-2.5], [-1.0], [0.5], [2.0]])
    exact = torch.softmax(MASS.log() - 0.5 * (x - OFFSET) ** 2 / (1 + NOISE**2), -1)
    with torch.no_grad():
        mass = torch.stack(
            [net._log_mass(torch.full((4, 2), float(k)), x)[0].exp() for k in range(3)], -1
        )
        assert (mass - exact).abs().max() < 0.03
        draws = net.transport(torch.randn(4, 20_000, 2), x)
        sd = math.sqrt(NOISE**2 / (1 + NOISE**2))
        for row in range(4):
            for k in range(3):
                mine = draws[row, draws[row, :, 0] == k, 1]
                assert len(mine) / 20_000 == pytest.approx(exact[row, k].item(), abs=0.035)
                if len(mine) > 2_000:
                    assert mine.mean().item() == pytest.approx(
                        ((x[row, 0] - OFFSET[k]) / (1 + NOISE**2)).item(), abs=0.08
                    )
                    assert mine.std().item() == pytest.approx(sd, abs=0.06)
        z, seen = mixture(4_000)
        k, mean = z[:, 0].long(), (seen - OFFSET) / (1 + NOISE**2)
        log_mass = torch.log_softmax(
            MASS.log() - 0.5 * (seen - OFFSET) ** 2 / (1 + NOISE**2), -1
        ).gather(1, k[:, None])[:, 0]
        truth = log_mass + torch.distributions.Normal(
            mean.gather(1, k[:, None])[:, 0], sd
        ).log_prob(z[:, 1])
        assert (
            -0.005 < (truth - net.log_prob(z, seen)).mean() < 0.02
        )  # the Kullback-Leibler divergence, but for Monte-Carlo noise


def test_all_columns_discrete_and_dependent():
    """Two coins that show x = their sum: given x = 1, (0, 1) and (1, 0) are as likely, and each
    mass alone says nothing.
    """

    def coins(n):
        k = torch.randint(2, (n, 2)).float()
        return k, k.sum(1, keepdim=True)

    net = learn(build(2, 1, {0: (0.5, 0.5), 1: (0.5, 0.5)}), coins, steps=200)
    with torch.no_grad():
        masses = net.log_prob(
            torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.ones(4, 1)
        ).exp()
    assert net.flow is None and torch.allclose(masses, torch.tensor([0, 0.5, 0.5, 0]), atol=0.03)


def test_equal_points_have_an_equal_mass_in_any_batch():
    """Ranks of log q break ties at random, so that ties must not fall to rounding."""
    net, h = far(build(1, 64, {0: (0.3, 0.7)})).float(), torch.randn(1, 64)
    alone = net.log_prob(torch.ones(1, 1), h)
    for n in (2, 7, 33, 500):
        assert (net.log_prob(torch.ones(n, 1), h.expand(n, -1)) == alone).all()
    net.train()
    assert net.log_prob(torch.ones(1, 1), h).requires_grad
    assert torch.allclose(net.log_prob(torch.ones(1, 1), h), alone, atol=1e-4)


def test_a_network_trained_by_a_loss_keeps_it():
    class Flow(InferenceModule):
        def log_prob(self, z, features):
            return normal_log_prob(z)

        def transport(self, noise, features):
            return noise

    class ByLoss(Flow):
        @property
        def likelihood(self):
            return False

        def loss(self, z, features):
            return z.square().sum(-1)

    shares, h = {0: (0.25, 0.75)}, torch.randn(5, H)
    heads = mixed._heads([8], H, shares)
    z = torch.tensor([1.0, 2.0]).expand(5, 2)
    assert torch.allclose(
        mixed.Mixed(2, heads, ByLoss()).loss(z, h), torch.full((5,), 4 - math.log(0.75))
    )
    assert not mixed.Mixed(2, heads, ByLoss()).likelihood
    assert mixed.Mixed(2, heads, Flow()).likelihood


def test_without_discrete_columns_it_is_the_network_itself():
    assert type(build(2, discrete={})) is type(family.parse(NSF).build(2, H))


def test_the_weights_are_saved_and_loaded():
    net, other, z = far(build()), build().double().eval(), torch.zeros(5, 4).double()
    other.load_state_dict(net.state_dict())
    assert torch.equal(
        net.log_prob(z, torch.ones(5, H).double()), other.log_prob(z, torch.ones(5, H).double())
    )


class Angles(InferencePart):
    """A part that knows angles, and says what it was built with."""

    circular: ClassVar[bool] = True
    built: ClassVar[list] = []

    def build(self, features, context):
        raise AssertionError("has angles")

    def build_circular(self, features, context, circular):
        self.built.append((features, context, circular))
        return InferenceModule()


def test_angles_are_told_by_their_place_among_the_columns_that_are_left():
    part = Angles(kind="angles")
    mixed.build(part, 5, H, discrete={0: (0.5, 0.5), 2: (0.5, 0.5)}, circular=(1, 4))
    assert part.built == [(3, H + 4, (0, 2))]
    with pytest.raises(
        ConfigError,
        match=r"model\.inference  nsf knows no circular parameters  Use inference: ncsf\.",
    ):
        build(2, discrete={}, circular=(1,))


def test_angles_and_levels_together():
    """The density over both goes round and is one, whatever the levels are that it depends on."""
    net = far(
        build(
            2,
            discrete={0: (0.3, 0.7)},
            circular=(1,),
            part={"kind": "ncsf", "transforms": 2, "hidden": [16]},
        )
    )
    grid = torch.linspace(-math.pi, math.pi, 2001).double()
    density = torch.stack(
        [
            net.log_prob(
                torch.stack([torch.full_like(grid, k), grid], 1), torch.ones(2001, H).double()
            ).exp()
            for k in (0, 1)
        ]
    )
    assert abs(density[:, :-1].sum().item() * 2 * math.pi / 2000 - 1) < 1e-3
    assert torch.allclose(density[:, 0], density[:, -1]) and not torch.allclose(
        density[0] / density[0].sum(), density[1] / density[1].sum()
    )


def test_a_network_without_density_is_refused():
    class Estimate(InferenceModule):
        output_kind = OutputKind.ESTIMATE

    class Point(Angles):
        def build(self, features, context):
            return Estimate()

    with pytest.raises(
        ConfigError,
        match=(
            r"model\.inference  point gives no probabilities of levels, which a discrete parameter "
            r"needs"
        ),
    ):
        mixed.build(Point(kind="point"), 2, H, discrete={0: (0.5, 0.5)}, circular=())
