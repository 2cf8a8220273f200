"""Every inference network through one contract: the density is that of the draws."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.nn.utils.stateless import _reparametrize_module as reparametrised
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.nn import MaskedLinear
from zuko.transforms import ComposedTransform, MonotonicAffineTransform, MonotonicRQSTransform

from sbiwb.errors import ConfigError
from sbiwb.networks import compiled_flow
from sbiwb.networks.inference import _masked, family
from tests.networks.cases import DENSITIES, MIXTURES, OWN_FILES

H = 3
FLOWS = [(kind, options, d) for kind, options in DENSITIES for d in (1, 2, 3)]
ALL = FLOWS + [(kind, options, d) for kind, options in MIXTURES for d in (1, 2, 3)]
NSF = [options for kind, options in DENSITIES if kind == "nsf"]
UNSCALED = torch.zeros(())  # the logarithm of the scale of noise
STILL = [
    "nsf",
    "maf",
    "nice",
    "unaf",
    "bpf",
    "cnf",
    "ncsf",
]  # untrained, exactly the standard normal
MASKED = ["nsf", "maf", "naf", "unaf", "sospf", "bpf", "gf", "cnf", "ncsf"]


def build(kind, options, d):
    return family.parse({"kind": kind, **options}).build(d, H)


def trained(kind, options, d, std=0.25):
    """A network far from its start, in double precision."""
    net = build(kind, options, d).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return net


def normal_log_prob(z):
    return -0.5 * (z**2 + math.log(2 * math.pi)).sum(-1)


def even_noise(n, d):
    """Standard normal numbers (1, n, d), spread evenly."""
    sobol = torch.quasirandom.SobolEngine(d, scramble=True, seed=0).draw(n, dtype=torch.float64)
    return torch.special.ndtri(sobol.clamp(1e-12, 1 - 1e-12))[None]


def test_every_inference_network_has_a_case():
    cases = {kind for kind, _ in DENSITIES + MIXTURES}
    assert sorted(cases | set(OWN_FILES)) == family.names()
    assert all((Path(__file__).parent / name).is_file() for name in OWN_FILES.values())


@pytest.mark.parametrize(("kind", "options", "d"), [case for case in FLOWS if case[0] in STILL])
def test_untrained_is_the_standard_normal(kind, options, d):
    net, z, h = build(kind, options, d), torch.randn(500, d).mul(2), torch.randn(500, H)
    exact = 1e-5 if kind != "bpf" else 1e-3  # zuko rounds where the polynomials meet the identity
    assert torch.allclose(net.log_prob(z, h), normal_log_prob(z), rtol=1e-5, atol=exact * d)
    assert torch.allclose(
        net.double().log_prob(z.double(), h.double()),
        normal_log_prob(z.double()),
        atol=1e-6 if kind != "bpf" else 1e-4,
    )
    assert torch.allclose(
        net.transport(z[:, None].double(), h.double())[:, 0],
        z.double(),
        atol=1e-6 if kind != "bpf" else 1e-5,
    )


@pytest.mark.parametrize(("kind", "options", "d"), [case for case in ALL if case[0] not in STILL])
def test_untrained_is_about_the_standard_normal(kind, options, d):
    draws = (
        build(kind, {}, d).double().transport(even_noise(1024, d), torch.zeros(1, H).double())[0]
    )
    assert draws.mean(0).abs().max() < 0.7 and draws.std(0).min() > 0.3 and draws.std(0).max() < 4


@pytest.mark.parametrize(("kind", "options", "d"), FLOWS)
def test_density_is_that_of_the_draws(kind, options, d):
    """log q(z) = log N(noise) - log |dz/dnoise| for z = transport(noise)."""
    net, noise, h = (
        trained(kind, options, d),
        torch.randn(4, d).double(),
        torch.randn(4, H).double(),
    )
    z = net.transport(noise[:, None], h)[:, 0]
    assert (z - noise).abs().max() > 0.1
    for row in range(4):
        dz = jacobian(
            lambda u, row=row: net.transport(u[None, None], h[row : row + 1])[0, 0], noise[row]
        )
        expected = normal_log_prob(noise[row]) - torch.linalg.slogdet(dz)[1]
        assert torch.allclose(net.log_prob(z, h)[row], expected, atol=1e-5)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize(("kind", "options"), MIXTURES)
def test_share_of_the_draws_in_a_box_is_its_probability(kind, options, d):
    net, h, edges = (
        trained(kind, options, d),
        torch.ones(1, H).double(),
        torch.linspace(-0.7, 1.1, 201).double(),
    )
    for middle in (-1.0, 0.0, 1.0):
        centres = torch.cartesian_prod(*[(edges[1:] + edges[:-1]) / 2 + middle] * d).reshape(-1, d)
        expected = (
            net.log_prob(centres, h.expand(len(centres), -1)).exp().sum()
            * (edges[1] - edges[0]) ** d
        )
        draws = net.transport(even_noise(2**15, d), h)[0] - middle
        share = ((draws > edges[0]) & (draws < edges[-1])).all(-1).double().mean()
        assert expected > 0.02 and abs(share - expected) < 2e-3


@pytest.mark.parametrize(("kind", "options", "d"), ALL)
def test_draws_of_one_data_set_share_what_is_known(kind, options, d):
    """S draws for each of N data sets are those of N S data sets, without gradients and with, in
    single precision and in double.
    """
    net, noise, h = (
        trained(kind, options, d, 0.15),
        torch.randn(6, 20, d).double(),
        torch.randn(6, H).double(),
    )
    expected = torch.stack([net.transport(noise[:, s : s + 1], h)[:, 0] for s in range(20)], 1)
    assert torch.allclose(net.transport(noise, h), expected, atol=1e-9)
    with torch.no_grad():
        assert torch.allclose(net.transport(noise, h), expected, atol=1e-9)
        assert torch.allclose(
            net.float().transport(noise.float(), h.float()), expected.float(), atol=2e-3
        )
        assert net.transport(noise.float()[:, :1], h.float()).shape == (6, 1, d)


@pytest.mark.parametrize(("kind", "options"), DENSITIES + MIXTURES)
def test_density_integrates_to_one(kind, options):
    """Over the whole plane, z = 2 t / (1 - t^2), or a wider one."""
    net, t = trained(kind, options, 2, 0.15), torch.linspace(-1, 1, 143).double()[1:-1]
    width = 20 if kind == "naf" else 2  # its monotone networks draw together what is random
    line, stretch = width * t / (1 - t**2), width * (1 + t**2) / (1 - t**2) ** 2
    z, weights = (
        torch.cartesian_prod(line, line),
        torch.cartesian_prod(stretch, stretch).prod(-1) * (t[1] - t[0]) ** 2,
    )
    with torch.no_grad():
        total = (
            net.log_prob(z, torch.ones(1, H).double().expand(len(z), -1)).exp() * weights
        ).sum()
    assert abs(total.item() - 1) < 2e-3


@pytest.mark.parametrize(("kind", "options", "d"), ALL)
def test_rows_are_independent_and_far_values_finite(kind, options, d):
    net, z, h = trained(kind, options, d), torch.randn(5, d).double(), torch.randn(5, H).double()
    z[0], z[1] = 37.0, -37.0
    out = net.log_prob(z, h)
    assert out.shape == (5,) and out.isfinite().all()
    assert torch.allclose(net.log_prob(z[2:3], h[2:3]), out[2:3])
    assert net.float().log_prob(z.float(), h.float()).isfinite().all()


@pytest.mark.parametrize(("kind", "options", "d"), ALL)
def test_draws_of_far_noise_are_not_far_away(kind, options, d):
    """Inverses that look for the answer in a fixed interval fail here."""
    net, h = trained(kind, options, d, 0.15), torch.randn(6, H).double()
    draws = net.transport(torch.tensor([-7.0, 0.0, 7.0]).double()[None, :, None].expand(6, 3, d), h)
    assert draws.isfinite().all() and (draws.abs() < (2000 if kind == "naf" else 60)).all()
    assert torch.allclose(
        draws.float(),
        net.float().transport(
            torch.tensor([-7.0, 0.0, 7.0])[None, :, None].expand(6, 3, d), h.float()
        ),
        rtol=1e-3,
        atol=5e-3,
    )


@pytest.mark.parametrize(("kind", "options"), DENSITIES + MIXTURES)
def test_no_random_numbers_and_one_answer_in_training_and_evaluation(kind, options):
    net, z, h = trained(kind, options, 2), torch.randn(5, 2).double(), torch.randn(5, H).double()
    before = torch.get_rng_state()
    trained_log_prob, draws = net.train().log_prob(z, h), net.transport(z[:, None], h)
    with torch.no_grad():
        assert torch.allclose(net.eval().log_prob(z, h), trained_log_prob) and torch.allclose(
            net.transport(z[:, None], h), draws
        )
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("kind", "options"), DENSITIES + MIXTURES)
def test_weights_may_be_replaced_for_one_evaluation(kind, options):
    """As Bayesian weights are: gradients, taken afterwards, are those of the weights that were put
    in.
    """
    net, z, h = trained(kind, options, 2), torch.randn(5, 2).double(), torch.randn(5, H).double()
    other = {
        name: (0.9 * parameter).detach().requires_grad_()
        for name, parameter in net.named_parameters()
    }
    drawn = {name: 1.0 * parameter for name, parameter in other.items()}
    with reparametrised(net, drawn):
        total = net.log_prob(z, h).sum()
    found = torch.autograd.grad(total, list(other.values()), allow_unused=True)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.9)
    expected = torch.autograd.grad(
        net.log_prob(z, h).sum(), list(net.parameters()), allow_unused=True
    )
    assert torch.allclose(total, net.log_prob(z, h).sum())
    assert all(
        mine is not None and torch.allclose(mine, theirs)
        for mine, theirs in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(("kind", "options"), DENSITIES + MIXTURES)
def test_the_weights_are_saved_loaded_and_copied(kind, options, tmp_path):
    net, other, z, h = (
        trained(kind, options, 3),
        build(kind, options, 3).double(),
        torch.randn(5, 3).double(),
        torch.randn(5, H).double(),
    )
    assert all(
        parameter.dtype == torch.float32 for parameter in build(kind, options, 3).parameters()
    )
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    for same in (other, copy.deepcopy(net)):
        assert torch.equal(net.log_prob(z, h), same.log_prob(z, h))


@pytest.mark.parametrize("kind", MASKED)
def test_too_narrow_or_without_features_is_refused(kind):
    with pytest.raises(
        ConfigError,
        match=r"inference\.hidden  a hidden layer of width 3 cannot hold 4 columns of theta apart",
    ):
        build(kind, {"hidden": [64, 3]}, 4)


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in DENSITIES + MIXTURES}))
def test_without_features_it_is_refused_and_every_option_is_described(kind):
    with pytest.raises(ConfigError, match="at least one feature"):
        family.parse(kind).build(2, 0)
    assert all(field.description for field in family.config(kind).model_fields.values())


def test_the_flow_of_equal_steps_is_that_of_adaptive_ones():
    net, z, h = (
        trained("cnf", {"hidden": [16, 16]}, 3),
        torch.randn(50, 3).double(),
        torch.randn(50, H).double(),
    )
    exact = build("cnf", {"hidden": [16, 16], "solver": "adaptive", "tolerance": 1e-9}, 3).double()
    exact.load_state_dict(net.state_dict())
    assert torch.allclose(net.log_prob(z, h), exact.log_prob(z, h), atol=1e-4)
    assert torch.allclose(net.transport(z[:, None], h), exact.transport(z[:, None], h), atol=1e-4)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("options", NSF[:2])
def test_learns_a_conjugate_gaussian(options, d):
    """z ~ N(0, 1), x | z ~ N(z, 0.5^2): the posterior is N(0.8 x, 0.2) in each column."""
    net = family.parse({"kind": "nsf", **options, "hidden": [32, 32]}).build(d, d)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
    for _ in range(250):
        z = torch.randn(512, d)
        loss = -net.log_prob(z, z + 0.5 * torch.randn(512, d)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        draws = net.transport(torch.randn(1, 4000, d), torch.ones(1, d))[0]
    assert (draws.mean(0) - 0.8).abs().max() < 0.08
    assert (draws.std(0) - math.sqrt(0.2)).abs().max() < 0.06


def test_every_column_depends_on_all_before_it():
    net = trained("nsf", {"transforms": 1, "hidden": [4, 4], "activation": "tanh"}, 4)
    z, h = torch.randn(1, 4).double(), torch.randn(1, H).double()
    known = torch.cat([torch.ones(1, 1), h.t()])
    dz = jacobian(lambda u: net.transforms[0](u.t(), known)[0][:, 0], z)[:, 0]
    assert (dz.tril().abs() > 0).sum() == 10 and dz.triu(1).abs().max() == 0


@pytest.mark.parametrize(
    "options",
    [{"transforms": 0}, {"bins": 1}, {"passes": 0}, {"hidden": []}, {"activation": "sine"}],
)
def test_options_are_bounded(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        family.parse({"kind": "nsf", **options})


def test_a_new_inference_network_is_one_file(tmp_path):
    part = tmp_path / "prior.py"
    part.write_text(
        "from sbiwb.contracts.network_modules import InferenceModule\n"
        "from sbiwb.contracts import InferencePart\n"
        "class Prior(InferenceModule):\n"
        "    def log_prob(self, z, features):\n"
        "        return -0.5 * z.square().sum(-1)\n"
        "    def transport(self, noise, features):\n"
        "        return noise\n"
        "class Config(InferencePart):\n"
        "    def build(self, features, context):\n"
        "        return Prior()\n"
    )
    assert build(str(part), {}, 2).log_prob(torch.zeros(4, 2), torch.zeros(4, H)).shape == (4,)


def zukos(columns, passes, reverse):
    """zuko's own transform, an affine map and a spline a column, far from the identity; and ours
    with its weights.
    """
    order = torch.arange(columns).flip(0) if reverse else torch.arange(columns)

    def univariate(shift, scale, widths, heights, slopes):
        return ComposedTransform(
            MonotonicAffineTransform(shift, scale), MonotonicRQSTransform(widths, heights, slopes)
        )

    shapes = [(), (), (8,), (8,), (7,)]
    zuko = MaskedAutoregressiveTransform(
        columns,
        H,
        passes=passes,
        order=order,
        univariate=univariate,
        shapes=shapes,
        hidden_features=[33, 20],
    )
    for parameter in zuko.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    layers = [layer for layer in zuko.hyper if isinstance(layer, MaskedLinear)]
    return zuko, _masked.MaskedTransform(layers, zuko.order, torch.relu)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("columns", "passes"), [(2, None), (5, None), (5, 2), (7, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_gradients_and_inverse_are_zukos(columns, passes, reverse, dtype):
    """Float32 goes through the kernels, float64 through torch operations."""
    zuko, ours = (module.to(dtype) for module in zukos(columns, passes, reverse))
    x, h = (
        torch.randn(50, columns, dtype=dtype).mul(2).requires_grad_(),
        torch.randn(50, H, dtype=dtype).requires_grad_(),
    )
    weights = torch.randn(50, dtype=dtype)
    y, log_det = zuko(h).call_and_ladj(x)
    expected, found = log_det + normal_log_prob(y), _masked.log_prob([ours], x, h, UNSCALED)
    exact = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 1e-10}
    assert torch.allclose(found, expected, **exact)
    for mine, theirs in zip(
        *(torch.autograd.grad((weights * value).sum(), (x, h)) for value in (found, expected)),
        strict=True,
    ):
        assert torch.allclose(
            mine, theirs, atol=1e-2 if dtype == torch.float32 else 1e-9, rtol=1e-3
        )
    with torch.no_grad():
        back = _masked.transport([ours], x[:, None], h)[:, 0]
        assert torch.allclose(
            back,
            zuko(h).inv(x),
            **({"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else exact),
        )


SIZES = [  # (columns D, features H, batch B, options)
    (1, 1, 16, {"hidden": [8]}),
    (1, 2, 64, {"hidden": [1], "bins": 2, "affine": False}),
    (2, 3, 200, {"hidden": [33, 20, 17]}),
    (5, 8, 1000, {"hidden": [64, 64]}),
    (5, 8, 77, {"hidden": [64, 64], "passes": 2}),
    (5, 1, 129, {"hidden": [7], "bins": 13}),
    (7, 20, 17, {"hidden": [31, 9, 12, 40, 23], "passes": 3, "bins": 2}),
    (7, 70, 1, {"hidden": [65, 129], "transforms": 1}),
    (20, 5, 100, {"hidden": [256, 255], "bins": 3, "affine": False}),
    (50, 4, 65, {"hidden": [64, 64], "transforms": 2}),
]


@pytest.mark.parametrize(("columns", "features", "batch", "options"), SIZES, ids=str)
def test_flows_in_c_give_the_same_numbers(columns, features, batch, options):
    """Kernels in float32 against torch operations in float64: values, every gradient, none where
    masked, draws; the same bits each time.
    """
    torch.manual_seed(0)
    net = family.parse({"kind": "nsf", "transforms": 3, **options}).build(columns, features)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.8 / parameter.shape[1] ** 0.5)
    exact, z, h = (
        copy.deepcopy(net).double(),
        torch.randn(batch, columns).mul(2),
        torch.randn(batch, features),
    )
    assert compiled_flow.available() and all(transform.plan for transform in net.transforms)

    def evaluated(net, z, h):
        z, h, parameters = z.requires_grad_(), h.requires_grad_(), list(net.parameters())
        value = net.log_prob(z, h)
        return value, *torch.autograd.grad(
            (torch.linspace(-1, 1, batch).to(z) * value).sum(), (z, h, *parameters)
        )

    results = evaluated(net, z, h)
    for mine, right in zip(
        results, evaluated(exact, z.detach().double(), h.detach().double()), strict=True
    ):
        assert torch.allclose(mine.double(), right, atol=1e-3 * max(1.0, right.abs().max().item()))
    assert all(
        torch.equal(once, again)
        for once, again in zip(results, evaluated(net, z.detach(), h.detach()), strict=True)
    )
    masks = [mask for transform in net.transforms for mask in transform._masks()]
    assert all(
        (gradient[mask == 0] == 0).all() for gradient, mask in zip(results[3:], masks, strict=True)
    )
    with torch.no_grad():
        assert torch.equal(net.log_prob(z, h), results[0])
        for observations, draws in ((batch, 1), (9, 37), (70, 2), (1, 300)):
            u, h = torch.randn(observations, draws, columns), torch.randn(observations, features)
            assert torch.allclose(
                net.transport(u, h).double(), exact.transport(u.double(), h.double()), atol=2e-3
            )


def test_what_does_not_fit_is_refused_by_torch():
    net, z, h = build("nsf", {"hidden": [16]}, 3), torch.randn(40, 3), torch.randn(40, H)
    for wrong in ((z[:, :2], h), (z, h[:, :2]), (z, h[:9]), (z, h.double())):
        with pytest.raises(RuntimeError):
            net.log_prob(*wrong)
    with pytest.raises(RuntimeError):
        net.double().log_prob(z, h)


def test_what_c_does_not_write_to_is_left_alone():
    """Gradients only of what asks for them, arguments of any strides, an empty batch."""
    net, z, h = (
        build("nsf", {"hidden": [16]}, 3),
        torch.randn(3, 40).t(),
        torch.randn(H, 80).t()[::2].requires_grad_(),
    )
    before = z.clone()
    (alone,) = torch.autograd.grad(net.log_prob(z, h).sum(), [h])
    net.log_prob(z, h).sum().backward()
    assert torch.equal(z, before) and torch.equal(h.grad, alone) and z.grad is None
    assert net.log_prob(z[:0], h[:0]).shape == (0,)
    with torch.no_grad():
        assert net.transport(torch.randn(0, 5, 3), h[:0]).shape == (0, 5, 3) and net.transport(
            torch.randn(4, 0, 3), h[:4]
        ).shape == (
            4,
            0,
            3,
        )


def test_gradients_of_the_weights_are_those_of_autograd():
    """The kernels' node against torch operations, layer by layer."""
    _, ours = zukos(5, None, False)
    x, h = torch.randn(50, 5), torch.randn(50, H)

    def gradients():
        return torch.autograd.grad(
            _masked.log_prob([ours], x, h, UNSCALED).square().sum(), list(ours.layers)
        )

    fused = gradients()
    compiled_flow.use(False)
    try:
        composed = gradients()
    finally:
        compiled_flow.use(True)
    assert compiled_flow.available()
    for mine, theirs in zip(fused, composed, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4 * theirs.abs().max().item())
