"""Verdicts over all checks of a run together: Holm over the calibration checks, named warnings of the descriptive ones.

    calibration   pass    not rejected, after Holm over all p-values, at the alpha of its check
                  warn    rejected, effect within the tolerance; or no number could be had
                  fail    rejected, and effect beyond the tolerance
    descriptive   warn    a named warning holds
                  info    otherwise; a descriptive number never fails

A pure test would fail every learned network once N is large, hence the tolerance.

References:
    Holm 1979, A simple sequentially rejective multiple test procedure, https://www.jstor.org/stable/4615733.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from sbiwb.contracts import DiagnosticPart, DiagnosticResult
from sbiwb.evidence import Value

Verdict = Literal["pass", "warn", "fail", "info"]
SEVERITY: dict[str, int] = {"info": 0, "pass": 1, "warn": 2, "fail": 3}
FORMAT = 1
STRATUM = " | "  # between the name of a check and the stratum it judged


@dataclass(frozen=True)
class Judgment:
    """One number with its verdict.

    Args:
        check: Which check, as named in the run (`sbc`, or `sbc | n_trials 10 to 50` for a stratum).
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


def judge(results: Sequence[tuple[str, DiagnosticPart, DiagnosticResult]]) -> list[Judgment]:
    """Judges all values of all checks together.

    Args:
        results: (name of the check, its options, its result), every stratum an entry of its own.

    Returns:
        A judgment per value, in their order.
    """
    entries = [
        (check, config, value, _definition(result, value))
        for check, config, result in results
        for value in result.values
    ]
    with_p = [at for at, entry in enumerate(entries) if _usable(entry[2].p)]
    adjusted = dict(zip(with_p, holm([entries[at][2].p for at in with_p]), strict=True))
    return [_judgment(*entry, adjusted.get(at)) for at, entry in enumerate(entries)]


def _usable(p: float | None) -> bool:
    return p is not None and math.isfinite(p)


def _definition(result: DiagnosticResult, value: Value) -> str:
    return result.definitions.get(value.name, "")


def holm(p_values: Sequence[float | None]) -> list[float]:
    """Adjusted p-values: rejecting those at or below alpha makes any false alarm at most that probable.

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


def _judgment(
    check: str, config: DiagnosticPart, value: Value, definition: str, p_adjusted: float | None
) -> Judgment:
    verdict, reason = _verdict(config, value, p_adjusted)
    return Judgment(
        check,
        value.name,
        value.parameter,
        value.value,
        value.effect,
        value.effect_interval,
        value.p,
        p_adjusted,
        verdict,
        reason,
        definition,
    )


def _verdict(config: DiagnosticPart, value: Value, p_adjusted: float | None) -> tuple[Verdict, str]:
    if p_adjusted is not None:
        return _calibrated(config, value, p_adjusted)
    if value.warning is not None:
        return "warn", f"{value.warning}: {value.reason}" if value.reason else value.warning
    unjudged = hasattr(config, "alpha") and not _usable(value.value)
    return "warn" if unjudged else "info", value.reason


def _calibrated(config: DiagnosticPart, value: Value, p_adjusted: float) -> tuple[Verdict, str]:
    alpha, tolerance = config.level.alpha, config.level.tolerance
    if p_adjusted > alpha:
        alone = value.p is not None and value.p <= alpha
        return (
            "pass",
            f"{value.reason} (p = {value.p:.2g} alone, not rejected among all checks)"
            if alone
            else value.reason,
        )
    if value.effect is not None and value.effect <= tolerance:
        return (
            "warn",
            f"{value.reason}; small: off by {value.effect:.3f}, within the tolerance of {tolerance:g}",
        )
    return "fail", value.reason


@dataclass(frozen=True)
class Overall:
    """The worst verdict and one sentence."""

    verdict: Verdict
    summary: str


def overall(judgments: Sequence[Judgment]) -> Overall:
    """The verdict over everything, and a sentence that names the worst."""
    worst: Verdict = max(
        (judgment.verdict for judgment in judgments), key=SEVERITY.__getitem__, default="info"
    )
    tests = sum(judgment.p_adjusted is not None for judgment in judgments)
    if worst in ("info", "pass"):
        return Overall(
            worst,
            f"All {tests} calibration tests pass."
            if tests
            else "Nothing was tested for calibration.",
        )
    found = sorted(
        (judgment for judgment in judgments if judgment.verdict == worst),
        key=lambda judgment: -(judgment.effect or 0),
    )
    first = found[0]
    count = f"1 number {worst}s" if len(found) == 1 else f"{len(found)} numbers {worst}, above all"
    check, _, stratum = first.check.partition(STRATUM)
    where = f" ({stratum})" if stratum else ""
    return Overall(
        worst,
        f"{count}: {check} of {first.parameter}{where}, {first.reason.partition(':')[0] if first.p else first.reason}.",
    )


def to_json(judgments: Sequence[Judgment]) -> dict[str, Any]:
    """Plain dictionaries for `numbers.json`: no NaN, no infinity; null comes with its reason."""
    found = overall(judgments)
    definitions = {
        judgment.name: judgment.definition for judgment in judgments if judgment.definition
    }
    values = [_entry(judgment) for judgment in judgments]
    return {
        "format": FORMAT,
        "verdict": found.verdict,
        "summary": found.summary,
        "definitions": definitions,
        "values": values,
    }


def _entry(judgment: Judgment) -> dict[str, Any]:
    entry = {name: _plain(item) for name, item in asdict(judgment).items() if name != "definition"}
    if entry["value"] is None and not entry["reason"]:
        entry["reason"] = "not a finite number"
    return entry


def _plain(item: Any) -> Any:
    if isinstance(item, tuple | list):
        return [_plain(part) for part in item]
    if isinstance(item, float | np.floating | np.integer):
        return (
            item.item()
            if isinstance(item, np.integer)
            else (float(item) if math.isfinite(item) else None)
        )
    return item
