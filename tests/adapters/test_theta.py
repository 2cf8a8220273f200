"""ThetaMap: there and back, inside the support, with the log-determinant of its numerical
Jacobian."""

import json

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from sbiwb.adapters import ThetaMap
from sbiwb.contracts import Distribution
from sbiwb.errors import ConfigError, DataError


class Uniform(Distribution):
    """K independent uniform columns."""

    def __init__(self, low, high, size=1):
        self.low, self.high, self.event = low, high, (size,)

    def log_prob(self, theta):
        return np.where(
            self.inside(theta).all(1), -self.size * np.log(self.high - self.low), -np.inf
        )

    def support(self):
        return np.full(self.size, self.low), np.full(self.size, self.high)

    def variance(self):
        return np.full(self.size, (self.high - self.low) ** 2 / 12)

    def to_normal(self, theta):
        u = np.clip((theta - self.low) / (self.high - self.low), 1e-300, 1 - 1e-16)
        return np.where(self.inside(theta), ndtri(u), np.nan)

    def from_normal(self, z):
        return self.low + (self.high - self.low) * ndtr(z)

    def quantile(self, u):
        return self.low + (self.high - self.low) * u


class ByDraws(Uniform):
    """A joint prior known by sampling alone, inside bounds that may be infinite."""

    known = False

    def log_prob(self, theta):
        raise ConfigError("a joint prior has no density")

    def to_normal(self, theta):
        raise ConfigError("a joint prior has no distribution function")


class Whole(Distribution):
    """K columns of whole numbers from low to high, some of which never come."""

    discrete = True

    def __init__(self, low, high, size=1, never=()):
        self.low, self.high, self.event, self.never = low, high, (size,), never

    def log_prob(self, theta):
        return np.where(
            self.inside(theta).all(1),
            -self.size * np.log(self.high - self.low + 1 - len(self.never)),
            -np.inf,
        )

    def support(self):
        return np.full(self.size, self.low), np.full(self.size, self.high)

    def inside(self, theta):
        return super().inside(theta) & (theta == np.floor(theta)) & ~np.isin(theta, self.never)

    def variance(self):
        return np.full(self.size, np.nan)

    to_normal = from_normal = quantile = None


RNG = np.random.default_rng(1)
INF = float("inf")
CASES = {  # name: (prior, kind, training theta (N, K))
    "prior": (Uniform(-1, 3), "prior", RNG.uniform(-1, 3, (200, 1))),
    "prior of two columns": (Uniform(0, 2, 2), "prior", RNG.uniform(0, 2, (200, 2))),
    "standardize": (Uniform(-1, 3), "standardize", RNG.uniform(-1, 3, (200, 1))),
    "log": (ByDraws(0, INF), "log", RNG.lognormal(1, 2, (200, 1))),
    "shifted log": (ByDraws(5, INF), "log", 5 + RNG.lognormal(1, 1, (200, 1))),
    "logit": (Uniform(10, 30), "logit", RNG.uniform(10, 30, (200, 1))),
    "joint, bounded": (ByDraws(-2, 2, 2), "prior", RNG.uniform(-2, 2, (200, 2))),
    "joint, above a bound": (ByDraws(1, INF), "prior", 1 + RNG.exponential(1, (200, 1))),
    "joint, unbounded": (ByDraws(-INF, INF), "prior", RNG.normal(4, 9, (200, 1))),
    "circular": (Uniform(90, 450, 2), "circular", RNG.uniform(90, 450, (200, 2))),
    "circular, joint": (ByDraws(0, 24), "circular", RNG.uniform(0, 24, (200, 1))),
}
DISCRETE = Whole(-2, 3, never=(0,))


def fit(name):
    prior, kind, theta = CASES[name]
    columns = tuple(f"c{k}" for k in range(prior.size))
    return ThetaMap.fit(columns, [(slice(0, prior.size), prior, kind)], theta), theta


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name):
    mapping, theta = fit(name)
    z = mapping.forward(theta)
    assert z.dtype == np.float64 and z.shape == theta.shape and np.isfinite(z).all()
    assert np.allclose(mapping.inverse(z), theta, rtol=1e-10)
    assert 0.5 < z.std() < 2


@pytest.mark.parametrize("name", CASES)
def test_log_abs_det_is_that_of_the_numerical_jacobian(name):
    mapping, theta = fit(name)
    theta = theta[:20]
    d, h = theta.shape[1], 1e-6
    columns = [
        (mapping.forward(theta + h * np.eye(d)[k]) - mapping.forward(theta - h * np.eye(d)[k]))
        / (2 * h)
        for k in range(d)
    ]
    _, numerical = np.linalg.slogdet(np.stack(columns, axis=-1))
    ours = mapping.log_abs_det(theta)
    assert ours.shape == (20,) and np.allclose(ours, numerical, atol=1e-3)


@pytest.mark.parametrize(
    "name", [name for name, (_, kind, _) in CASES.items() if kind != "standardize"]
)
def test_draws_stay_inside_the_support(name):
    mapping, theta = fit(name)
    z = np.linspace(-40, 40, 201)[:, None].repeat(theta.shape[1], axis=1)
    draws = mapping.inverse(z)
    assert np.isfinite(draws).all() and CASES[name][0].inside(draws).all()


@pytest.mark.parametrize("name", ["prior", "log", "shifted log", "logit", "joint, bounded"])
def test_no_density_outside_the_support(name):
    mapping, theta = fit(name)
    assert np.isneginf(mapping.log_abs_det(np.full_like(theta[:2], -50.0))).all()


@pytest.mark.parametrize("name", CASES)
def test_state_survives_json(name):
    mapping, theta = fit(name)
    prior, kind, _ = CASES[name]
    state = json.loads(json.dumps(mapping.state(), allow_nan=False))
    again = ThetaMap.restore(mapping.columns, [(slice(0, prior.size), prior, kind)], state)
    assert np.array_equal(again.forward(theta), mapping.forward(theta))
    assert np.array_equal(again.log_abs_det(theta), mapping.log_abs_det(theta))


def test_a_joint_prior_chooses_by_its_bounds():
    kinds = {
        name: fit(name)[0].state()["blocks"][0]["kind"]
        for name in CASES
        if name.startswith("joint")
    }
    assert kinds == {
        "joint, bounded": "logit",
        "joint, above a bound": "log",
        "joint, unbounded": "standardize",
    }


def test_parameters_side_by_side():
    parts = [
        (slice(0, 2), Uniform(0, 1, 2), "prior"),
        (slice(2, 3), Uniform(5, 9), "logit"),
        (slice(3, 4), Uniform(0, 1), "prior"),
    ]
    theta = np.column_stack(
        [RNG.uniform(0, 1, (50, 2)), RNG.uniform(5, 9, 50), RNG.uniform(0, 1, 50)]
    )
    mapping = ThetaMap.fit(("a0", "a1", "b", "c"), parts, theta)
    assert np.allclose(mapping.inverse(mapping.forward(theta)), theta)
    assert np.allclose(mapping.forward(theta)[:, 3:], Uniform(0, 1).to_normal(theta[:, 3:]))


def test_bounds_of_training_data_stay_finite():
    mapping = ThetaMap.fit(
        ("b",), [(slice(0, 1), Uniform(0, 1), "logit")], np.array([[0.0], [0.3], [1.0]])
    )
    assert np.isfinite(mapping.forward(np.array([[0.0], [1.0]]))).all()


@pytest.mark.parametrize(
    ("prior", "kind", "message"),
    [
        (
            Uniform(1, 10),
            "log",
            r"b  'log' needs a lower bound and no upper one; the prior lies in \[1, 10\]  Use prior or logit.",
        ),
        (ByDraws(-INF, INF), "log", "Use prior or standardize."),
        (
            ByDraws(0, INF),
            "logit",
            r"'logit' needs two finite bounds; the prior lies in \[0, inf\]  Use prior or log.",
        ),
        (Uniform(0, 1), "probit", "unknown map 'probit'.*prior, standardize, log, logit"),
    ],
)
def test_maps_that_do_not_fit_the_prior_are_refused(prior, kind, message):
    with pytest.raises(ConfigError, match=message):
        ThetaMap.fit(("b",), [(slice(0, 1), prior, kind)], np.full((3, 1), 2.0))


@pytest.mark.parametrize("value", [np.nan, 9.0])
@pytest.mark.parametrize("name", ["prior", "joint, bounded"])
def test_theta_must_be_finite_and_in_its_support(name, value):
    mapping, theta = fit(name)
    theta = theta.copy()
    theta[1, -1] = value
    with pytest.raises(DataError, match=rf"theta  c\d is {value:g} in row 1, .* \(1 of 200 rows\)"):
        mapping.forward(theta)
    prior, kind, _ = CASES[name]
    if not prior.known:
        with pytest.raises(DataError, match=rf"theta  c1 is {value:g} in row 1, "):
            ThetaMap.fit(mapping.columns, [(slice(0, prior.size), prior, kind)], theta)


@pytest.mark.parametrize("name", ["circular", "circular, joint"])
def test_the_two_ends_of_a_circle_are_one_point(name):
    mapping, theta = fit(name)
    (low, *_), (high, *_) = CASES[name][0].support()
    ends = np.broadcast_to(
        np.array([[low], [high], [np.nextafter(high, low)]]), (3, theta.shape[1])
    )
    z = mapping.forward(ends)
    assert (
        np.array_equal(z[:2], np.full_like(z[:2], -np.pi))
        and (z[2] < np.pi).all()
        and np.allclose(z[2], np.pi)
    )
    z = mapping.forward(theta)
    for turns in (-1, 1):
        assert np.allclose(mapping.inverse(z + 2 * np.pi * turns), theta)
    assert mapping.circular == tuple(range(theta.shape[1])) and mapping.discrete == {}
    assert np.allclose(
        mapping.inverse(np.array([[1.0] * theta.shape[1]]))
        - mapping.inverse(np.array([[0.5] * theta.shape[1]])),
        0.5 * (high - low) / (2 * np.pi),
    )


def mixed():
    """A vector of two discrete columns between two others."""
    theta = np.column_stack(
        [RNG.uniform(0, 1, 300), RNG.choice([-2, -1, 1], (300, 2)), RNG.uniform(0, 24, 300)]
    )
    parts = [
        (slice(0, 1), Uniform(0, 1), "prior"),
        (slice(1, 3), Whole(-2, 3, 2, (0,)), "prior"),
        (slice(3, 4), Uniform(0, 24), "circular"),
    ]
    return ThetaMap.fit(("a", "k[0]", "k[1]", "t"), parts, theta), parts, theta


def test_a_discrete_column_is_the_place_of_its_value():
    mapping, _, theta = mixed()
    z = mapping.forward(theta)
    assert mapping.levels == {
        "k[0]": (-2, -1, 1, 2, 3),
        "k[1]": (-2, -1, 1, 2, 3),
    } and mapping.circular == (3,)
    assert np.array_equal(z[:, 1:3], np.array([0, 1, np.nan, 2])[theta[:, 1:3].astype(int) + 2])
    assert np.allclose(mapping.inverse(z), theta) and np.array_equal(
        mapping.inverse(z)[:, 1:3], theta[:, 1:3]
    )
    other, (here, there) = (
        np.array([[0.2, 1, 3, 5.0], [0.2, -2, 2, 5.0]]),
        mapping.log_abs_det(theta[:2]),
    )
    assert mapping.log_abs_det(other) == pytest.approx(
        np.log(2 * np.pi / 24) + 0.5 * (ndtri(0.2) ** 2 + np.log(2 * np.pi))
    )
    assert np.isfinite([here, there]).all()


def test_shares_of_levels_are_those_of_training_and_never_zero():
    mapping, _, theta = mixed()
    assert set(mapping.discrete) == {1, 2}
    for column, shares in mapping.discrete.items():
        counts = [(theta[:, column] == level).sum() for level in (-2, -1, 1, 2, 3)]
        assert shares == pytest.approx([(count + 1) / 305 for count in counts]) and min(shares) > 0
        assert sum(shares) == pytest.approx(1)


def test_levels_are_rounded_and_kept_in_range():
    mapping = ThetaMap.fit(
        ("k",), [(slice(0, 1), Whole(0, 999), "prior")], np.arange(1000.0)[:, None]
    )
    assert np.array_equal(mapping.forward(np.array([[999.0], [40.0]])), [[999.0], [40.0]])
    assert mapping.inverse(np.array([[-3.0], [1.4], [1.6], [998.9], [2000.0]]))[:, 0].tolist() == [
        0,
        1,
        2,
        999,
        999,
    ]


def test_discrete_and_circular_columns_survive_json():
    mapping, parts, theta = mixed()
    again = ThetaMap.restore(
        mapping.columns, parts, json.loads(json.dumps(mapping.state(), allow_nan=False))
    )
    assert np.array_equal(again.forward(theta), mapping.forward(theta))
    assert (again.discrete, again.levels, again.circular) == (
        mapping.discrete,
        mapping.levels,
        mapping.circular,
    )


@pytest.mark.parametrize("value", [0.0, 1.5, 4.0, -3.0])
def test_what_is_no_level_has_no_density_and_is_refused(value):
    mapping = ThetaMap.fit(("k",), [(slice(0, 1), DISCRETE, "prior")], np.array([[1.0], [3.0]]))
    assert (
        np.isneginf(mapping.log_abs_det(np.array([[value]])))
        and mapping.log_abs_det(np.array([[-1.0]])) == 0
    )
    with pytest.raises(
        DataError, match=rf"theta  k is {value:g} in row 1, outside its support \(1 of 2 rows\)"
    ):
        mapping.forward(np.array([[1.0], [value]]))
    with pytest.raises(DataError, match=rf"k is {value:g} in row 0, none of its levels"):
        ThetaMap.fit(("k",), [(slice(0, 1), DISCRETE, "prior")], np.array([[value]]))


@pytest.mark.parametrize(
    ("prior", "kind", "message"),
    [
        (
            Whole(0, 1000),
            "prior",
            "k  1001 levels are too many to infer.*1000 at most  Narrow it, or take a continuous "
            "prior",
        ),
        (Whole(0, INF), "prior", "inf levels are too many"),
        (DISCRETE, "log", "k  a discrete parameter has no map 'log'  Leave it out of model.theta"),
        (
            Uniform(0, INF),
            "circular",
            r"k  'circular' needs two finite bounds; the prior lies in \[0, inf\]  Give it a prior on one period",
        ),
    ],
)
def test_discrete_and_circular_maps_that_do_not_fit_are_refused(prior, kind, message):
    with pytest.raises(ConfigError, match=message):
        ThetaMap.fit(("k",), [(slice(0, 1), prior, kind)], np.full((3, 1), 1.0))
