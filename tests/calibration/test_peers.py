"""The comparison with other packages, without them: their documented formulas stand in where these
are short."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.contenders import requirements
from tests.calibration.comparisons import (
    ALARM_DRAWS,
    COMPARISONS,
    EXACTLY,
    ROUNDING,
    N,
    Row,
    S,
    Shared,
    of_coverage,
    of_tarp,
    with_arviz,
)
from tests.calibration.peers import HERE, OURS, SCRIPTS, agreement, false_alarms, own_alarms, wanted


@pytest.fixture(scope="module")
def shared():
    return Shared.make()


@pytest.fixture(scope="module")
def arrays(shared):
    return shared.arrays()


def test_tarp_by_the_histogram_of_the_tarp_package(shared, arrays):
    references, theta, draws = arrays["references"], arrays["theta"], arrays["draws"]
    distance = np.sqrt(((draws - references[:, None]) ** 2).sum(axis=2))
    share = (distance < np.sqrt(((theta - references) ** 2).sum(axis=1))[:, None]).mean(axis=1)
    height, levels = np.histogram(share, bins=N // 10, density=True)
    curve = np.r_[0, np.cumsum(height) * (levels[1] - levels[0])]
    (row,) = of_tarp(shared, {"tarp_ecp": curve, "tarp_alpha": levels})
    assert row.equal
    assert np.abs(row.ours - row.theirs).max() < 0.03  # another grid, the same curve


def test_coverage_by_the_formulas_of_bayesflow(shared, arrays):
    draws, theta = arrays["draws"], arrays["theta"]
    levels = np.linspace(0.005, 0.995, 20)
    low, high = np.quantile(draws, [(1 - levels) / 2, 1 - (1 - levels) / 2], axis=1)
    error = np.median(
        np.abs(((low <= theta) & (high >= theta)).mean(axis=1) - levels[:, None]), axis=0
    )
    widths, ordered = arrays["widths"], np.sort(draws, axis=1)
    covered = np.rint((S + 1) * widths).astype(int)
    first = np.rint(S / 2 - covered / 2).astype(int)
    inside = [
        ((theta >= ordered[:, a]) & (theta <= ordered[:, a + n - 1])).mean(axis=0)
        for a, n in zip(first, covered, strict=True)
    ]
    answer = {
        "calibration_error": error,
        "coverage": np.array(inside),
        "coverage_width": covered / (S + 1),
    }
    rows = list(of_coverage(shared, answer))
    assert [row.equal for row in rows] == [True, True, True]
    np.testing.assert_allclose(rows[0].ours, error, atol=0.01)


def test_pit_by_the_formula_of_arviz(shared, arrays):
    draws, theta = arrays["draws"][..., 0], arrays["theta"][:, 0]
    points, answer = np.arange(1, N) / N, {}
    for name, pit in (
        ("pit", (draws <= theta[:, None]).mean(1)),
        ("coverage", 2 * np.abs((draws <= theta[:, None]).mean(1) - 0.5)),
    ):
        answer |= {f"{name}_points": points, f"{name}_ecdf": (pit <= points[:, None]).mean(axis=1)}
    answer["eti"] = np.moveaxis(np.quantile(arrays["draws"], [0.025, 0.975], axis=1), 0, -1)
    assert [row.equal for row in with_arviz(shared, answer)] == [True, True, True]


def test_a_difference_is_told():
    ours = np.array([1.0, 2.0])
    row = Row("mean", ours, ours + 1e-3, ROUNDING)
    assert not row.equal and "**differs**" in row.line("someone")
    assert not Row("mean", ours, ours[:1], ROUNDING).equal
    assert not Row("mean", ours, np.array([1.0, np.nan]), ROUNDING).equal
    other = Row("mean", ours, ours * 2, EXACTLY, "twice, there", ours * 2)
    assert (
        other.equal
        and other.line("someone") == "| mean | someone | 1, 2 | 2, 4 | 0 | twice, there |"
    )


def test_our_test_keeps_its_level_on_the_shared_ranks(arrays):
    alarms = own_alarms({"exact_100": arrays["exact_100"], "theta": arrays["theta"]})
    assert set(alarms) == {"100"} and 0.015 < alarms["100"][OURS] < 0.09
    lines = list(false_alarms({"": dict.fromkeys(map(str, ALARM_DRAWS), alarms["100"])}))
    assert lines[-2].startswith("| sbiwb: sbc | ") and lines[-2].count("|") == 2 + len(ALARM_DRAWS)


def test_every_peer_has_a_script_and_pinned_requirements(shared):
    assert set(SCRIPTS) == set(COMPARISONS)
    for environment, script in SCRIPTS.values():
        assert (HERE / script).is_file()
        assert "==" in (requirements().get(environment) or wanted(environment))[0]
    assert next(agreement({"sbi": []})).count("|") == 7
