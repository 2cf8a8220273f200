"""One verdict a data set: everything that speaks of it, at one level.

Each part has a p-value that is uniform where posterior and data are as at test pairs. Holm over the
parts of a data set gives it a p-value of its own, the smallest adjusted one, and Benjamini and
Hochberg's rule over all data sets of an observation says which are accused: of one data set it is
accused wrongly with a probability of 5 % at most; of many, 5 % of the accused ones are, on average.

    fail   accused, by a part whose effect is beyond its tolerance, or that has none
    warn   accused by parts with small effects alone; or not accused, but there is a reason without
           a p-value, such as a run that fails its checks on average
    pass   otherwise

References:
    Holm (1979), A simple sequentially rejective multiple test procedure,
        https://www.jstor.org/stable/4615733
    Benjamini & Hochberg (1995), Controlling the False Discovery Rate,
        https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from sbiwb.diagnostics import holm
from sbiwb.files import finite

ALPHA = 0.05  # false alarms of one data set; of many, the share of accused ones that are wrongly so
TrustVerdict = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class TrustPart:
    """One thing that speaks of a data set.

    Args:
        name: Short.
        p: Chance of a number as large where posterior and data are as at test pairs.
        found: What was measured, in half a sentence that accuses of nothing.
        remedy: What to do where it accuses.
        effect: How large the fault is, in units of its own; None where that is not known.
        tolerance: The largest that warns only.
        fault: What is wrong where it accuses; empty where `found` says so.
    """

    name: str
    p: float
    found: str
    remedy: str
    effect: float | None = None
    tolerance: float = 0.0
    fault: str = ""

    @property
    def accusation(self) -> str:
        found = f"{self.fault}: {self.found}" if self.fault else self.found
        return f"{found} (p = {self.p:.2g})"

    @property
    def is_small(self) -> bool:
        return self.effect is not None and self.effect <= self.tolerance


@dataclass(frozen=True)
class Trust:
    """How far the posterior of a data set can be trusted.

    Args:
        data_set: Its label.
        verdict: pass, warn or fail.
        reason: In a sentence.
        remedy: What to do; empty where nothing is wrong.
        p: Smallest p-value of all parts after Holm; 1 where there are none.
        parts: What was asked.
    """

    data_set: str
    verdict: TrustVerdict
    reason: str
    remedy: str
    p: float
    parts: tuple[TrustPart, ...]

    def to_json(self) -> dict[str, object]:
        """For `summary.json`."""
        plain = asdict(self)
        return {**plain, "parts": [finite(asdict(part)) for part in self.parts]}


@dataclass(frozen=True)
class Asked:
    """What is known of a data set.

    Args:
        data_set: Its label.
        parts: With p-values.
        cautions: Reasons not to trust it that have no p-value, each with its remedy.
    """

    data_set: str
    parts: tuple[TrustPart, ...]
    cautions: tuple[tuple[str, str], ...] = ()

    @property
    def adjusted(self) -> list[float]:
        """p-values of the parts after Holm."""
        return holm([part.p for part in self.parts])

    @property
    def p(self) -> float:
        return min(self.adjusted, default=1.0)


def trust(asked: Sequence[Asked]) -> list[Trust]:
    """A verdict for each data set of an observation, in their order."""
    accused = discoveries(np.array([one.p for one in asked]))
    return [_trust(one, bool(guilty)) for one, guilty in zip(asked, accused, strict=True)]


def discoveries(p: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """Which of N p-values Benjamini and Hochberg's rule rejects, (N,).

    Example:
        >>> discoveries(np.array([0.2, 0.01, 0.03])).tolist()
        [False, True, True]
    """
    order = np.argsort(p, kind="stable")
    limits = alpha * np.arange(1, len(p) + 1) / max(1, len(p))
    passed = np.flatnonzero(p[order] <= limits)
    rejected = np.zeros(len(p), bool)
    if len(passed):
        rejected[order[: passed[-1] + 1]] = True
    return rejected


def _trust(asked: Asked, accused: bool) -> Trust:
    parts = asked.parts
    if accused:
        guilty = [part for part, p in zip(parts, asked.adjusted, strict=True) if p <= ALPHA]
        guilty.sort(key=lambda part: (part.is_small, part.p))
        first = guilty[0]
        verdict: TrustVerdict = "warn" if first.is_small else "fail"
        reason = "; ".join(part.accusation for part in guilty)
        return Trust(asked.data_set, verdict, reason, first.remedy, asked.p, parts)
    if asked.cautions:
        reason, remedy = asked.cautions[0]
        return Trust(asked.data_set, "warn", reason, remedy, asked.p, parts)
    names = ", ".join(part.name for part in parts)
    reason = f"nothing speaks against it (asked: {names})"
    return Trust(asked.data_set, "pass", reason, "", asked.p, parts)


def first_to_look_at(results: Sequence[Trust]) -> list[Trust]:
    """Those that do not pass, the worst first."""
    order = {"fail": 0, "warn": 1}
    suspects = [result for result in results if result.verdict in order]
    return sorted(suspects, key=lambda result: (order[result.verdict], result.p))


def trust_attributes(results: Sequence[Trust]) -> dict[str, str]:
    """What the draws' files say of it: the worst verdict, and how many data sets have each."""
    suspects = first_to_look_at(results)
    if not suspects:
        return {"trust": "pass" if results else "unknown", "trust_reason": ""}
    worst = suspects[0]
    which = f"{len(suspects)} of {len(results)} data sets; " if len(results) > 1 else ""
    return {"trust": worst.verdict, "trust_reason": f"{which}{worst.data_set}: {worst.reason}"}
