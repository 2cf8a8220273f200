"""What is special to one prior, and what a user reads when its options are wrong."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from sbiwb.errors import ConfigError
from sbiwb.priors import family


def build(kind, **options):
    return family.parse({"kind": kind, **options}).build()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kind": "uniform", "low": 2, "high": 1},
            r"low = 2\.0 is not below high = 1\.0: exchange them",
        ),
        ({"kind": "uniform", "low": -1e308, "high": 1e308}, "high - low overflows"),
        (
            {"kind": "uniform_integer", "low": 3, "high": 3},
            r"a fixed value under problem\.constants",
        ),
        ({"kind": "uniform_integer", "low": 0, "high": 2.5}, "valid integer"),
        ({"kind": "truncated_normal", "low": 1, "high": 1}, "is not below high"),
        ({"kind": "joint", "low": 1, "high": 0}, "is not below high"),
        ({"kind": "normal", "scale": 0}, "greater than 0"),
        ({"kind": "normal", "scale": "1"}, "valid number"),
        ({"kind": "normal", "loc": math.nan}, "finite"),
        ({"kind": "normal", "mean": 0}, "mean"),
        ({"kind": "normal", "shape": [2, 2]}, "at most 1 item"),
        ({"kind": "normal", "shape": [0]}, "greater than or equal to 1"),
        ({"kind": "gamma", "concentration": 0.01}, r"greater than or equal to 0\.05"),
        (
            {"kind": "categorical", "probabilities": [0.5, 0.4]},
            r"sum to 0\.9, not to 1: divide each by 0\.9",
        ),
        ({"kind": "categorical", "probabilities": [1.5, -0.5]}, "less than or equal to 1"),
        ({"kind": "multivariate_normal", "loc": [0.0]}, "give either 'covariance'"),
        (
            {"kind": "multivariate_normal", "loc": [0.0], "scale": [1.0, 2.0]},
            "scale has 2 numbers, loc has 1",
        ),
        (
            {"kind": "multivariate_normal", "loc": [0.0, 0.0], "covariance": [[1.0, 0.0]]},
            "2 rows of 2 numbers",
        ),
        (
            {"kind": "multivariate_normal", "loc": [0, 0], "covariance": [[1, 0.2], [0.1, 1]]},
            r"entry \[0\]\[1\] is 0\.2, entry \[1\]\[0\]",
        ),
        (
            {"kind": "multivariate_normal", "loc": [0, 0], "covariance": [[1, 2], [2, 1]]},
            "smallest eigenvalue is -1",
        ),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(ValidationError, match=message):
        family.parse(options)


def test_whole_numbers_serve_as_floats():
    config = family.parse({"kind": "normal", "loc": 2, "scale": 3})
    assert isinstance(config.loc, float) and config.unit == ""


def test_deep_truncation_is_nearly_exponential():
    """The mass beyond a >> 0 standard deviations falls off with the rate a + 1/a - 2/a^3 + ...
    (Mills' ratio)."""
    distribution = build("truncated_normal", loc=-100, low=0)
    theta = np.array([1e-12, 1e-6, 1e-3, 0.1])
    np.testing.assert_allclose(distribution.cdf(theta[:2]), 100.0099980011 * theta[:2], rtol=1e-4)
    np.testing.assert_allclose(-np.log(distribution.sf(theta[2:])) / theta[2:], 100.01, rtol=1e-3)
    assert distribution.variance()[0] == pytest.approx(1e-4 * (1 - 6e-4), rel=1e-6)


def test_truncation_far_below_the_mode_mirrors_truncation_far_above():
    above, below = (
        build("truncated_normal", loc=-30, low=0, high=1),
        build("truncated_normal", loc=30, low=-1, high=0),
    )
    u = np.random.default_rng(0).random((1000, 1))
    np.testing.assert_allclose(
        above.quantile(u), -below.from_normal(-above.to_normal(above.quantile(u))), rtol=1e-12
    )
    np.testing.assert_allclose(above.variance(), below.variance(), rtol=1e-12)


def test_a_bound_too_far_to_matter_changes_nothing():
    near, far = build("truncated_normal", low=-1e12, high=1e12), build("normal")
    z = np.linspace(-7, 7, 101)[:, None]
    np.testing.assert_allclose(near.from_normal(z), far.from_normal(z), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(near.log_prob(z), far.log_prob(z), rtol=1e-13)


def test_lowest_uniform_number_of_a_normal_is_eight_deviations_out():
    assert build("normal").quantile(np.zeros((1, 1)))[0, 0] == pytest.approx(-8.2924, abs=1e-3)


def test_uniform_draws_keep_off_the_bounds():
    theta = build("uniform", low=0, high=1).from_normal(np.array([[-1e9], [1e9]]))
    assert theta[0, 0] > 0 and theta[1, 0] < 1


def test_uniform_integer_uses_whole_numbers_from_the_generator():
    expected = np.random.default_rng(0).integers(1, 6, (10, 1), endpoint=True)
    np.testing.assert_array_equal(
        build("uniform_integer", low=1, high=6).sample(np.random.default_rng(0), 10), expected
    )


def test_categorical_keeps_labels_and_never_draws_the_impossible():
    distribution = build("categorical", probabilities={"a": 0.0, "b": 0.999999, "c": 0.0})
    assert distribution.labels == ("a", "b", "c")
    np.testing.assert_array_equal(
        distribution.quantile(np.array([[0.0], [1 - 2.0**-53]])), [[1.0], [1.0]]
    )


def test_multivariate_columns_are_correlated_as_asked():
    distribution = build("multivariate_normal", loc=[1, 2], covariance=[[4, 3], [3, 9]])
    theta = distribution.sample(np.random.default_rng(0), 100_000)
    np.testing.assert_allclose(np.cov(theta.T), [[4, 3], [3, 9]], rtol=0.03)
    np.testing.assert_allclose(theta.mean(0), [1, 2], atol=0.05)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("log_prob", "no density.*only draws it.*prior of its own"),
        ("to_normal", "no distribution function.*[Ss]tandardize"),
        ("from_normal", "no quantile function.*[Ss]tandardize"),
        ("quantile", "no quantile function.*Prior.sample"),
    ],
)
def test_joint_refuses_what_it_cannot_know(method, message):
    with pytest.raises(ConfigError, match=message):
        getattr(build("joint"), method)(np.zeros((1, 1)))


def test_joint_names_another_source_of_variance():
    with pytest.raises(ConfigError, match="over the test set"):
        build("joint").variance()
    with pytest.raises(ConfigError, match=r"Prior\.sample"):
        build("joint").sample(np.random.default_rng(0), 3)
    low, high = build("joint", low=-1, shape=[2]).support()
    assert low.tolist() == [-1, -1] and high.tolist() == [math.inf, math.inf]


DROPPED_IN = '''"""Pareto prior by scale and exponent."""
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from sbiwb.priors import UnivariatePrior, UnivariateConfig


class Config(UnivariateConfig):
    exponent: float = Field(3.0, gt=2, description="Exponent of the tail.")

    def build(self):
        return Pareto(self.exponent, event=self.event)


@dataclass(frozen=True)
class Pareto(UnivariatePrior):
    exponent: float

    def bounds(self):
        return 1.0, np.inf

    def log_density(self, theta):
        return np.log(self.exponent) - (self.exponent + 1) * np.log(theta)

    def cdf(self, theta):
        return -np.expm1(-self.exponent * np.log(theta))

    def sf(self, theta):
        return theta**-self.exponent

    def ppf(self, p):
        return np.exp(-np.log1p(-p) / self.exponent)

    def isf(self, q):
        return q ** (-1 / self.exponent)

    def var(self):
        return self.exponent / ((self.exponent - 1) ** 2 * (self.exponent - 2))
'''


def test_a_new_prior_is_one_new_file(tmp_path):
    (tmp_path / "pareto.py").write_text(DROPPED_IN)
    distribution = build(str(tmp_path / "pareto.py"), exponent=4, shape=[2])
    theta = distribution.sample(np.random.default_rng(0), 50_000)
    assert theta.shape == (50_000, 2) and theta.min() >= 1
    np.testing.assert_allclose(
        distribution.from_normal(distribution.to_normal(theta)), theta, rtol=1e-10
    )
    np.testing.assert_allclose(theta.mean(), 4 / 3, rtol=0.01)
    assert distribution.log_prob(np.array([[0.5, 2.0]]))[0] == -np.inf
