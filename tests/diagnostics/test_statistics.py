"""Data sets as numbers, against numpy one data set at a time; and tails."""

from __future__ import annotations

import numpy as np
import pytest

from sbiwb.diagnostics import _statistics, misspecification, prior_predictive, statistics
from sbiwb.diagnostics._statistics import tail
from sbiwb.evidence import FeatureSpace, Summaries
from sbiwb.records import Ragged


def by_hand(data: np.ndarray) -> list[float]:
    """The eight statistics of one data set of one channel (M,)."""
    centred = data - data.mean()
    correlation = (centred[1:] @ centred[:-1]) / (centred @ centred)
    return [
        data.mean(),
        data.std(),
        *np.quantile(data, [0.05, 0.5, 0.95]),
        data.min(),
        data.max(),
        correlation,
    ]


def ragged(seed: int, lengths: tuple[int, ...], *item: int) -> Ragged:
    rng = np.random.default_rng(seed)
    return Ragged.of([rng.gamma(2.0, 1.0, (length, *item)) for length in lengths])


def test_few_numbers_are_statistics_themselves():
    rng = np.random.default_rng(0)
    x = {
        "hits": rng.integers(0, 9, 5),
        "in_bed": rng.integers(0, 9, (5, 3)),
        "grid": rng.standard_normal((5, 2, 2)),
    }
    names, values = statistics(x)
    assert (
        names[:5] == ("hits", "in_bed[0]", "in_bed[1]", "in_bed[2]", "grid[0,0]")
        and names[-1] == "grid[1,1]"
    )
    np.testing.assert_array_equal(
        values, np.column_stack([x["hits"], x["in_bed"], x["grid"].reshape(5, 4)])
    )
    assert values.dtype == float


@pytest.mark.parametrize("block", [1, 4_000_000])
def test_ragged_sets_agree_with_numpy(monkeypatch, block):
    monkeypatch.setattr(_statistics, "MAX_NUMBERS", block)
    data = ragged(1, (5, 2, 30), 2)
    names, values = statistics({"rt": data})
    assert names[0] == "mean rt[0]" and names[8] == "mean rt[1]" and names[-1] == "number of rt"
    expected = [
        [*by_hand(data[row][:, 0]), *by_hand(data[row][:, 1]), len(data[row])] for row in range(3)
    ]
    np.testing.assert_allclose(values, expected)


def test_long_series_are_described_like_sets_but_for_the_number():
    series = np.random.default_rng(2).standard_normal((4, 40))
    names, values = statistics({"signal": series})
    assert len(names) == 8 and names[1] == "sd signal"
    np.testing.assert_allclose(values, [by_hand(row) for row in series])


def test_pictures_are_described_as_a_whole():
    pictures = np.random.default_rng(3).standard_normal((3, 16, 16))
    names, values = statistics({"picture": pictures})
    assert len(names) == 8
    np.testing.assert_allclose(
        values[:, :2], [[picture.mean(), picture.std()] for picture in pictures]
    )


@pytest.mark.parametrize(
    ("data", "mean", "sd"),
    [
        ([7.0] * 5, 7.0, 0.0),
        ([7.0], 7.0, 0.0),
        ([], 0.0, 0.0),
        ([0.1] * 3, 0.1, 0.0),
        ([1e200, 3e200], 2e200, 1e200),
    ],
)
def test_valid_data_never_give_nan(data, mean, sd):
    values = statistics({"rt": Ragged.of([np.array(data), np.arange(3.0)])})[1][0]
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values[:2], [mean, sd], rtol=1e-12)
    assert values[-1] == len(data) and (sd > 0 or values[7] == 0.0)


def test_nothing_at_all():
    assert statistics({})[0] == ()
    assert statistics({"rt": Ragged(np.zeros(0), np.zeros(1, np.int64))})[1].shape == (0, 9)
    assert statistics({"in_bed": np.zeros((0, 14))})[1].shape == (0, 14)


def test_order_matters_to_the_correlation_alone():
    data = np.random.default_rng(4).standard_normal((1, 50))
    first, second = statistics({"a": data})[1][0], statistics({"a": np.sort(data)})[1][0]
    np.testing.assert_allclose(first[:7], second[:7])
    assert second[7] > 0.8 > first[7]


@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "standard_exponential"])
@pytest.mark.parametrize("n", [60, 200, 1000])
def test_tail_is_a_p_value(draw, n):
    rng = np.random.default_rng(5)
    p = np.concatenate([tail(getattr(rng, draw)(n), getattr(rng, draw)(20)) for _ in range(400)])
    for level in (0.1, 0.01, 0.001):
        assert np.mean(p <= level) <= level + 4 * np.sqrt(level / len(p))
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.05)


def test_tail_falls_like_the_power_law_it_is_and_never_to_zero():
    rng, far = np.random.default_rng(6), np.array([1e3, 1e4, 1e300])
    found = np.stack(
        [tail((1 + rng.pareto(2.0, 1000)) * rng.choice([-1, 1], 1000), far) for _ in range(100)]
    )
    np.testing.assert_allclose(np.log10(found).mean(axis=0)[:2], np.log10([5e-7, 5e-9]), atol=0.4)
    assert found[:, 2].min() > 0 and found[:, 2].max() < 1e-30
    assert tail(np.ones(100), np.array([1.0, 2.0])).tolist() == [1.0, 1 / 101]
    assert tail(np.zeros(0), np.array([1.0])).tolist() == [1.0]


# missing values


def test_missing_values_are_left_out_and_counted():
    rng = np.random.default_rng(7)
    data = ragged(8, (6, 9, 40), 2)
    gaps = Ragged(np.where(rng.random(data.values.shape) < 0.3, np.nan, data.values), data.offsets)
    names, values = statistics({"rt": gaps}, missing=["rt"])
    assert (
        names[-2:] == ("missing rt", "number of rt")
        and names[:8] == statistics({"rt": data})[0][:8]
    )
    for row in range(3):
        for channel in range(2):
            known = gaps[row][:, channel][~np.isnan(gaps[row][:, channel])]
            np.testing.assert_allclose(
                values[row, 8 * channel : 8 * channel + 7], by_hand(known)[:7]
            )
        assert values[row, -2] == pytest.approx(np.isnan(gaps[row]).mean()) and values[
            row, -1
        ] == len(gaps[row])


def test_neighbours_count_where_both_are_known():
    known = np.array([1.0, 3.0, np.nan, 2.0, 6.0])
    centred = known - np.nanmean(known)
    expected = (centred[0] * centred[1] + centred[3] * centred[4]) / np.nansum(centred**2)
    names, values = statistics({"y": known[None]}, missing=["y"])
    assert values[0, names.index("lag-1 autocorrelation y")] == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 40), (4, 6, 2), (4, 5, 6)])
def test_which_statistics_there_are_does_not_depend_on_the_gaps(shape):
    whole = np.random.default_rng(9).standard_normal(shape)
    gaps = whole.copy()
    gaps[0], gaps[1, ...] = (
        np.nan,
        np.where(np.random.default_rng(10).random(shape[1:]) < 0.5, np.nan, gaps[1]),
    )
    names, values = statistics({"y": whole}, missing={"y"})
    gap_names, gap_values = statistics({"y": gaps}, missing={"y"})
    assert names == gap_names and names[-1] == "missing y" and np.isfinite(gap_values).all()
    np.testing.assert_allclose(gap_values[2:], values[2:])
    assert (
        gap_values[0].tolist() == [0.0] * (len(names) - 1) + [1.0]
        and values[:, -1].tolist() == [0.0] * 4
    )


def test_nothing_missing_among_nothing():
    assert statistics({"y": np.zeros((0, 5))}, missing=["y"])[1].shape == (0, 9)
    empty = Ragged.of([np.zeros(0), np.ones(2)])
    assert statistics({"y": empty}, missing=["y"])[1][:, -2:].tolist() == [[0, 0], [0, 2]]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_checks_of_data_with_gaps_can_be_made(share):
    """Constant statistics, and data sets without a single value, are no obstacle."""
    rng = np.random.default_rng(11)
    y = rng.standard_normal((400, 6))
    y = np.where(rng.random(y.shape) < share, np.nan, y)
    names, values = statistics({"y": y}, missing=["y"])
    space = FeatureSpace(names, values[:250], values[250:390], values[390:])
    summaries = Summaries(tuple(map(str, range(10))), ("all",) * 10, {"statistics": space})
    for check in (misspecification, prior_predictive):
        found = check.compute(summaries, check.Config()).values
        alone = [value for value in found if value.value is not None and value.parameter != "all"]
        assert len(alone) == 10 and not any(value.warning for value in alone)
