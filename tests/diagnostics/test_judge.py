"""Holm and the table of verdicts."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from sbiwb.contracts import DiagnosticResult
from sbiwb.diagnostics import recovery, sbc
from sbiwb.diagnostics._judge import holm, judge, overall, to_json
from sbiwb.evidence import Value


@dataclass(frozen=True)
class Result(DiagnosticResult):
    values: tuple[Value, ...]


def outcome(p: float, effect: float) -> Result:
    return Result(
        (
            Value(
                "sbc_log_gamma",
                "beta",
                -1.0,
                p=p,
                effect=effect,
                effect_interval=(0.0, effect),
                reason="too narrow",
            ),
        )
    )


def test_holm_by_hand():
    assert holm([]) == []
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("p", "effect", "verdict"),
    [(0.2, 0.5, "pass"), (0.001, 0.02, "warn"), (0.001, 0.03, "warn"), (0.001, 0.031, "fail")],
)
def test_verdict_of_a_calibration_check(p, effect, verdict):
    (judgment,) = judge([("sbc", sbc.Config(), outcome(p, effect))])
    assert (judgment.verdict, judgment.p, judgment.p_adjusted) == (verdict, p, p)
    assert "too narrow" in judgment.reason


def test_holm_runs_over_all_checks_and_each_keeps_its_alpha():
    entries = [(f"sbc {i}", sbc.Config(), outcome(0.03, 0.2)) for i in range(2)]
    assert [judgment.verdict for judgment in judge(entries)] == ["pass", "pass"]
    assert "not rejected among all checks" in judge(entries)[0].reason
    entries[0] = ("sbc 0", sbc.Config(alpha=0.1, tolerance=0.5), entries[0][2])
    assert [judgment.verdict for judgment in judge(entries)] == ["warn", "pass"]


def test_descriptive_numbers_never_fail():
    result = Result(
        (
            Value("x", "a", 1.0, warning="unidentified", reason="below 0.1"),
            Value("x", "b", 99.0),
            Value("x", "c", None),
        )
    )
    judgments = judge([("recovery", recovery.Config(), result)])
    assert [judgment.verdict for judgment in judgments] == ["warn", "info", "info"]
    assert judgments[0].reason == "unidentified: below 0.1"


def test_a_calibration_number_that_is_missing_warns():
    judgments = judge(
        [
            (
                "sbc",
                sbc.Config(),
                Result((Value("sbc_log_gamma", "beta", None, reason="not finite"),)),
            )
        ]
    )
    assert judgments[0].verdict == "warn" and overall(judgments).verdict == "warn"


def test_summary_names_the_worst():
    judgments = judge(
        [("sbc", sbc.Config(), outcome(1e-4, 0.1)), ("coverage", sbc.Config(), outcome(1e-4, 0.3))]
    )
    assert overall(judgments).summary == "2 numbers fail, above all: coverage of beta, too narrow."
    assert (
        overall(judge([("sbc", sbc.Config(), outcome(0.5, 0.1))])).summary
        == "All 1 calibration tests pass."
    )
    assert overall([]).verdict == "info"


def test_json_has_no_nan():
    result = Result(
        (Value("x", "a", float("nan")), Value("x", "b", 1.0, p=float("nan"), effect=float("inf")))
    )
    told = to_json(judge([("sbc", sbc.Config(), result)]))
    assert told["format"] == 1 and json.loads(json.dumps(told, allow_nan=False)) == told
    assert (
        told["values"][0]["value"] is None and told["values"][0]["reason"] == "not a finite number"
    )
