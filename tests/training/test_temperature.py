"""The temperature of a flow: found where the truth is known, part of the density and of the draws,
and the same whether training was interrupted or not."""

import math

import numpy as np
import pytest
import torch

from sbiwb.contracts import InputShape
from sbiwb.networks import compiled_flow, inference, summary, uncertainty
from sbiwb.networks.estimator import Estimator
from sbiwb.training.loop import Trainer
from sbiwb.training.ranks import ALONE
from sbiwb.training.sources import MemoryPairs, TensorPairs
from sbiwb.training.temperature import LOG_TEMPERATURES, fitted, log_densities
from sbiwb.training.train_options import TrainOptions
from sbiwb.training.validation import Validation

D = 3


def flow(seed: int = 0, kind: str = "fitted"):
    torch.manual_seed(seed)
    part = {"kind": "nsf", "transforms": 2, "hidden": [16], "temperature": kind}
    net = inference.family.parse(part).build(D, 2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return net


def estimator(member: int = 0, kind: str = "fitted") -> Estimator:
    summaries = {"x": summary.family.parse("identity").build(InputShape("vector", 2), None)}
    return Estimator(summaries, flow(member, kind))


def ensemble(kind: str = "fitted"):
    members = uncertainty.family.parse({"kind": "ensemble", "members": 3})
    return members.build(lambda member: estimator(member, kind), 100)


def noise_losses(sd: float, n: int) -> np.ndarray:
    noise = sd * torch.randn(n, D, generator=torch.Generator().manual_seed(n))
    squared = noise.square().sum(1)[None]
    return -log_densities(squared, torch.zeros(1, n), D, [1.0]).mean(1).numpy()


@pytest.mark.parametrize("sd", [0.75, 1.0, 1.3])
def test_the_scale_of_known_noise_is_found(sd):
    log_temperature, loss = fitted(noise_losses(sd, 20_000), 20_000)
    assert log_temperature == pytest.approx(math.log(sd), abs=0.01)
    best = D * (0.5 * math.log(2 * math.pi) + math.log(sd) + 0.5)  # entropy of the noise
    assert loss == pytest.approx(best, abs=0.03)


def test_few_pairs_say_little():
    losses = noise_losses(1.3, 20_000)
    log_temperatures = [fitted(losses, n)[0] for n in (3, 30, 20_000)]
    assert 0 < log_temperatures[0] < log_temperatures[1] < log_temperatures[2]


@pytest.mark.parametrize("sd", [0.3, 3.0])
def test_beyond_the_grid_its_end_is_taken(sd):
    log_temperature, _ = fitted(noise_losses(sd, 1000), 1000)
    assert abs(log_temperature) == pytest.approx(LOG_TEMPERATURES[-1], abs=0.04)


def test_a_loss_that_is_not_finite_fits_nothing():
    log_temperature, loss = fitted(np.full(len(LOG_TEMPERATURES), np.nan), 10)
    assert log_temperature == 0 and math.isnan(loss)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("log_temperature", [0.3, -0.2, [0.3, 0.0, -0.2]])
def test_density_and_gradients_are_those_of_wider_noise(native, log_temperature, monkeypatch):
    monkeypatch.setitem(compiled_flow._state, "on", native)
    temperature = torch.tensor(log_temperature)
    net = flow(kind="columns" if temperature.ndim else "fitted")
    net.temper(temperature)
    z, x = torch.randn(40, D, requires_grad=True), torch.randn(40, 2, requires_grad=True)
    found = net.log_prob(z, x)
    squares, log_det = net.noise(z, x)
    normal = torch.distributions.Normal(0, temperature.exp().expand(D)[:, None])
    expected = log_det + normal.log_prob(squares.sqrt()).sum(0)
    assert torch.allclose(found, expected, atol=1e-4)
    wanted = [z, x, *net.parameters()]
    ours = torch.autograd.grad(found.sum(), wanted)
    theirs = torch.autograd.grad(expected.sum(), wanted)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("log_temperature", [0.3, [0.3, 0.0, -0.2]])
def test_draws_have_the_wider_noise(log_temperature):
    temperature = torch.tensor(log_temperature)
    net = flow(kind="columns" if temperature.ndim else "fitted")
    net.temper(temperature)
    x = torch.randn(1, 2)
    with torch.no_grad():
        z = net.transport(torch.randn(1, 50_000, D), x)[0]
        squares, _ = net.noise(z, x.expand(len(z), -1))
    assert squares.mean(1).tolist() == pytest.approx(
        (2 * temperature).exp().expand(D).tolist(), rel=0.03
    )


@pytest.mark.parametrize("log_temperature", [0.2, [0.2, 0.0, -0.1]])
def test_members_side_by_side_have_their_temperature(log_temperature):
    temperature = torch.tensor(log_temperature)
    nets = [flow(seed, "columns" if temperature.ndim else "fitted") for seed in (0, 1)]
    z, x = torch.randn(2, 8, D), torch.randn(2, 8, 2)
    for net in nets:
        net.temper(temperature)
    together = type(nets[0]).side_by_side(nets, z, x)
    alone = [net.log_prob(z[m], x[m]) for m, net in enumerate(nets)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


def narrow_pairs(module, n: int, sd=(1.3, 1.3, 1.3)) -> TensorPairs:
    """Pairs of which the module knows all but that their noise is so many times as wide."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(n, 2, generator=generator)
    shares = torch.randint(len(module.components()), (n,), generator=generator)
    noise = torch.tensor(sd) * torch.randn(n, 1, D, generator=generator)
    z = torch.zeros(n, D)
    with torch.no_grad():
        for m, member in enumerate(module.components()):
            own = shares == m
            z[own] = member.inference.transport(noise[own], x[own])[:, 0]
    return TensorPairs(z, {"x": (x, None)})


@pytest.mark.parametrize("make", [estimator, ensemble])
def test_validation_finds_the_temperature_of_a_mixture(make):
    module, averaged = make(), make()
    pairs = narrow_pairs(module, 4000)
    loss = Validation(averaged, module, pairs, ALONE).loss()
    for member in averaged.components():
        found = float(member.inference.log_temperature)
        assert found == pytest.approx(math.log(1.3), abs=0.02)
    with torch.no_grad():
        tempered = -averaged(pairs.z, pairs.inputs)[0].mean()
        untempered = -module.eval()(pairs.z, pairs.inputs)[0].mean()
    assert loss == pytest.approx(float(tempered), abs=2e-3)
    assert loss < float(untempered) - 0.05
    assert Validation(averaged, module, pairs, ALONE).loss() == loss  # it begins anew each time


@pytest.mark.parametrize("make", [estimator, ensemble])
def test_validation_finds_the_temperature_of_each_column(make):
    module, averaged, sd = make(kind="columns"), make(kind="columns"), (1.2, 1.0, 0.85)
    pairs = narrow_pairs(module, 8000, sd)
    validation = Validation(averaged, module, pairs, ALONE)
    loss = validation.loss()
    for member in averaged.components():
        assert member.inference.log_temperature.exp().tolist() == pytest.approx(sd, abs=0.02)
    with torch.no_grad():
        assert loss == pytest.approx(-float(averaged(pairs.z, pairs.inputs)[0].mean()), abs=1e-5)
    assert validation.loss() == loss  # it begins anew each time
    shared = Validation(make(), make(), pairs, ALONE).loss()
    assert loss < shared - 0.01


def test_columns_of_few_pairs_have_the_temperature_of_all():
    def spread(n: int) -> float:
        module, averaged = estimator(kind="columns"), estimator(kind="columns")
        Validation(averaged, module, narrow_pairs(module, n, (1.4, 1.1, 0.8)), ALONE).loss()
        return float(averaged.inference.log_temperature.std())

    assert spread(10) < spread(4000) / 3


def test_a_flow_without_one_keeps_its_state_and_its_numbers():
    plain, tempered = flow(kind="one"), flow()
    assert set(tempered.state_dict()) - set(plain.state_dict()) == {"log_temperature"}
    z, x = torch.randn(20, D), torch.randn(20, 2)
    with torch.no_grad():
        assert torch.equal(plain.log_prob(z, x), tempered.log_prob(z, x))
    part = inference.family.parse({"kind": "nsf"})
    assert "temperature" not in part.model_dump()


def trainer() -> Trainer:
    options = TrainOptions(steps=60, batch_size=20, validate_every=10, learning_rate=1e-2)
    data = narrow_pairs(estimator(5), 100)
    return Trainer(estimator(), MemoryPairs(data, 20, 0), data, options)


@pytest.mark.parametrize("at", [15, 30, 31])
def test_resumed_equals_uninterrupted(at):
    whole, first, second = trainer(), trainer(), trainer()
    list(whole.run())
    for _ in first.run():
        if first.progress.step == at:
            break
    second.load(first.state())
    list(second.run())
    assert whole.progress.losses == second.progress.losses
    assert whole.best.keys() == second.best.keys()
    assert all(torch.equal(whole.best[name], second.best[name]) for name in whole.best)
    assert float(whole.best["inference.log_temperature"]) != 0
