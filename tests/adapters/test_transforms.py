"""Every transform through one contract, then what is special to one."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import skew

from sbiwb.adapters import family
from sbiwb.contracts import SeriesTransform
from sbiwb.errors import DataError

COUNTS = np.array([[0.0, 3.0], [2.0, 1.0], [1.0, 3.0], [0.0, 2.0], [2.0, 1.0], [3.0, 0.0]])
LENGTHS = np.array([3, 1, 2])
CASES = {  # kind: (options, training values)
    "asinh": ({}, COUNTS - 1),
    "box_cox": ({"skewness": 0.1}, (COUNTS + 1) ** 2),
    "clip": ({"low": 0.5, "high": 2.5}, COUNTS),
    "difference": ({}, COUNTS),
    "drop_constant": ({}, COUNTS),
    "heavy_tails": ({"ratio": 1.5}, COUNTS),
    "log": ({}, COUNTS + 1),
    "log1p": ({}, COUNTS),
    "logit": ({"low": -1, "high": 4}, COUNTS),
    "nan_to_mask": ({}, COUNTS),
    "one_hot": ({}, COUNTS),
    "rank": ({}, COUNTS),
    "sqrt": ({}, COUNTS),
    "standardize": ({}, COUNTS),
    "time_features": ({"periods": [2.5]}, COUNTS),
    "with_log": ({"ratio": 0.5}, COUNTS),
}
NOT_INVERTIBLE = {"clip"}
INCREASING = [
    "asinh",
    "box_cox",
    "heavy_tails",
    "log",
    "log1p",
    "logit",
    "rank",
    "sqrt",
    "standardize",
]
CHANGES = {"nan_to_mask"}  # what becomes of NaN there is its own business


def measure(config, values, lengths=LENGTHS):
    return (
        config.measure_series(values, lengths)
        if hasattr(config, "measure_series")
        else config.measure(values)
    )


def make(kind, values, lengths=LENGTHS, **options):
    config = family.parse({"kind": kind, **options})
    return config.build(json.loads(json.dumps(measure(config, values, lengths), allow_nan=False)))


def forward(transform, values, lengths=LENGTHS):
    return (
        transform.forward(values, lengths)
        if isinstance(transform, SeriesTransform)
        else transform.forward(values)
    )


def inverse(transform, values, lengths=LENGTHS):
    return (
        transform.inverse(values, lengths)
        if isinstance(transform, SeriesTransform)
        else transform.inverse(values)
    )


def with_gaps(values):
    """The same with a gap in the first channel, at the beginning and within."""
    return np.where(
        np.isin(np.arange(len(values)), [0, 4])[:, None] & (np.arange(values.shape[1]) == 0),
        np.nan,
        values,
    )


def test_every_transform_has_a_case():
    assert sorted(CASES) == family.names()


@pytest.mark.parametrize("kind", CASES)
def test_contract(kind):
    options, values = CASES[kind]
    before, transform = values.copy(), make(kind, values, **options)
    out = forward(transform, values)
    assert out.dtype == np.float64 and out.shape[0] == len(values) and np.isfinite(out).all()
    assert np.array_equal(values, before)
    alone = [
        forward(transform, part, np.array([len(part)]))
        for part in np.split(values, np.cumsum(LENGTHS)[:-1])
    ]
    assert np.array_equal(np.concatenate(alone), out)  # no series knows of another one
    if not isinstance(transform, SeriesTransform):
        assert np.array_equal(forward(transform, values[:1]), out[:1])  # no row does


@pytest.mark.parametrize("kind", CASES)
def test_what_can_be_inverted_is(kind):
    options, values = CASES[kind]
    transform = make(kind, values, **options)
    assert hasattr(transform, "inverse") == (kind not in NOT_INVERTIBLE)
    if kind not in NOT_INVERTIBLE:
        assert np.allclose(inverse(transform, forward(transform, values)), values, atol=1e-12)


@pytest.mark.parametrize("kind", CASES)
def test_missing_values_are_passed_on_and_never_learned_from(kind):
    options, values = CASES[kind]
    gaps, config = with_gaps(values), family.parse({"kind": kind, **options})
    if kind not in CHANGES:
        out = forward(make(kind, values, **options), gaps)
        assert (
            np.isnan(out[0]).any()
            and np.isnan(out[4]).any()
            and np.isfinite(out[[1, 2, 3, 5]]).all()
        )
    if kind not in NOT_INVERTIBLE:
        transform = make(kind, values, **options)
        assert np.allclose(
            inverse(transform, forward(transform, gaps)), gaps, atol=1e-12, equal_nan=True
        )
    if not hasattr(config, "measure_series"):
        first = [column[~np.isnan(column)][:, None] for column in gaps.T]
        alone = [config.measure(column) for column in first]
        assert config.measure(gaps) == {
            key: [*alone[0][key], *alone[1][key]] for key in config.measure(gaps)
        }


@pytest.mark.parametrize("kind", CASES)
def test_statistics_know_no_order(kind):
    options, values = CASES[kind]
    config = family.parse({"kind": kind, **options})
    here, there = measure(config, values), measure(config, values[[4, 2, 0, 5, 1, 3]])
    for key in here:
        np.testing.assert_allclose(np.array(here[key]), np.array(there[key]), rtol=1e-12)


@pytest.mark.parametrize("kind", INCREASING)
def test_increasing(kind):
    options, values = CASES[kind]
    x = np.linspace(values.min() + 0.01, values.max() - 0.01, 50)[:, None].repeat(2, axis=1)
    assert (np.diff(forward(make(kind, values, **options), x), axis=0) > 0).all()


@pytest.mark.parametrize("kind", CASES)
def test_every_option_is_described_and_unknown_ones_are_refused(kind):
    options, _ = CASES[kind]
    assert all(field.description for field in family.config(kind).model_fields.values())
    with pytest.raises(ValueError, match="typo"):
        family.parse({"kind": kind, **options, "typo": 1})


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("log", 0.0, r"cannot take the log of 0 \(1 of 2 values\).*log1p"),
        ("log1p", -1.0, r"cannot take log1p of -1"),
        ("sqrt", -0.5, r"cannot take the square root of -0.5"),
        ("logit", 1.0, r"cannot take the logit of 1 \(1 of 2 values\).*between 0 and 1.*clip"),
        ("one_hot", 2.0, r"unknown category 2 \(1 of 2 values\).*0, 1"),
    ],
)
def test_refused_values_are_named(kind, value, message):
    transform = make(kind, np.array([[0.0], [1.0]]))
    with pytest.raises(DataError, match=message):
        transform.forward(np.array([[0.5 if kind == "logit" else 1.0], [value]]))


def test_standardize_is_by_channel_and_keeps_constants_finite():
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(5, 3, 1000), np.full(1000, 0.1)])
    out = make("standardize", values).forward(values)
    assert np.allclose(out.mean(0), 0, atol=1e-12) and np.allclose(out.std(0), [1, 0], atol=1e-12)


def test_one_hot_levels_by_channel():
    out = make("one_hot", COUNTS[:4]).forward(COUNTS[:1])
    assert out.tolist() == [[1, 0, 0, 0, 0, 1]]  # levels 0 1 2 | 1 2 3


@pytest.mark.parametrize(("categories", "width"), [(4, 4), ([-1, 1], 2)])
def test_one_hot_given_categories_need_not_occur(categories, width):
    ones = np.ones((3, 1))
    assert make("one_hot", ones, categories=categories).forward(ones).shape == (3, width)


def test_one_hot_refuses_a_continuous_variable():
    with pytest.raises(DataError, match="1500 different values"):
        family.parse("one_hot").measure(np.linspace(0, 1, 1500)[:, None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs"),
        ({"low": 2, "high": 1}, "low = 2.0 is not below high = 1.0"),
        ({"low": "a"}, "low"),
    ],
)
def test_clip_bounds(options, message):
    with pytest.raises(ValueError, match=message):
        family.parse({"kind": "clip", **options})


def test_one_hot_refuses_a_category_twice():
    with pytest.raises(ValueError, match="twice"):
        family.parse({"kind": "one_hot", "categories": [1, 1]})


def test_a_new_transform_is_one_file(tmp_path):
    part = tmp_path / "cube.py"
    part.write_text(
        "from sbiwb.contracts import TransformPart\n"
        "class Cube:\n"
        "    def forward(self, values):\n"
        "        return values**3\n"
        "class Config(TransformPart):\n"
        "    def build(self, measured):\n"
        "        return Cube()\n"
    )
    assert make(str(part), np.ones((1, 1))).forward(np.array([[2.0]])) == 8


def test_logit_bounds():
    with pytest.raises(ValueError, match=r"low = 2\.0 is not below high = 1.0"):
        family.parse({"kind": "logit", "low": 2})
    percent = make("logit", COUNTS, low=0, high=100)
    assert np.allclose(percent.forward(np.array([[25.0]])), np.log(1 / 3))
    assert percent.inverse(np.array([[800.0, -800.0]])).tolist() == [[100, 0]]


def test_asinh_scale_is_given_or_the_median_size():
    x = np.array([[0.0], [-3.0], [5.0], [4.0]])
    assert np.allclose(make("asinh", x).forward(x), np.arcsinh(x / 4))
    assert np.allclose(make("asinh", x, scale=2).forward(x), np.arcsinh(x / 2))
    assert make("asinh", np.zeros((3, 1))).forward(np.ones((1, 1))) == np.arcsinh(1)


def test_box_cox_finds_the_power_that_makes_a_channel_normal():
    z = np.random.default_rng(0).normal(size=(4_000, 1))
    lognormal, root, plain = np.exp(z), (3 + 0.5 * z) ** 4, z
    powers = family.parse("box_cox").measure(
        np.concatenate([1e-9 * lognormal, 1e6 * lognormal, root, plain], axis=1)
    )["powers"]
    assert powers[:2] == pytest.approx([0, 0], abs=0.03)
    assert powers[2] == pytest.approx(0.25, abs=0.04)
    assert powers[3] is None  # it has negative values


def test_box_cox_leaves_what_is_not_skewed_and_takes_strange_values_for_the_smallest():
    x = np.random.default_rng(0).uniform(5, 9, (500, 1))
    assert np.array_equal(make("box_cox", x).forward(x), x)
    skewed = np.exp(x)
    transform = make("box_cox", skewed)
    assert transform.forward(np.array([[-1.0]])) == transform.forward(skewed.min(keepdims=True))


def test_rank_makes_any_distribution_normal():
    from scipy.stats import kstest

    x = np.exp(3 * np.random.default_rng(0).standard_normal((4000, 1)))
    transform = make("rank", x)
    assert kstest(transform.forward(x)[:, 0], "norm").statistic < 0.01
    fresh = np.exp(3 * np.random.default_rng(1).standard_normal((4000, 1)))
    assert kstest(transform.forward(fresh)[:, 0], "norm").pvalue > 0.01
    assert np.allclose(transform.inverse(transform.forward(fresh)), fresh, rtol=1e-9)


def test_rank_is_no_slave_to_outliers():
    x = np.random.default_rng(2).standard_normal((2000, 1))
    clean, dirty = make("rank", x), make("rank", np.concatenate([x, [[1e12]], [[-1e12]]]))
    grid = np.linspace(-2, 2, 99)[:, None]
    assert np.abs(clean.forward(grid) - dirty.forward(grid)).max() < 0.02
    far = np.array([[-1e300], [-1e6], [1e6], [1e300]])
    assert (
        np.abs(clean.forward(far)).max() < 1000 and (np.diff(clean.forward(far), axis=0) > 0).all()
    )
    assert np.allclose(clean.inverse(clean.forward(far)), far, rtol=1e-9)


def test_rank_gives_ties_the_middle_of_their_step():
    from scipy.special import ndtri

    x = np.repeat([0.0, 1.0, 5.0], [50, 30, 20])[:, None]
    assert np.allclose(
        make("rank", x).forward(np.array([[0.0], [1.0], [5.0]]))[:, 0], ndtri([0.25, 0.65, 0.9])
    )
    assert make("rank", np.ones((7, 1))).forward(np.ones((1, 1))) == 0


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    st.lists(st.floats(-1e7, 1e7), min_size=2, max_size=10),
)
def test_rank_never_falls_and_stays_finite(training, x):
    out = make("rank", np.array(training)[:, None]).forward(np.sort(x)[:, None])[:, 0]
    assert np.isfinite(out).all() and (np.diff(out) >= -1e-12).all()


def test_difference_by_hand():
    x = np.array([[5.0], [7.0], [6.0], [1.0], [4.0], [4.5]])
    assert forward(make("difference", x), x)[:, 0].tolist() == [5, 2, -1, 1, 4, 0.5]
    zero = make("difference", x, first="zero")
    assert forward(zero, x)[:, 0].tolist() == [0, 2, -1, 0, 0, 0.5]
    assert inverse(zero, forward(zero, x))[:, 0].tolist() == [0, 2, 1, 0, 0, 0.5]
    gap = np.array([[5.0], [np.nan], [6.0], [1.0], [np.nan], [4.5]])
    assert np.array_equal(
        forward(make("difference", x), gap)[:, 0], [5, np.nan, 1, 1, np.nan, 4.5], equal_nan=True
    )
    assert np.array_equal(forward(zero, gap)[:, 0], [0, np.nan, 1, 0, np.nan, 0], equal_nan=True)


def test_time_features_by_hand():
    x = np.zeros((6, 1))
    out = forward(make("time_features", x, periods=[4]), x)
    t = np.array([0, 1, 2, 0, 0, 1])
    assert np.allclose(
        out, np.column_stack([x, t / 2, np.sin(t * np.pi / 2), np.cos(t * np.pi / 2)])
    )
    longer = forward(make("time_features", x), np.zeros((5, 1)), np.array([5]))
    assert longer[:, 1].tolist() == [0, 0.5, 1, 1.5, 2]  # the longest in training had 3 steps
    assert forward(
        make("time_features", np.zeros((2, 1)), np.array([1, 1])), np.zeros((1, 1)), np.array([1])
    ).tolist() == [[0, 0]]


def test_nan_to_mask_by_hand():
    out = make("nan_to_mask", COUNTS).forward(np.array([[np.nan, 3.0], [2.0, np.nan]]))
    assert out.tolist() == [[0, 3, 0, 1], [2, 0, 1, 0]]


def test_drop_constant_leaves_out_what_never_changes_and_puts_it_back():
    x = np.column_stack([np.full(5, 3.0), np.arange(5.0), np.full(5, -1.0)])
    transform = make("drop_constant", x)
    assert np.array_equal(transform.forward(x), x[:, 1:2])
    assert np.array_equal(transform.inverse(transform.forward(x)), x)
    assert np.array_equal(make("drop_constant", x[:, :1]).forward(x[:, :1]), x[:, :1])


def test_heavy_tails_tames_cauchy_and_leaves_normal_and_laplace():
    rng = np.random.default_rng(1)
    x = np.column_stack(
        [rng.standard_normal(4000), rng.laplace(size=4000), rng.standard_cauchy(4000)]
    )
    tamed = make("heavy_tails", x).forward(x)
    assert np.array_equal(tamed[:, :2], x[:, :2])
    assert np.array_equal(np.argsort(tamed[:, 2]), np.argsort(x[:, 2]))
    assert np.abs(tamed[:, 2]).max() < 12 < np.abs(x[:, 2]).max()


def test_box_cox_takes_counts_with_zeros_where_asked_to():
    counts = np.random.default_rng(2).negative_binomial(1, 0.02, (3000, 1)).astype(float)
    assert counts.min() == 0
    assert np.array_equal(make("box_cox", counts).forward(counts), counts)
    transform = make("box_cox", counts, zeros=True)
    z = transform.forward(counts)
    assert abs(skew(z[:, 0])) < 0.4 < skew(counts[:, 0])
    assert np.allclose(transform.inverse(z), counts)
