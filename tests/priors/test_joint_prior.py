"""`Prior`: columns in order, draws in one stream, and what the simulator file's sampler may get
wrong."""

import numpy as np
import pytest

from sbiwb.errors import ConfigError, DataError, SimulatorError, Stopped
from sbiwb.priors import Prior, family


def distributions(**options):
    return {name: family.parse(option).build() for name, option in options.items()}


@pytest.fixture
def prior():
    parts = distributions(
        beta={"kind": "uniform", "high": 2},
        weights={"kind": "normal", "shape": [3]},
        one={"kind": "exponential", "shape": [1]},
        pair={"kind": "multivariate_normal", "loc": [0, 5], "scale": [1, 2]},
    )
    return Prior(parts, units={"beta": "1/day"})


def hierarchical(**parts):
    """mu drawn by the file, b by its own prior, sigma and items by the file."""
    kinds = {
        "mu": "joint",
        "b": "normal",
        "sigma": {"kind": "joint", "low": 0},
        "items": {"kind": "joint", "shape": [2]},
    }

    def sampler(n, rng):
        mu = rng.normal(size=n)
        drawn = {
            "mu": mu,
            "sigma": rng.exponential(size=n),
            "items": mu[:, None] + rng.normal(size=(n, 2)),
        }
        return {name: value for name, value in {**drawn, **parts}.items() if value is not None}

    return Prior(distributions(**kinds), sampler=sampler)


def test_columns_slices_and_size(prior):
    assert prior.names == ("beta", "weights", "one", "pair") and prior.size == 7
    assert prior.columns == (
        "beta",
        "weights[0]",
        "weights[1]",
        "weights[2]",
        "one[0]",
        "pair[0]",
        "pair[1]",
    )
    assert prior.slices["weights"] == slice(1, 4) and prior.slices["pair"] == slice(5, 7)
    assert prior.units == {"beta": "1/day"} and prior.joint == ()


def test_draws_have_the_shape_of_their_parameter(prior):
    theta = prior.sample(np.random.default_rng(0), 10)
    assert {name: draws.shape for name, draws in theta.items()} == {
        "beta": (10,),
        "weights": (10, 3),
        "one": (10, 1),
        "pair": (10, 2),
    }
    again = prior.sample(np.random.default_rng(0), 10)
    assert all((theta[name] == again[name]).all() for name in theta)


def test_stack_and_unstack_are_inverse(prior):
    theta = prior.sample(np.random.default_rng(0), 10)
    stacked = prior.stack({"extra": np.zeros(10), **theta})
    assert stacked.shape == (10, 7) and stacked.dtype == np.float64
    for name, values in prior.unstack(stacked).items():
        np.testing.assert_array_equal(values, theta[name])
    assert prior.unstack(np.zeros((4, 5, 7)))["weights"].shape == (4, 5, 3)
    assert prior.unstack(np.zeros((4, 5, 7)))["beta"].shape == (4, 5)


def test_discrete_parameters_reach_the_simulator_as_integers():
    kinds = {
        "k": {"kind": "categorical", "probabilities": [0.5, 0.5]},
        "mu": "normal",
        "n": {"kind": "uniform_integer", "high": 9, "shape": [2]},
    }
    prior = Prior(distributions(**kinds))
    theta = prior.sample(np.random.default_rng(0), 10)
    stacked = prior.stack(theta)
    for found in (theta, prior.unstack(stacked)):
        assert {name: values.dtype.kind for name, values in found.items()} == {
            "k": "i",
            "mu": "f",
            "n": "i",
        }
        assert all(np.array_equal(found[name], theta[name]) for name in theta)
    assert (
        stacked.dtype == np.float64
        and prior.inside(stacked).all()
        and not prior.inside(stacked + 0.5)[:, [0, 2, 3]].any()
    )
    masses = np.log(0.5) + 2 * np.log(0.1) - 0.5 * (theta["mu"] ** 2 + np.log(2 * np.pi))
    np.testing.assert_allclose(prior.log_prob(stacked), masses)
    assert np.isneginf(prior.log_prob(stacked + 0.5)).all()


def test_stack_names_what_is_missing_or_misshapen(prior):
    theta = prior.sample(np.random.default_rng(0), 10)
    with pytest.raises(
        DataError, match=r"no values of 'one'.*Give each of 'beta', 'weights', 'one', 'pair'"
    ):
        prior.stack({name: values for name, values in theta.items() if name != "one"})
    with pytest.raises(DataError, match=r"parameter 'one'  shape \(10,\) instead of \(10, 1\)"):
        prior.stack({**theta, "one": theta["one"][:, 0]})


def test_log_prob_is_the_sum_over_parameters(prior):
    theta = prior.sample(np.random.default_rng(0), 10)
    expected = sum(
        part.log_prob(theta[name].reshape(10, part.size))
        for name, part in prior.distributions.items()
    )
    stacked = prior.stack(theta)
    np.testing.assert_allclose(prior.log_prob(stacked), expected)
    stacked[0, 0] = 3
    assert prior.log_prob(stacked)[0] == -np.inf
    assert prior.inside(stacked)[0].tolist() == [False] + 6 * [True]
    assert prior.inside(np.zeros((2, 3, 7))).shape == (2, 3, 7)


def test_variance_and_support_by_column(prior):
    np.testing.assert_allclose(prior.variance(), [1 / 3, 1, 1, 1, 1, 1, 4])
    low, high = prior.support()
    assert low.tolist() == [0, *3 * [-np.inf], 0, -np.inf, -np.inf] and high[0] == 2


def test_joint_parameters_come_first_from_one_call():
    prior = hierarchical()
    theta = prior.sample(np.random.default_rng(3), 1000)
    assert tuple(theta) == prior.names and prior.joint == ("mu", "sigma", "items")
    rng = np.random.default_rng(3)
    expected = prior.sampler(1000, rng)
    np.testing.assert_array_equal(theta["items"], expected["items"])
    np.testing.assert_array_equal(theta["b"], prior.distributions["b"].sample(rng, 1000)[:, 0])
    assert np.corrcoef(theta["mu"], theta["items"][:, 0])[0, 1] > 0.6


def test_joint_prior_knows_support_but_no_density():
    prior = hierarchical()
    np.testing.assert_array_equal(prior.variance(), [np.nan, 1, np.nan, np.nan, np.nan])
    assert prior.support()[0].tolist() == [-np.inf, -np.inf, 0, -np.inf, -np.inf]
    with pytest.raises(
        ConfigError, match=r"density of 'mu', 'sigma', 'items' is not known.*instead of kind: joint"
    ):
        prior.log_prob(np.zeros((1, 5)))


def test_joint_without_a_sampler_is_refused():
    with pytest.raises(
        ConfigError,
        match=r"'mu' of kind 'joint', but the simulator file has no function prior.*Write prior\(n, rng\)",
    ):
        Prior(distributions(mu="joint")).sample(np.random.default_rng(0), 3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"mu": None}, "returned 'sigma', 'items' instead of 'mu', 'sigma', 'items'"),
        ({"nu": np.zeros(4)}, "returned 'mu', 'sigma', 'items', 'nu' instead of"),
        ({"mu": np.zeros(3)}, r"\['mu'\] has shape \(3,\) instead of \(4,\)"),
        ({"items": np.zeros(4)}, r"\['items'\] has shape \(4,\) instead of \(4, 2\).*`shape`"),
        (
            {"mu": np.array([0, 1, np.nan, 2])},
            r"1 of 4 values outside \[-inf, inf\] or not finite, the first nan",
        ),
        (
            {"sigma": np.array([1, -2, -3, 1])},
            r"2 of 4 values outside \[0, inf\] or not finite, the first -2",
        ),
        ({"mu": np.array(list("abcd"))}, r"\['mu'\] is not an array of numbers"),
    ],
)
def test_wrong_joint_draws_are_explained(parts, message):
    with pytest.raises(SimulatorError, match=message) as caught:
        hierarchical(**parts).sample(np.random.default_rng(0), 4)
    assert caught.value.where.rpartition(":")[0] == __file__ and caught.value.todo


def test_a_sampler_that_fails_or_returns_no_dict_is_explained():
    parts = distributions(mu="joint")
    with pytest.raises(SimulatorError, match="raised ZeroDivisionError: division by zero"):
        Prior(parts, sampler=lambda n, rng: 1 / 0).sample(np.random.default_rng(0), 3)
    with pytest.raises(SimulatorError, match="returned a ndarray instead of 'mu'"):
        Prior(parts, sampler=lambda n, rng: np.zeros(3)).sample(np.random.default_rng(0), 3)


def test_zero_rows_keep_their_shapes(prior):
    assert prior.stack(prior.sample(np.random.default_rng(0), 0)).shape == (0, 7)


def test_a_signal_during_the_sampler_stays_a_signal():
    def sampler(n, rng):
        raise Stopped("terminated")

    with pytest.raises(Stopped, match="terminated"):
        Prior(distributions(mu="joint"), sampler=sampler).sample(np.random.default_rng(0), 3)
