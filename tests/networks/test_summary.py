"""Every summary network through one contract, then what is special to one."""

import copy

import pytest
import torch
from torch.func import functional_call

from sbiwb.contracts import InputShape
from sbiwb.errors import ConfigError
from sbiwb.networks.summary import _layers, _recurrent, family, lstnet
from sbiwb.networks.summary._attention import MultiHead

VECTOR = InputShape("vector", 3)
SET, FIXED_SET = InputShape("set", 3, 7, True), InputShape("set", 3, 7, False)
SERIES, FIXED_SERIES = InputShape("series", 3, 7, True), InputShape("series", 3, 7, False)
LINE, PLANE, ROW, CELL = (
    InputShape("grid", 3, grid=grid) for grid in [(7,), (6, 5), (1, 9), (1, 1)]
)
B, H = 6, 5
DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
ALL_POOLINGS = ["mean", "max", "attention"]

CASES = [  # (kind, options, shape)
    ("identity", {}, VECTOR),
    ("fusion", {"hidden": 16}, VECTOR),
    ("fusion", {"hidden": 16, "depth": 1, "activation": "silu"}, VECTOR),
    ("mlp", {"hidden": [16, 16]}, VECTOR),
    (
        "mlp",
        {"hidden": [16, 16], "norm": True, "residual": True, "activation": "silu"},
        FIXED_SERIES,
    ),
    ("mlp", {}, FIXED_SET),
    ("mlp", {}, PLANE),
    ("deepset", {"hidden": 16}, SET),
    ("deepset", {"hidden": 16, "equivariant": 2}, SET),
    (
        "deepset",
        {"hidden": 16, "pooling": ALL_POOLINGS, "norm": True, "residual": True, "equivariant": 1},
        SET,
    ),
    ("deepset", {"hidden": 16, "pooling": "attention", "head_depth": 0, "activation": "tanh"}, SET),
    ("deepset", {"hidden": 16}, FIXED_SET),
    ("set_transformer", {"hidden": 16, "inducing": 4}, SET),
    ("set_transformer", {"hidden": 16, "inducing": None, "seeds": 2, "activation": "relu"}, SET),
    (
        "set_transformer",
        {"hidden": 12, "heads": 3, "inducing": 2, "blocks": 1, "head_depth": 0},
        FIXED_SET,
    ),
    *[
        (kind, {"hidden": 8, "pooling": pooling, "bidirectional": both, "layers": 1 + both}, SERIES)
        for kind in ("lstm", "gru")
        for pooling in ("last", *ALL_POOLINGS)
        for both in (False, True)
    ],
    ("lstm", {"hidden": 8}, FIXED_SERIES),
    ("gru", {"hidden": 8}, FIXED_SERIES),
    ("lstnet", {"hidden": 8}, SERIES),
    ("lstnet", {"hidden": 8, "kernel": 1, "period": 1, "activation": "tanh"}, SERIES),
    ("lstnet", {"hidden": 8, "kernel": 20, "period": 3}, FIXED_SERIES),
    *[
        ("transformer", {"hidden": 16, "pooling": pooling}, SERIES)
        for pooling in ("mean", [*ALL_POOLINGS, "last"])
    ],
    ("transformer", {"hidden": 15, "heads": 3, "blocks": 1, "pooling": "last"}, FIXED_SERIES),
    ("conv1d", {"hidden": 8}, SERIES),
    (
        "conv1d",
        {"hidden": 8, "kernel": 5, "depth": 2, "pooling": ALL_POOLINGS, "activation": "gelu"},
        SERIES,
    ),
    ("conv1d", {"hidden": 8, "depth": 1, "pooling": "attention"}, LINE),
    ("conv2d", {"filters": [8, 8]}, PLANE),
    ("conv2d", {"filters": [8, 8, 16], "blocks": 2, "pooling": ALL_POOLINGS}, ROW),
    ("conv2d", {"filters": [8], "kernel": 1, "pooling": "mean", "head_depth": 0}, CELL),
    ("conv2d", {"filters": [8, 16], "pooling": ["mean", "attention"], "pooled": "every"}, PLANE),
]
MASKED = [case for case in CASES if case[2].varies]
SETS = [case for case in CASES if case[2].kind == "set" and case[0] != "mlp"]
ORDERED = [case for case in CASES if case[2].kind in ("series", "grid") and case[2] != CELL]
LEARNED = [case for case in CASES if case[0] != "identity"]


def build(kind, options, shape):
    return family.parse({"kind": kind, **options}).build(shape, H)


def example(shape, length=7):
    """Random values, and a mask with an empty, a one-member and a full row where lengths vary."""
    if shape.kind in ("vector", "grid"):
        return torch.randn(B, *shape.grid, shape.channels), None
    mask = torch.arange(length) < torch.tensor([1, length, 3, 2, 0, 5])[:, None]
    return torch.randn(B, length, shape.channels), mask if shape.varies else None


def contract(cases=CASES):
    """Runs a test for every kind, options and shape."""
    return pytest.mark.parametrize(("kind", "options", "shape"), cases)


def test_every_summary_network_has_a_case():
    assert sorted({kind for kind, _, _ in CASES}) == family.names()


@contract()
def test_features_of_each_row_alone(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    out = net(values, mask)
    assert out.shape == (B, net.features) and out.isfinite().all()
    assert net.features == (shape.channels if kind == "identity" else H)
    assert torch.allclose(
        net(values[2:3], None if mask is None else mask[2:3]), out[2:3], atol=1e-5
    )
    values[[0, 1, 3, 4, 5]] = float("nan")
    assert torch.allclose(net(values, mask)[2], out[2], atol=1e-5)


@contract()
def test_gradients_reach_every_parameter(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    net(values.requires_grad_(), mask).square().sum().backward()
    assert values.grad.any()
    for name, parameter in net.named_parameters():
        assert (
            parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any()
        ), name


@contract()
def test_weights_saved_and_loaded(kind, options, shape, tmp_path):
    net, other, (values, mask) = (
        build(kind, options, shape),
        build(kind, options, shape),
        example(shape),
    )
    torch.save(net.state_dict(), tmp_path / "net.pt")
    other.load_state_dict(torch.load(tmp_path / "net.pt", map_location="cpu", weights_only=True))
    assert torch.equal(net(values, mask), other(values, mask))


@contract()
def test_weights_loaded_into_a_network_without_memory(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    with torch.device("meta"):
        other = build(kind, options, shape)
    assert all(parameter.is_meta for parameter in other.parameters())
    other.load_state_dict(net.state_dict(), assign=True)
    assert torch.equal(net(values, mask), other(values, mask))


@pytest.mark.parametrize("device", DEVICES)
@contract()
def test_same_features_on_every_device(kind, options, shape, device):
    net, (values, mask) = build(kind, options, shape), example(shape)
    before = net(values, mask)
    after = net.to(device)(values.to(device), None if mask is None else mask.to(device))
    assert after.device.type == device and torch.allclose(after.cpu(), before, atol=1e-3)


@contract()
def test_same_features_in_float64(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    before, after = net(values, mask), net.double()(values.double(), mask)
    assert after.dtype == torch.float64 and torch.allclose(after.float(), before, atol=1e-4)


@contract()
def test_about_the_same_features_in_bfloat16(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    before = net(values, mask)
    with torch.autocast("cpu", torch.bfloat16):
        after = net(values, mask)
    after.float().square().sum().backward() if kind != "identity" else None
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
    assert torch.allclose(after.float(), before, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_lstm_is_exact_in_bfloat16_where_the_cpu_has_none(bidirectional, monkeypatch):
    monkeypatch.setattr(_recurrent, "has_bfloat16_lstm", lambda: False)
    layer = _recurrent.Layer(torch.nn.LSTM, 3, 4, bidirectional=bidirectional)
    values, lengths = torch.randn(B, 7, 3), torch.full((B,), 7)
    before = layer(values, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        after = layer(values, lengths)
    assert after.dtype == torch.float32 and torch.equal(after, before)


@contract(LEARNED)
def test_weights_given_from_outside_take_effect(kind, options, shape):
    """As Bayesian weights and ensembles do; the network is whole afterwards, and can be copied."""
    net, other, (values, mask) = (
        build(kind, options, shape),
        build(kind, options, shape),
        example(shape),
    )
    before, drawn = (
        net(values, mask),
        {name: weight * 1 for name, weight in other.named_parameters()},
    )
    out = functional_call(net, drawn, (values, mask))
    assert torch.equal(out, other(values, mask)) and not torch.allclose(out, before, atol=1e-4)
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in other.parameters())
    assert torch.equal(copy.deepcopy(net)(values, mask), before)


@contract()
def test_nothing_is_random_or_kept(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    state, kept = torch.get_rng_state(), values.clone()
    with torch.no_grad():
        out = net(values, mask)
    assert torch.equal(out, net(values, mask)) and torch.equal(out, net.eval()(values, mask))
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(values, kept)


@pytest.mark.parametrize("garbage", [0.0, 1e6, float("nan"), float("inf")])
@contract(MASKED)
def test_padding_changes_nothing(kind, options, shape, garbage):
    net, (values, mask) = build(kind, options, shape), example(shape)
    before = net(values, mask)
    values = torch.where(mask[..., None], values, garbage)
    more = torch.cat([values, torch.full((B, 4, shape.channels), garbage)], dim=1)
    after = net(more, torch.cat([mask, torch.zeros(B, 4, dtype=torch.bool)], dim=1))
    assert torch.allclose(before, after, atol=1e-5)
    after.sum().backward()
    assert all(
        parameter.grad.isfinite().all()
        for parameter in net.parameters()
        if parameter.grad is not None
    )


@contract(MASKED)
def test_a_full_mask_equals_none(kind, options, shape):
    net, values = (
        build(kind, options, shape),
        torch.randn(B, 40, shape.channels),
    )  # 40: longer than in training
    assert torch.allclose(
        net(values, torch.ones(B, 40, dtype=torch.bool)), net(values, None), atol=1e-5
    )


@contract(MASKED)
def test_one_member_alone(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    assert torch.allclose(net(values[:1, :1], None), net(values, mask)[:1], atol=1e-5)


@contract(MASKED)
def test_no_member_at_all(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    assert torch.allclose(net(values[4:5, :0], mask[4:5, :0]), net(values, mask)[4:5], atol=1e-5)


@contract(SETS)
def test_sets_have_no_order(kind, options, shape):
    net, (values, mask) = build(kind, options, shape), example(shape)
    order = torch.randperm(7)
    shuffled = net(values[:, order], None if mask is None else mask[:, order])
    assert torch.allclose(shuffled, net(values, mask), atol=1e-5)


@contract(ORDERED)
def test_series_and_grids_have_an_order(kind, options, shape):
    net, values = build(kind, options, shape), example(shape)[0]
    order = torch.randperm(values.shape[-2])
    assert not torch.allclose(net(values[..., order, :], None), net(values, None), atol=1e-4)


@pytest.mark.parametrize("options", [{"pooling": "mean"}, {"pooling": "mean", "equivariant": 1}])
def test_a_repeated_set_is_told_from_one(options):
    net, values = build("deepset", options, SET), torch.randn(B, 7, 3)
    assert not torch.allclose(
        net(torch.cat([values, values], dim=1), None), net(values, None), atol=1e-4
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("deepset", {"equivariant": 1}),
        ("set_transformer", {}),
        ("set_transformer", {"inducing": None}),
    ],
)
def test_members_see_one_another(kind, options):
    """Each member's own path, ahead of the pooling, depends on what else is in the set."""
    net, values = build(kind, options, FIXED_SET), torch.randn(B, 7, 3)
    block, members = net.blocks[0], net.member(values)
    alone = block(members[:, :1], None)
    assert not torch.allclose(block(members, None)[:, :1], alone, atol=1e-4)
    mask = torch.arange(7).expand(B, 7) < 1
    assert torch.allclose(block(members, mask)[:, :1], alone, atol=1e-5)


@pytest.mark.parametrize(("kind", "theirs"), [("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)])
def test_bidirectional_recurrence_is_that_of_torch(kind, theirs):
    net, values = (
        build(kind, {"hidden": 8, "bidirectional": True, "layers": 2}, FIXED_SERIES),
        torch.randn(B, 7, 3),
    )
    whole = theirs(3, 8, num_layers=2, bidirectional=True, batch_first=True)
    state = {}
    for at, layer in enumerate(net.layers):
        state |= {
            name.replace("l0", f"l{at}"): value for name, value in layer.ahead.state_dict().items()
        }
        state |= {
            name.replace("l0", f"l{at}") + "_reverse": value
            for name, value in layer.back.state_dict().items()
        }
    whole.load_state_dict(state)
    lengths = torch.tensor([1, 7, 3, 2, 6, 5])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        values, lengths, batch_first=True, enforce_sorted=False
    )
    last = whole(packed)[1]
    last = (last[0] if kind == "lstm" else last)[-2:].transpose(0, 1).flatten(1)
    mask = torch.arange(7) < lengths[:, None]
    assert torch.allclose(net(values, mask), net.head(last), atol=1e-6)


def test_reversing_leaves_the_padding_and_undoes_itself():
    values, lengths = torch.arange(8.0).reshape(2, 4, 1), torch.tensor([3, 0])
    assert _recurrent.reverse(values, lengths)[..., 0].tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]
    assert torch.equal(_recurrent.reverse(_recurrent.reverse(values, lengths), lengths), values)


def test_last_members_of_each_series_come_last_one_first():
    values, lengths = torch.arange(1.0, 9).reshape(2, 4, 1), torch.tensor([2, 4])
    assert _layers.before(values, lengths, 3)[..., 0].tolist() == [[2, 1, 0], [8, 7, 6]]
    assert (
        _layers.before(values, lengths * 0, 5).shape == (2, 5, 1)
        and not _layers.before(values, lengths * 0, 5).any()
    )


@pytest.mark.parametrize("steps", [1, 3, 4, 10])
def test_skip_recurrence_hands_its_state_from_period_to_period(steps):
    skip, values = lstnet.Skip(3, 8, period=4), torch.randn(B, steps, 3)
    states = skip(values)
    assert states.shape == (B, steps, 8)
    for phase in range(min(4, steps)):
        assert torch.allclose(states[:, phase::4], skip.memory(values[:, phase::4])[0], atol=1e-6)


def test_the_window_of_lstnet_sees_no_step_to_come():
    net, values = build("lstnet", {"kernel": 3}, FIXED_SERIES), torch.randn(B, 7, 3)
    before = net.windows(values)
    values[:, 4] += 1
    changed = (net.windows(values) - before).abs().amax((0, 2)) > 1e-4
    assert changed.tolist() == [False, False, False, False, True, True, True]


def test_attention_block_is_that_of_torch():
    ours, theirs = MultiHead(8, 2), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.in_proj_weight.data = torch.cat([ours.query.weight, ours.key_value.weight]).detach()
    theirs.in_proj_bias.data = torch.cat([ours.query.bias, ours.key_value.bias]).detach()
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    readers, members, mask = (
        torch.randn(B, 4, 8),
        torch.randn(B, 7, 8),
        torch.arange(7) < torch.tensor([1, 7, 3, 2, 6, 5])[:, None],
    )
    assert torch.allclose(
        ours(readers, members, mask),
        theirs(readers, members, members, key_padding_mask=~mask)[0],
        atol=1e-6,
    )
    assert torch.allclose(
        ours(readers, members, mask & False), ours.out.bias.expand(B, 4, 8), atol=1e-6
    )  # nothing to read


@pytest.mark.parametrize("grid", [(1, 1), (1, 40), (33, 2), (3, 3)])
def test_convolutions_take_grids_of_any_size(grid):
    net = build("conv2d", {}, InputShape("grid", 2, grid=grid))
    assert net(torch.randn(B, *grid, 2), None).isfinite().all() and net(
        torch.randn(B, 5, 4, 2), None
    ).shape == (B, H)


def test_fusion_keeps_the_level_of_its_input():
    """A norm of the input would make all of these alike."""
    net = build("fusion", {}, InputShape("vector", 1))
    out = net(torch.tensor([[1.0], [2.0], [100.0]]), None)
    assert (out[1:] - out[:-1]).abs().amax(1).min() > 0.01


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (
            "mlp",
            SET,
            "mlp takes one length, and this set has up to 7 members  Use deepset or "
            "set_transformer.",
        ),
        ("mlp", SERIES, "Use lstm, gru, lstnet, transformer or conv1d."),
        (
            "identity",
            SET,
            "identity takes a vector, and this input is a set  Use deepset or set_transformer.",
        ),
        ("identity", FIXED_SET, "Use deepset, set_transformer or mlp."),
        ("fusion", LINE, "fusion takes a vector, and this input is a grid  Use conv1d or mlp."),
        (
            "deepset",
            VECTOR,
            "deepset takes a set, and this input is a vector  Use mlp or identity.",
        ),
        (
            "set_transformer",
            PLANE,
            "set_transformer takes a set, and this input is a grid  Use conv2d or mlp.",
        ),
        (
            "lstm",
            SET,
            "lstm takes a series, and this input is a set  Use deepset or set_transformer.",
        ),
        ("gru", VECTOR, "gru takes a series"),
        ("lstnet", VECTOR, "lstnet takes a series"),
        ("transformer", FIXED_SET, "transformer takes a series"),
        ("conv1d", SET, "conv1d takes a series or a grid, and this input is a set"),
        (
            "conv1d",
            PLANE,
            "conv1d takes a grid of 1 axis, and this one is 6 x 5  Use conv2d or mlp.",
        ),
        ("conv2d", LINE, "conv2d takes a grid of 2 axes, and this one is 7  Use conv1d or mlp."),
        ("conv2d", SERIES, "conv2d takes a grid, and this input is a series"),
    ],
)
def test_an_input_of_another_kind_is_refused(kind, shape, message):
    with pytest.raises(ConfigError, match=message):
        build(kind, {}, shape)


@pytest.mark.parametrize("kind", family.names())
def test_every_option_is_described(kind):
    fields = family.config(kind).model_fields
    assert all(field.description for field in fields.values())
    assert ("base_distribution" in fields and "mmd_weight" in fields) == (kind != "identity")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mlp", {"hidden": []}, "hidden"),
        ("mlp", {"base_distribution": "cauchy"}, "base_distribution"),
        ("mlp", {"mmd_weight": -1}, "mmd_weight"),
        ("deepset", {"pooling": "median"}, "pooling"),
        ("deepset", {"equivariant": -1}, "equivariant"),
        ("lstm", {"layers": 0}, "layers"),
        ("conv1d", {"kernel": 4}, "4 is even: take 3 or 5"),
        (
            "set_transformer",
            {"hidden": 10, "heads": 4},
            "hidden = 10 is no multiple of heads = 4: take hidden 8 or 12",
        ),
        (
            "transformer",
            {"hidden": 3, "heads": 4},
            "hidden = 3 is no multiple of heads = 4: take hidden 4",
        ),
    ],
)
def test_options_are_bounded(kind, options, message):
    with pytest.raises(ValueError, match=message):
        family.parse({"kind": kind, **options})


def test_a_new_summary_network_is_one_file(tmp_path):
    part = tmp_path / "mean.py"
    part.write_text(
        "from sbiwb.contracts.network_modules import SummaryModule\n"
        "from sbiwb.contracts import SummaryPart\n"
        "class Mean(SummaryModule):\n"
        "    features = 3\n"
        "    def forward(self, values, mask=None):\n"
        "        return values.mean(1)\n"
        "class Config(SummaryPart):\n"
        "    def build(self, shape, features):\n"
        "        return Mean()\n"
    )
    assert build(str(part), {}, FIXED_SET)(torch.ones(2, 7, 3), None).shape == (2, 3)
