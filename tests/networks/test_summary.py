"""Every summary network through one contract, then what is special to one."""

import pytest
import torch

from sbiwb.contracts import InputShape
from sbiwb.errors import ConfigError
from sbiwb.networks.summary import family

VECTOR = InputShape("vector", 3)
SET, FIXED_SET = InputShape("set", 3, 7, True), InputShape("set", 3, 7, False)
SERIES, FIXED_SERIES = InputShape("series", 3, 7, True), InputShape("series", 3, 7, False)
B, H = 6, 5

CASES = [  # (kind, options, shape)
    ("identity", {}, VECTOR),
    ("mlp", {"hidden": [16, 16]}, VECTOR),
    ("mlp", {"hidden": [16, 16], "norm": True, "residual": True, "activation": "silu"}, FIXED_SERIES),
    ("mlp", {}, FIXED_SET),
    ("deepset", {"hidden": 16}, SET),
    ("deepset", {"hidden": 16, "pooling": ["mean", "max", "attention"], "norm": True, "residual": True}, SET),
    ("deepset", {"hidden": 16, "pooling": "attention", "head_depth": 0, "activation": "tanh"}, SET),
    ("deepset", {"hidden": 16}, FIXED_SET),
    *[
        ("lstm", {"hidden": 8, "pooling": pooling, "bidirectional": both, "layers": 1 + both}, SERIES)
        for pooling in ("last", "mean", "max", "attention")
        for both in (False, True)
    ],
    ("lstm", {"hidden": 8}, FIXED_SERIES),
]
MASKED = [case for case in CASES if case[2].varies]
SETS = [case for case in CASES if case[2].kind == "set" and case[0] != "mlp"]


def build(kind, options, shape):
    return family.parse({"kind": kind, **options}).build(shape, H)


def example(shape, length=7):
    """Random values, and a mask with an empty, a one-member and a full row where lengths vary."""
    if shape.kind == "vector":
        return torch.randn(B, shape.channels), None
    mask = torch.arange(length) < torch.tensor([1, length, 3, 2, 0, 5])[:, None]
    return torch.randn(B, length, shape.channels), mask if shape.varies else None


def test_every_summary_network_has_a_case():
    assert sorted({kind for kind, _, _ in CASES}) == family.names()


@pytest.mark.parametrize(("kind", "options", "shape"), CASES)
def test_contract(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    out = net(values, mask)
    assert out.shape == (B, net.features) and out.isfinite().all()
    assert net.features == (shape.channels if kind == "identity" else H)
    assert torch.allclose(net(values[2:3], None if mask is None else mask[2:3]), out[2:3], atol=1e-6)  # row by row


@pytest.mark.parametrize(("kind", "options", "shape"), CASES)
def test_gradients_reach_every_parameter(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    net(values.requires_grad_(), mask).square().sum().backward()
    assert values.grad.any()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize(("kind", "options", "shape"), CASES)
def test_weights_saved_and_loaded(kind, options, shape):
    net, other, (values, mask) = build(kind, options, shape), build(kind, options, shape), example(shape)
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(values, mask), other(values, mask))


@pytest.mark.parametrize("garbage", [0.0, 1e6, float("nan"), float("inf")])
@pytest.mark.parametrize(("kind", "options", "shape"), MASKED)
def test_padding_changes_nothing(kind, options, shape, garbage):
    net, (values, mask) = build(kind, options, shape), example(shape)
    before = net(values, mask)
    values = torch.where(mask[..., None], values, garbage)
    more = torch.cat([values, torch.full((B, 4, shape.channels), garbage)], dim=1)
    after = net(more, torch.cat([mask, torch.zeros(B, 4, dtype=torch.bool)], dim=1))
    assert torch.allclose(before, after, atol=1e-6)
    after.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters() if parameter.grad is not None)


@pytest.mark.parametrize(("kind", "options", "shape"), MASKED)
def test_a_full_mask_equals_none(kind, options, shape):
    net, values = build(kind, options, shape), torch.randn(B, 9, shape.channels)  # 9: longer than in training
    assert torch.allclose(net(values, torch.ones(B, 9, dtype=torch.bool)), net(values, None), atol=1e-6)


@pytest.mark.parametrize(("kind", "options", "shape"), MASKED)
def test_one_member_alone(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    assert torch.allclose(net(values[:1, :1], None), net(values, mask)[:1], atol=1e-6)


@pytest.mark.parametrize(("kind", "options", "shape"), SETS)
def test_sets_have_no_order(kind, options, shape):
    net, values = build(kind, options, shape), torch.randn(B, 7, shape.channels)
    assert torch.allclose(net(values[:, torch.randperm(7)], None), net(values, None), atol=1e-6)


@pytest.mark.parametrize(("kind", "options", "shape"), [case for case in CASES if case[0] == "lstm"])
def test_series_have_an_order(kind, options, shape):
    net, values = build(kind, options, shape), torch.randn(B, 7, shape.channels)
    assert not torch.allclose(net(values.flip(1), None), net(values, None), atol=1e-4)


def test_a_repeated_set_is_told_from_one():
    net, values = build("deepset", {"pooling": "mean"}, SET), torch.randn(B, 7, 3)
    assert not torch.allclose(net(torch.cat([values, values], dim=1), None), net(values, None), atol=1e-4)


def test_bidirectional_lstm_is_that_of_torch():
    net, values = build("lstm", {"hidden": 8, "bidirectional": True, "layers": 2}, FIXED_SERIES), torch.randn(B, 7, 3)
    ours = torch.nn.LSTM(3, 8, num_layers=2, bidirectional=True, batch_first=True)
    state = {}
    for at, layer in enumerate(net.layers):
        state |= {name.replace("l0", f"l{at}"): value for name, value in layer.ahead.state_dict().items()}
        state |= {name.replace("l0", f"l{at}") + "_reverse": value for name, value in layer.back.state_dict().items()}
    ours.load_state_dict(state)
    lengths = torch.tensor([1, 7, 3, 2, 6, 5])
    packed = torch.nn.utils.rnn.pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
    last = ours(packed)[1][0][-2:].transpose(0, 1).flatten(1)
    mask = torch.arange(7) < lengths[:, None]
    assert torch.allclose(net(values, mask), net.head(last), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("mlp", SET, "mlp takes one length, and this set has up to 7 members  Use deepset."),
        ("mlp", SERIES, "Use lstm."),
        ("identity", SET, "identity takes a vector, and this input is a set  Use deepset."),
        ("deepset", VECTOR, "deepset takes a set, and this input is a vector  Use mlp or identity."),
        ("lstm", SET, "lstm takes a series, and this input is a set  Use deepset."),
    ],
)
def test_an_input_of_another_kind_is_refused(kind, shape, message):
    with pytest.raises(ConfigError, match=message):
        build(kind, {}, shape)


@pytest.mark.parametrize("kind", family.names())
def test_every_option_is_described(kind):
    assert all(field.description for field in family.config(kind).model_fields.values())


@pytest.mark.parametrize(("kind", "options"), [("mlp", {"hidden": []}), ("deepset", {"pooling": "median"}), ("lstm", {"layers": 0})])
def test_options_are_bounded(kind, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        family.parse({"kind": kind, **options})


def test_a_new_summary_network_is_one_file(tmp_path):
    part = tmp_path / "mean.py"
    part.write_text(
        "from torch import nn\n"
        "from sbiwb.families import Part\n"
        "class Mean(nn.Module):\n"
        "    features = 3\n"
        "    def forward(self, values, mask=None):\n"
        "        return values.mean(1)\n"
        "class Config(Part):\n"
        "    def build(self, shape, features):\n"
        "        return Mean()\n"
    )
    assert build(str(part), {}, FIXED_SET)(torch.ones(2, 7, 3), None).shape == (2, 3)
