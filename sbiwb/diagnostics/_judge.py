"""Verdicts over all checks of a run together.

Holm over the calibration checks, named warnings of the descriptive ones:

    calibration   pass    not rejected, after Holm over all p-values, at the alpha of its check
                  warn    rejected, effect within the tolerance; or no number could be had
                  fail    rejected, and effect beyond the tolerance
    descriptive   warn    a named warning holds
                  info    otherwise; a descriptive number never fails

A pure test would fail every learned network once N is large, hence the tolerance.

References:
    Holm 1979, A simple sequentially rejective multiple test procedure,
    https://www.jstor.org/stable/4615733.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from sbiwb.contracts import DiagnosticPart, DiagnosticResult
from sbiwb.evidence import Shape, Value

Verdict = Literal["pass", "warn", "fail", "info"]
SEVERITY: dict[str, int] = {"info": 0, "pass": 1, "warn": 2, "fail": 3}
FORMAT = 1
STRATUM = " | "  # between the name of a check and the stratum it judged
NETWORK = ": "  # between the name of a network that is not the posterior and its check


@dataclass(frozen=True)
class Judgment:
    """One number with its verdict.

    Args:
        check: Which check, as named in the run (`sbc`, or `sbc | n_trials 10 to 50`, or
            `likelihood trials: sbc`).
        name: What was measured.
        parameter: Column of theta, or test quantity.
        value: The number, None where it cannot be had.
        effect: max |ECDF - z| of a calibration check.
        effect_interval: Its 95 % interval.
        p: Before Holm.
        p_adjusted: After Holm over all calibration checks.
        verdict: pass, warn, fail or info.
        reason: In words.
        definition: What `name` means, with its reference.
        kind: Of the check.
        warning: The named rule that holds.
        shapes: What is wrong with the posterior, the strongest first.
    """

    check: str
    name: str
    parameter: str
    value: float | None
    effect: float | None
    effect_interval: tuple[float, float] | None
    p: float | None
    p_adjusted: float | None
    verdict: Verdict
    reason: str
    definition: str = ""
    kind: str = ""
    warning: str | None = None
    shapes: tuple[Shape, ...] = ()

    @property
    def whole_check(self) -> str:
        """The check's name without the stratum."""
        return self.check.partition(STRATUM)[0]

    @property
    def stratum(self) -> str:
        """The stratum's label; empty for all test pairs."""
        return self.check.partition(STRATUM)[2]

    @property
    def network(self) -> str:
        """Which network was judged, such as `likelihood trials`; empty for the run's own."""
        network, separator, _ = self.whole_check.partition(NETWORK)
        return network if separator else ""

    def alone(self) -> Judgment:
        """The same without the network's name."""
        if not self.network:
            return self
        return replace(self, check=self.check.removeprefix(f"{self.network}{NETWORK}"))


@dataclass(frozen=True)
class _Entry:
    """One number of one check, and its p-value over all checks."""

    check: str
    config: DiagnosticPart
    value: Value
    definition: str
    p_adjusted: float | None

    def judgment(self) -> Judgment:
        verdict, reason = _verdict(self.config, self.value, self.p_adjusted)
        return Judgment(
            check=self.check,
            name=self.value.name,
            parameter=self.value.parameter,
            value=self.value.value,
            effect=self.value.effect,
            effect_interval=self.value.effect_interval,
            p=self.value.p,
            p_adjusted=self.p_adjusted,
            verdict=verdict,
            reason=reason,
            definition=self.definition,
            kind=Path(self.config.kind).stem or self.check.partition(STRATUM)[0],
            warning=self.value.warning,
            shapes=self.value.shapes,
        )


def judge(results: Sequence[tuple[str, DiagnosticPart, DiagnosticResult]]) -> list[Judgment]:
    """Judges all values of all checks together.

    Args:
        results: (name of the check, its options, its result), every stratum an entry of its own.

    Returns:
        A judgment per value, in their order.
    """
    values = [value for _, _, result in results for value in result.values]
    adjusted = iter(_adjusted(values))
    judgments = []
    for check, config, result in results:
        for value in result.values:
            definition = result.definitions.get(value.name, "")
            entry = _Entry(check, config, value, definition, next(adjusted))
            judgments.append(entry.judgment())
    return judgments


def _adjusted(values: Sequence[Value]) -> list[float | None]:
    """p-value of each after Holm; None where there is none."""
    tests = [place for place, value in enumerate(values) if _usable(value.p)]
    adjusted: list[float | None] = [None] * len(values)
    for place, p in zip(tests, holm([values[place].p for place in tests]), strict=True):
        adjusted[place] = p
    return adjusted


def _usable(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def holm(p_values: Sequence[float | None]) -> list[float]:
    """Adjusted p-values: rejecting those at or below alpha makes any false alarm that probable.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted.tolist()


def _verdict(config: DiagnosticPart, value: Value, p_adjusted: float | None) -> tuple[Verdict, str]:
    if p_adjusted is not None:
        return _calibrated(config, value, p_adjusted)
    if value.warning is not None:
        return "warn", _warning_reason(value)
    if config.calibrates and not _usable(value.value):
        return "warn", value.reason
    return "info", value.reason


def _warning_reason(value: Value) -> str:
    if value.reason:
        return f"{value.warning}: {value.reason}"
    return str(value.warning)


def _calibrated(config: DiagnosticPart, value: Value, p_adjusted: float) -> tuple[Verdict, str]:
    alpha, tolerance = config.level.alpha, config.level.tolerance
    if p_adjusted > alpha:
        return "pass", _passing_reason(value, alpha)
    if value.effect is not None and value.effect <= tolerance:
        off = f"off by {value.effect:.3f}, within the tolerance of {tolerance:g}"
        return "warn", f"{value.reason}; small: {off}"
    return "fail", value.reason


def _passing_reason(value: Value, alpha: float) -> str:
    if value.p is None or value.p > alpha:
        return value.reason
    return f"{value.reason} (p = {value.p:.2g} alone, not rejected among all checks)"


@dataclass(frozen=True)
class Overall:
    """The worst verdict and one sentence."""

    verdict: Verdict
    summary: str


def overall(judgments: Sequence[Judgment]) -> Overall:
    """The verdict over everything, and a sentence that names the worst."""
    verdict = worst_verdict(judgments)
    if verdict in ("info", "pass"):
        return Overall(verdict, _all_pass(judgments))
    failing = [judgment for judgment in judgments if judgment.verdict == verdict]
    first = max(failing, key=_effect)
    count = f"{len(failing)} numbers {verdict}, above all"
    if len(failing) == 1:
        count = f"1 number {verdict}s"
    return Overall(verdict, f"{count}: {_place(first)}, {_short_reason(first)}.")


def worst_verdict(judgments: Sequence[Judgment]) -> Verdict:
    """The most severe verdict of all; `info` where there is none."""
    verdicts = (judgment.verdict for judgment in judgments)
    return max(verdicts, key=SEVERITY.__getitem__, default="info")


def _all_pass(judgments: Sequence[Judgment]) -> str:
    tests = sum(judgment.p_adjusted is not None for judgment in judgments)
    if tests:
        return f"All {tests} calibration tests pass."
    return "Nothing was tested for calibration."


def _effect(judgment: Judgment) -> float:
    return judgment.effect or 0.0


def _place(judgment: Judgment) -> str:
    place = f"{judgment.whole_check} of {judgment.parameter}"
    if judgment.stratum:
        return f"{place} ({judgment.stratum})"
    return place


def _short_reason(judgment: Judgment) -> str:
    if judgment.p:
        return judgment.reason.partition(":")[0]
    return judgment.reason


def to_json(judgments: Sequence[Judgment]) -> dict[str, object]:
    """Plain dictionaries for `numbers.json`: no NaN, no infinity; null comes with its reason."""
    verdict = overall(judgments)
    definitions = {
        judgment.name: judgment.definition for judgment in judgments if judgment.definition
    }
    return {
        "format": FORMAT,
        "verdict": verdict.verdict,
        "summary": verdict.summary,
        "definitions": definitions,
        "values": [_plain_judgment(judgment) for judgment in judgments],
    }


def _plain_judgment(judgment: Judgment) -> dict[str, object]:
    plain = {name: _plain(field) for name, field in asdict(judgment).items()}
    del plain["definition"]
    if plain["value"] is None and not plain["reason"]:
        plain["reason"] = "not a finite number"
    return plain


def _plain(field: object) -> object:
    """A field as JSON can hold it."""
    if isinstance(field, tuple | list):
        return [_plain(part) for part in field]
    if isinstance(field, np.generic):
        field = field.item()
    if isinstance(field, float) and not math.isfinite(field):
        return None
    return field
