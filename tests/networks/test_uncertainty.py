"""Every uncertainty through one contract; then the truths of Bayesian weights and of ensembles."""

import copy
import math

import pytest
import torch
from torch import nn
from zuko.bayesian import BayesianModel

from sbiwb.contracts import InputShape
from sbiwb.contracts.network_modules import TrainableModule
from sbiwb.errors import ConfigError
from sbiwb.networks import compiled_flow, inference, summary
from sbiwb.networks.estimator import Estimator
from sbiwb.networks.uncertainty import _drawn_weights, bayesian, family

CASES = [
    {"kind": "none"},
    {"kind": "bayesian", "weight_samples": 3},
    {
        "kind": "bayesian",
        "weight_samples": 3,
        "local_trick": True,
        "exclude_params": ["inference.transforms.1"],
    },
    {"kind": "ensemble", "members": 3},
    {"kind": "ensemble", "members": 2, "weights": "stacking"},
]
N, B, D = 400, 32, 2


def estimator(member: int = 0, *, flow: str = "nsf", mmd: float = 0.0) -> Estimator:
    torch.manual_seed(100 + member)
    summaries = {
        "x": summary.family.parse({"kind": "mlp", "hidden": [16]}).build(InputShape("vector", 3), 4)
    }
    options = {"transforms": 2, "hidden": [16]} if flow == "nsf" else {"hidden": [16]}
    density = inference.family.parse({"kind": flow, **options}).build(D, 4)
    return Estimator(summaries, density, mmd_weights={"x": mmd} if mmd else None)


def build(options, make=estimator) -> nn.Module:
    return family.parse(options).build(make, N)


def batch(module, n: int = B):
    """Rows for evaluation, and the same rows for each member in training."""
    torch.manual_seed(5)
    z, x = torch.randn(n, D), torch.randn(n, 3)
    m = module.members
    return (z, {"x": (x, None)}), (
        (z, {"x": (x, None)}) if m == 1 else (z.expand(m, n, D), {"x": (x.expand(m, n, 3), None)})
    )


def test_every_uncertainty_has_a_case():
    assert sorted({case["kind"] for case in CASES}) == family.names()


@pytest.mark.parametrize("options", CASES)
def test_contract(options):
    module = build(options)
    plain, side = batch(module)
    objective, penalties = module.train()(*side)
    assert objective.shape == (
        (B,) if module.members == 1 else (module.members, B)
    ) and penalties.shape == (len(module.terms),)
    (penalties.sum() - objective.mean(-1).sum()).backward()
    held = [name for name, one in module.named_parameters() if one.grad is None]
    assert not held
    mixed, none = module.eval()(*plain)
    assert mixed.shape == (B,) and not none.any()
    assert len(module.components()) == len(module.mixture()) and math.isclose(
        sum(module.mixture()), 1, abs_tol=1e-6
    )


@pytest.mark.parametrize("options", CASES)
def test_evaluation_is_the_same_each_time_and_leaves_random_numbers_alone(options):
    module = build(options).eval()
    plain, _ = batch(module)
    torch.manual_seed(1)
    with torch.no_grad():
        first, numbers = module(*plain)[0], torch.get_rng_state()
        assert torch.equal(first, module(*plain)[0])
    torch.manual_seed(1)
    assert torch.equal(numbers, torch.get_rng_state())
    drawn = [one.state_dict() for one in module.components()]
    assert all(
        torch.equal(a[key], b[key])
        for a, b in zip(drawn, [one.state_dict() for one in module.components()], strict=True)
        for key in a
    )


@pytest.mark.parametrize("options", CASES)
def test_weights_are_copied_saved_and_loaded(options, tmp_path):
    module = build(options)
    plain, side = batch(module)
    other = build(options, lambda member: estimator(member + 50))
    torch.save(module.state_dict(), tmp_path / "w.pt")
    other.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    twin = copy.deepcopy(module)
    for one in (other, twin):
        assert torch.equal(one.eval()(*plain)[0], module.eval()(*plain)[0])
    with torch.no_grad():  # a copy has weights of its own
        for parameter in twin.parameters():
            parameter.add_(1)
    assert not torch.equal(twin(*plain)[0], module(*plain)[0])
    torch.manual_seed(3)
    before = module.train()(*side)[0]
    torch.manual_seed(3)
    assert torch.equal(before, other.train()(*side)[0])


def trained(options) -> bayesian.Bayesian:
    module = build({"kind": "bayesian", **options})
    with torch.no_grad():
        module.log_variance.normal_(-6, 1.5)
    return module


@pytest.mark.parametrize("prior_var", [1.0, 0.3])
def test_divergence_is_that_of_zuko_and_its_gradient_autograds(prior_var):
    module = trained({"prior_var": prior_var, "kl_weight": 1.0}).train()
    expected = module._zuko().kl_divergence(prior_var)
    penalty = module(*batch(module)[1])[1][-1]
    assert torch.allclose(penalty, expected, rtol=1e-5)
    ours = torch.autograd.grad(penalty, [module.log_variance, *module._means()])
    theirs = torch.autograd.grad(expected, [module.log_variance, *module._means()])
    assert all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(ours, theirs, strict=True)
    )


def test_gradients_of_drawn_weights_are_autograds():
    module = trained({})
    noise_seed, names = 7, module.uncertain
    torch.manual_seed(noise_seed)
    _, *drawn = _drawn_weights.DrawnWeights.apply(module.log_variance, 1.0, *module._means())
    loss = sum((one**3).sum() for one in drawn)
    ours = torch.autograd.grad(loss, [module.log_variance, *module._means()])
    torch.manual_seed(noise_seed)
    mean = torch.cat([one.reshape(-1) for one in module._means()])
    weights = mean + (
        0.5 * _drawn_weights.softclip(module.log_variance)[0]
    ).exp() * torch.randn_like(mean)
    theirs = torch.autograd.grad((weights**3).sum(), [module.log_variance, *module._means()])
    assert len(names) == len(drawn) and all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(ours, theirs, strict=True)
    )


def test_drawn_weights_have_the_learned_moments():
    module = trained({})
    with torch.no_grad():
        drawn = torch.stack(
            [
                torch.cat(
                    [
                        one.reshape(-1)
                        for one in _drawn_weights.DrawnWeights.apply(
                            module.log_variance, 1.0, *module._means()
                        )[1:]
                    ]
                )
                for _ in range(400)
            ]
        )
    mean, variance = (
        torch.cat([one.detach().reshape(-1) for one in module._means()]),
        _drawn_weights.softclip(module.log_variance)[0].exp(),
    )
    z = (drawn.mean(0) - mean) / (variance / 400).sqrt()
    assert abs(z.square().mean() - 1) < 0.15
    assert abs((drawn.var(0) / variance).mean() - 1) < 0.02


def test_the_fast_step_and_zukos_local_trick_have_the_same_mean_objective():
    """For a linear network both draw outputs from the same law, row by row."""
    fast, local = (trained({"local_trick": trick}) for trick in (False, True))
    local.load_state_dict(fast.state_dict())
    side = batch(fast, 200)[1]
    with torch.no_grad():
        values = torch.tensor(
            [[module.train()(*side)[0].mean() for module in (fast, local)] for _ in range(150)]
        )
    error = values.std(0) / math.sqrt(len(values))
    assert abs(values.mean(0).diff().item()) < 4 * error.norm().item()


def test_a_conjugate_posterior_of_weights_is_found():
    """y = w x + noise of sd 1, w ~ N(0, 1): with 20 pairs w is N(sum(x y) / (1 + sum x^2), 1 / (1 +
    sum x^2)).
    """

    class Line(TrainableModule):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, z, inputs):
            return -0.5 * (z[:, 0] - self.w * inputs["x"][0][:, 0]).square() - 0.5 * math.log(
                2 * math.pi
            ), z.new_zeros(0)

    torch.manual_seed(0)
    x = torch.randn(20, 1)
    y = 0.7 * x + torch.randn(20, 1)
    module = (
        family.parse({"kind": "bayesian", "init_logvar": -4})
        .build(lambda member: Line(), 20)
        .train()
    )
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    for _ in range(1500):
        optimizer.zero_grad()
        objective, penalties = module(y, {"x": (x, None)})
        (penalties.sum() - objective.mean()).backward()
        optimizer.step()
        schedule.step()
    precision = 1 + x.square().sum()
    assert abs(module.base.w.item() - ((x * y).sum() / precision).item()) < 0.03
    assert abs(module.log_variances()["w"].exp().item() * precision.item() - 1) < 0.12


def test_patterns_choose_what_is_uncertain_and_say_so():
    module = build(
        {
            "kind": "bayesian",
            "include_params": ["summaries", "inference.transforms.0"],
            "exclude_params": ["**.bias"],
        }
    )
    assert module.uncertain == tuple(
        name
        for name, _ in module.base.named_parameters()
        if name.startswith(("summaries", "inference.transforms.0")) and not name.endswith("bias")
    )
    assert any("'summaries': 4 parameters" in line for line in module.about) and any(
        "Uncertain:" in line for line in module.about
    )
    torch.manual_seed(0)
    fixed = module.components()
    assert torch.equal(
        fixed[0].get_parameter("summaries.0.net.0.bias"),
        fixed[1].get_parameter("summaries.0.net.0.bias"),
    )
    assert not torch.equal(
        fixed[0].get_parameter("summaries.0.net.0.weight"),
        fixed[1].get_parameter("summaries.0.net.0.weight"),
    )


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"include_params": ["flow"]}, "'flow' matches no parameter"),
        ({"exclude_params": ["summary"]}, "'summary' matches no parameter"),
        ({"exclude_params": ["**"]}, "excludes every parameter"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_that_names_the_parameters(options, what):
    with pytest.raises(ConfigError, match=r"model\.uncertainty") as told:
        build({"kind": "bayesian", **options})
    assert what in str(told.value) and "summaries.0.net.0.weight" in str(told.value)


def test_zukos_patterns_are_those_of_zuko():
    base = estimator()
    module = build({"kind": "bayesian", "include_params": ["*.0.*"]})
    assert [name.replace(".", "-") for name in module.uncertain] == list(
        BayesianModel(base, include_params=["*.0.*"]).means
    )


@pytest.mark.parametrize(
    "loss",
    [lambda objective: -objective.mean(-1).sum(), lambda objective: (objective**2).mean(-1).sum()],
)
def test_members_trained_together_have_the_gradients_they_have_alone(loss):
    """Also where their flows are computed side by side in C, on several cores, and under another
    loss than the usual one.
    """
    module = build({"kind": "ensemble", "members": 3})
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    torch.manual_seed(2)
    z, x = torch.randn(3, B, D), torch.randn(3, B, 3)
    for cores in (1, 2):
        compiled_flow.use(True, cores=cores)
        module.zero_grad()
        objective, _ = module.train()(z, {"x": (x, None)})
        loss(objective).backward()
        for m, one in enumerate(module.components()):
            alone = copy.deepcopy(one)
            alone.zero_grad()
            value = alone(z[m], {"x": (x[m], None)})[0]
            loss(value[None]).backward()
            assert torch.allclose(objective[m], value, atol=1e-6)
            pairs = zip(one.named_parameters(), alone.parameters(), strict=True)
            assert all(torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-5) for (_, a), b in pairs)


def test_the_mixture_is_the_log_of_the_mean_density():
    module = build({"kind": "ensemble", "members": 3}).eval()
    plain, _ = batch(module)
    each = torch.stack([one.eval()(*plain)[0] for one in module.components()])
    assert torch.allclose(module(*plain)[0], each.exp().mean(0).log(), atol=1e-5)


def test_stacking_finds_the_shares_of_a_known_mixture():
    """Members with densities N(-1, 1), N(1, 1) and N(8, 1), data from a mixture of the first two,
    0.3 to 0.7.
    """
    module = build({"kind": "ensemble", "members": 3, "weights": "stacking"})
    torch.manual_seed(0)
    y = torch.randn(20_000) + torch.where(torch.rand(20_000) < 0.3, -1.0, 1.0)
    module.stack(-0.5 * (y - torch.tensor([-1.0, 1.0, 8.0])[:, None]) ** 2)
    assert torch.allclose(torch.tensor(module.mixture()), torch.tensor([0.3, 0.7, 0.0]), atol=0.03)


def test_penalties_of_members_add_up():
    module = build(
        {"kind": "ensemble", "members": 2}, lambda member: estimator(member, mmd=0.5)
    ).train()
    _, side = batch(module)
    _, penalties = module(*side)
    alone = [
        one.train()(side[0][m], {"x": (side[1]["x"][0][m], None)})[1]
        for m, one in enumerate(module.components())
    ]
    assert module.terms == ("mmd",) and torch.allclose(penalties, sum(alone))


def test_stacking_needs_a_density_and_the_local_trick_a_linear_layer():
    with pytest.raises(ConfigError, match="stacking needs a density"):
        build(
            {"kind": "ensemble", "weights": "stacking"},
            lambda member: estimator(member, flow="point"),
        )
    with pytest.raises(ConfigError, match="reaches none of the uncertain weights"):
        build({"kind": "bayesian", "local_trick": True, "include_params": ["inference"]})
    assert any(
        "local trick reaches" in line
        for line in build({"kind": "bayesian", "local_trick": True}).about
    )
    assert any(
        "no weight decay" in line
        for line in build({"kind": "bayesian", "include_params": ["inference"]}).about
    )


def test_drawn_networks_are_those_of_the_learned_distribution():
    module = trained({"weight_samples": 300})
    weights = torch.stack(
        [
            torch.cat([one.get_parameter(name).detach().reshape(-1) for name in module.uncertain])
            for one in module.components()
        ]
    )
    mean = torch.cat([one.detach().reshape(-1) for one in module._means()])
    variance = torch.cat(list(module.log_variances().values())).exp()
    assert abs(((weights.mean(0) - mean) / (variance / 300).sqrt()).square().mean() - 1) < 0.15
    assert abs((weights.var(0) / variance).mean() - 1) < 0.02
