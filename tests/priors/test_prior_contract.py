"""Every prior keeps the contract of `Distribution`: one table of examples, run through by each
test."""

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats as st
from scipy import integrate

from sbiwb.contracts import Distribution
from sbiwb.errors import ConfigError
from sbiwb.priors import family

INF = math.inf

# kind -> (options, reference of scipy.stats) of each example
CONTINUOUS = {
    "uniform": [
        ({"low": -3, "high": 5}, st.uniform(-3, 8)),
        ({"low": 1e6, "high": 1e6 + 1}, st.uniform(1e6, 1)),
    ],
    "normal": [({}, st.norm()), ({"loc": -2, "scale": 3, "shape": [2]}, st.norm(-2, 3))],
    "half_normal": [({"scale": 2}, st.halfnorm(scale=2))],
    "lognormal": [({"loc": -1, "scale": 0.7}, st.lognorm(0.7, scale=math.exp(-1)))],
    "exponential": [({"rate": 5}, st.expon(scale=0.2))],
    "gamma": [
        ({"concentration": 3, "rate": 2, "shape": [3]}, st.gamma(3, scale=0.5)),
        ({"concentration": 0.1}, st.gamma(0.1)),
        ({"concentration": 200, "rate": 0.1}, st.gamma(200, scale=10)),
    ],
    "beta": [
        ({}, st.beta(1, 1)),
        ({"alpha": 2, "beta": 5}, st.beta(2, 5)),
        ({"alpha": 0.5, "beta": 0.5}, st.beta(0.5, 0.5)),
    ],
    "truncated_normal": [
        ({}, st.norm()),
        ({"loc": 2, "low": 0}, st.truncnorm(-2, INF, loc=2)),
        ({"loc": 0.4, "scale": 0.5, "high": 1}, st.truncnorm(-INF, 1.2, loc=0.4, scale=0.5)),
        (
            {"loc": 1, "scale": 2, "low": -2, "high": 2, "shape": [2]},
            st.truncnorm(-1.5, 0.5, loc=1, scale=2),
        ),
        ({"loc": -10, "low": 0}, st.truncnorm(10, INF, loc=-10)),
        ({"loc": -10, "low": 0, "high": 0.2}, st.truncnorm(10, 10.2, loc=-10)),
        ({"loc": 5, "scale": 0.1, "high": 0}, st.truncnorm(-INF, -50, loc=5, scale=0.1)),
        ({"scale": 1000, "low": 0, "high": 1}, st.truncnorm(0, 1e-3, scale=1000)),
    ],
}
COVARIANCE = [[2.0, 0.6], [0.6, 0.5]]
MULTIVARIATE = {
    "multivariate_normal": [
        (
            {"loc": [1.0, -1.0], "covariance": COVARIANCE},
            st.multivariate_normal([1, -1], COVARIANCE),
        ),
        (
            {"loc": [0, 5, 2], "scale": [1, 0.1, 30]},
            st.multivariate_normal([0, 5, 2], np.diag([1, 0.01, 900])),
        ),
        ({"loc": [3.0], "scale": [2.0]}, st.multivariate_normal([3], [[4]])),
    ]
}
DISCRETE = {
    "uniform_integer": [
        ({"low": -2, "high": 7}, st.randint(-2, 8)),
        ({"low": 40, "high": 200, "shape": [2]}, st.randint(40, 201)),
    ],
    "categorical": [
        (
            {"probabilities": [0.2, 0.0, 0.5, 0.3]},
            st.rv_discrete(values=(range(4), (0.2, 0, 0.5, 0.3))),
        ),
        (
            {"probabilities": {"easy": 0.25, "hard": 0.75}},
            st.rv_discrete(values=(range(2), (0.25, 0.75))),
        ),
    ],
}
JOINT = {kind: [({}, None), ({"low": 0, "shape": [2]}, None)] for kind in ("joint", "unknown")}


def cases(*tables):
    params = [
        pytest.param({"kind": kind, **options}, reference, id=f"{kind}-{i}")
        for table in tables
        for kind, examples in table.items()
        for i, (options, reference) in enumerate(examples)
    ]
    return pytest.mark.parametrize(("options", "reference"), params)


def build(options) -> Distribution:
    return family.parse(options).build()


def column(values):
    return np.asarray(values, float)[:, None]


def scalar(options):
    return build({key: value for key, value in options.items() if key != "shape"})


def tails(distribution):
    """Distinct values of one column between the quantiles 1e-12 and 1 - 1e-12, nearly as far as
    float64 has steps there."""
    theta = distribution.from_normal(column(np.linspace(-7.03, 7.03, 801)))[:, 0]
    return np.unique(theta)


def test_every_kind_has_an_example():
    assert sorted([*CONTINUOUS, *MULTIVARIATE, *DISCRETE, *JOINT]) == family.names()


def test_importing_priors_needs_neither_scipy_nor_torch():
    code = (
        "import sys; from sbiwb.priors import family; [family.config(name) for name in "
        "family.names()];"
        "family.parse({'kind': 'truncated_normal', 'low': 0}).build();"
        "print(*{name.split('.')[0] for name in sys.modules} & {'scipy', 'torch', 'zuko'})"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == ""
    )


@cases(CONTINUOUS, MULTIVARIATE, DISCRETE, JOINT)
def test_config_survives_json_and_sizes_agree(options, reference):
    config = family.parse(options)
    assert family.parse(config.model_dump(mode="json")) == config
    distribution = config.build()
    assert distribution.size == (distribution.event[0] if distribution.event else 1)
    assert all(bound.shape == (distribution.size,) for bound in distribution.support())
    assert all(field.description for field in type(config).model_fields.values())


@cases(CONTINUOUS, MULTIVARIATE, DISCRETE)
def test_draws_lie_in_the_support(options, reference):
    distribution = build(options)
    theta = distribution.sample(np.random.default_rng(1), 5000)
    low, high = distribution.support()
    assert theta.shape == (5000, distribution.size) and theta.dtype == np.float64
    assert ((theta >= low) & (theta <= high)).all() and distribution.inside(theta).all()
    assert np.isfinite(distribution.log_prob(theta)).all()


@cases(CONTINUOUS, MULTIVARIATE, DISCRETE)
def test_variance_agrees_with_draws(options, reference):
    distribution = build(options)
    theta = distribution.sample(np.random.default_rng(2), 100_000)
    assert distribution.variance().shape == (distribution.size,)
    np.testing.assert_allclose(theta.var(0), distribution.variance(), rtol=0.08)


@cases(CONTINUOUS, MULTIVARIATE, DISCRETE)
def test_quantile_of_extreme_uniform_numbers_is_finite_and_inside(options, reference):
    distribution = build(options)
    u = np.tile(column([0.0, 2.0**-53, 0.5, 1 - 2.0**-53]), distribution.size)
    theta = distribution.quantile(u)
    assert (
        np.isfinite(theta).all()
        and distribution.inside(theta).all()
        and np.isfinite(distribution.log_prob(theta)).all()
    )


@cases(CONTINUOUS, MULTIVARIATE, DISCRETE, JOINT)
def test_infinite_and_nan_are_outside(options, reference):
    distribution = build(options)
    for value in (np.nan, np.inf, -np.inf):
        theta = np.full((3, distribution.size), value)
        assert not distribution.inside(theta).any()
        if distribution.known:
            np.testing.assert_array_equal(distribution.log_prob(theta), np.full(3, -np.inf))


@cases(CONTINUOUS)
def test_density_and_tails_agree_with_scipy(options, reference):
    distribution = scalar(options)
    theta = tails(distribution)[100:-100]
    np.testing.assert_allclose(
        distribution.log_prob(theta[:, None]), reference.logpdf(theta), rtol=1e-6, atol=1e-6
    )
    middle = (reference.cdf(theta) > 1e-3) & (reference.sf(theta) > 1e-3)
    np.testing.assert_allclose(
        distribution.cdf(theta[middle]), reference.cdf(theta[middle]), rtol=1e-6
    )
    np.testing.assert_allclose(
        distribution.sf(theta[middle]), reference.sf(theta[middle]), rtol=1e-6
    )
    np.testing.assert_allclose(distribution.variance(), reference.var(), rtol=1e-5)


@cases(CONTINUOUS)
def test_cdf_and_sf_sum_to_one_and_invert_quantile(options, reference):
    distribution = scalar(options)
    u = np.linspace(0.01, 0.99, 99)
    theta = distribution.quantile(u[:, None])[:, 0]
    np.testing.assert_allclose(distribution.cdf(theta) + distribution.sf(theta), 1, rtol=1e-9)
    np.testing.assert_allclose(distribution.cdf(theta), u, rtol=1e-8)


@cases(CONTINUOUS)
def test_density_integrates_to_one(options, reference):
    distribution = scalar(options)
    theta = distribution.from_normal(
        column(np.linspace(-8, 8, 20_001))
    )  # dense where the mass is, at poles and in tails
    mass = integrate.trapezoid(np.exp(distribution.log_prob(theta)), theta[:, 0])
    assert mass == pytest.approx(1, abs=5e-4)


@cases(DISCRETE)
def test_mass_sums_to_one_and_agrees_with_scipy(options, reference):
    distribution = scalar(options)
    low, high = distribution.support()
    values = np.arange(low[0] - 1, high[0] + 2)
    mass = np.exp(distribution.log_prob(column(values)))
    np.testing.assert_allclose(mass, reference.pmf(values), atol=1e-12)
    assert (
        mass.sum() == pytest.approx(1)
        and distribution.log_prob(column([low[0] + 0.5]))[0] == -np.inf
    )
    np.testing.assert_allclose(distribution.variance(), reference.var())


@cases(DISCRETE)
def test_discrete_draws_have_the_mass(options, reference):
    distribution = build(options)
    assert distribution.discrete
    values = np.arange(distribution.support()[0][0], distribution.support()[1][0] + 1)
    rng = np.random.default_rng(3)
    for theta in (
        distribution.sample(rng, 20_000),
        distribution.quantile(rng.random((20_000, distribution.size))),
    ):
        counts = (theta.reshape(-1, 1) == values).sum(0)
        expected = reference.pmf(values) * theta.size
        assert counts.sum() == theta.size and (counts[expected == 0] == 0).all()
        assert st.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-3


@cases(DISCRETE)
def test_discrete_have_no_map_to_a_normal_variable(options, reference):
    for method in ("to_normal", "from_normal"):
        with pytest.raises(
            ConfigError, match=r"no map to a normal variable.*place of its value among its levels"
        ):
            getattr(build(options), method)(np.zeros((1, 1)))


@cases(CONTINUOUS)
def test_map_to_normal_is_monotone_and_returns_in_the_tails(options, reference):
    distribution = scalar(options)
    theta = tails(distribution)
    z = distribution.to_normal(theta[:, None])
    assert (np.diff(z[:, 0]) > 0).all()
    scale = (
        1e-4 * np.sqrt(distribution.variance()[0]) if np.sign(theta[0]) != np.sign(theta[-1]) else 0
    )  # around theta = 0
    np.testing.assert_allclose(
        distribution.from_normal(z)[:, 0], theta, rtol=1e-10, atol=1e-10 * scale
    )


@cases(MULTIVARIATE)
def test_multivariate_map_returns(options, reference):
    distribution = build(options)
    z = np.random.default_rng(4).normal(size=(500, distribution.size)) * 4
    np.testing.assert_allclose(
        distribution.to_normal(distribution.from_normal(z)), z, rtol=1e-9, atol=1e-9
    )
    theta = distribution.from_normal(z)
    np.testing.assert_allclose(
        distribution.log_prob(theta), reference.logpdf(theta.squeeze()), rtol=1e-9
    )
    np.testing.assert_allclose(distribution.variance(), np.diag(np.atleast_2d(reference.cov)))


@cases(CONTINUOUS, MULTIVARIATE)
def test_draws_map_to_independent_standard_normal_numbers(options, reference):
    distribution = build(options)
    z = distribution.to_normal(distribution.sample(np.random.default_rng(5), 20_000))
    for k in range(distribution.size):
        assert st.kstest(z[:, k], "norm").pvalue > 1e-3
    np.testing.assert_allclose(
        np.corrcoef(z.T), np.eye(distribution.size) if distribution.size > 1 else 1, atol=0.04
    )


@cases(CONTINUOUS)
def test_change_of_variables(options, reference):
    """log p(theta) = log phi(z) - log dtheta/dz: with a monotone map onto the support, it says also
    that p integrates to 1."""
    distribution = scalar(options)
    z, step = column(np.linspace(-4, 4, 81)), 1e-4
    theta = distribution.from_normal(z)
    up, down = distribution.from_normal(z + step), distribution.from_normal(z - step)
    expected = st.norm.logpdf(z[:, 0]) - np.log((up - down)[:, 0] / (2 * step))
    rounding = 4 * np.finfo(float).eps * np.abs(theta / (up - down))[:, 0]
    assert (np.abs(distribution.log_prob(theta) - expected) < 2e-5 + rounding).all()


@cases(CONTINUOUS)
def test_bounds_are_inside_and_finite_and_beyond_is_not(options, reference):
    distribution = scalar(options)
    for bound, beyond in zip(distribution.support(), (-np.inf, np.inf), strict=True):
        if np.isfinite(bound[0]):
            at, off = column(bound), column(np.nextafter(bound, beyond))
            assert distribution.inside(at).all() and np.isfinite(distribution.log_prob(at)).all()
            assert (
                np.isfinite(distribution.to_normal(at)).all()
                and abs(distribution.to_normal(at)[0, 0]) <= 1100
            )
            assert not distribution.inside(off).any() and distribution.log_prob(off)[0] == -np.inf
            assert np.isnan(distribution.to_normal(off)).all()


@cases(CONTINUOUS)
def test_every_finite_z_is_mapped_into_the_support(options, reference):
    distribution = scalar(options)
    theta = distribution.from_normal(column([-1e3, -50, -37, 37, 50, 1e3]))
    assert distribution.inside(theta).all()
    assert np.isnan(distribution.from_normal(column([np.nan]))).all()


@cases(CONTINUOUS)
def test_columns_of_a_vector_are_independent_copies(options, reference):
    one, three = scalar(options), build({**options, "shape": [3]})
    theta = three.sample(np.random.default_rng(6), 50)
    assert three.event == (3,) and theta.shape == (50, 3)
    np.testing.assert_allclose(
        three.log_prob(theta), sum(one.log_prob(theta[:, k : k + 1]) for k in range(3))
    )
    theta[:, 1] = np.nan
    assert (three.log_prob(theta) == -np.inf).all()
