"""Estimator: inputs in their order, names with odd characters, and the density of the whole."""

import pytest
import torch

from sbiwb.contracts import InputShape
from sbiwb.networks import inference, summary
from sbiwb.networks.estimator import Estimator
from sbiwb.networks.summary._mmd import mmd_to_normal


@pytest.fixture
def estimator():
    summaries = {
        "trials.rt, choice": summary.family.parse("deepset").build(
            InputShape("set", 3, 7, True), 4
        ),
        "n": summary.family.parse("identity").build(InputShape("vector", 1), 4),
    }
    return Estimator(
        summaries, inference.family.parse({"kind": "nsf", "transforms": 2}).build(2, 5)
    )


INPUTS = {
    "n": (torch.full((6, 1), 9.0), None),
    "trials.rt, choice": (torch.ones(6, 7, 3), torch.ones(6, 7, dtype=torch.bool)),
}


def test_features_stand_in_the_order_of_the_summaries(estimator):
    features = estimator.summarise(INPUTS)
    assert features.shape == (6, 5) and (features[:, 4] == 9).all()


def test_forward_is_the_log_density_given_the_features(estimator):
    z = torch.randn(6, 2)
    features = estimator.summarise(INPUTS)
    assert torch.equal(estimator(z, INPUTS)[0], estimator.log_prob(z, features)) and estimator(
        z, INPUTS
    )[0].shape == (6,)
    assert torch.allclose(estimator.transport(z[:, None], features)[:, 0], z, atol=1e-5)


def test_gradients_reach_summaries_once_the_flow_has_left_its_start(estimator):
    optimizer = torch.optim.SGD(estimator.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (-estimator(torch.ones(6, 2), INPUTS)[0].mean()).backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in estimator.parameters())
    assert any(parameter.grad.any() for parameter in estimator.summaries.parameters())


def test_weights_survive_a_file(estimator, tmp_path):
    torch.save(estimator.state_dict(), tmp_path / "w.pt")
    before = estimator(torch.ones(6, 2), INPUTS)[0]
    for parameter in estimator.parameters():
        torch.nn.init.normal_(parameter)
    estimator.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    assert torch.equal(estimator(torch.ones(6, 2), INPUTS)[0], before)


@pytest.mark.parametrize("fused", [False, True])
def test_mmd_of_summaries_joins_the_loss_in_training_alone(fused):
    torch.manual_seed(0)
    vector = summary.family.parse({"kind": "mlp", "hidden": [8]}).build(InputShape("vector", 2), 4)
    fusion = (
        summary.family.parse({"kind": "fusion", "hidden": 8}).build(InputShape("vector", 4), 3)
        if fused
        else None
    )
    density = inference.family.parse({"kind": "nsf", "transforms": 1}).build(2, 3 if fused else 4)
    weights = {"fused_mmd_weight": 2.0} if fused else {"mmd_weights": {"x": 2.0}}
    net, x, z = (
        Estimator({"x": vector}, density, fusion=fusion, **weights),
        torch.randn(50, 2),
        torch.randn(50, 2),
    )
    features = net.summarise({"x": (x, None)})
    assert net.terms == ("mmd",)
    assert torch.allclose(net.train()(z, {"x": (x, None)})[1], 2 * mmd_to_normal(features)[None])
    assert not net.eval()(z, {"x": (x, None)})[1].any()
