"""What a reference method found of all data sets: what its chains say of themselves, and their
pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb import references
from sbiwb.contracts import Reference, ReferencePart
from sbiwb.files import finite
from sbiwb.project.observe import DataSets
from sbiwb.report.saving import put_picture

MAX_TRACES = 4  # data sets whose chains are drawn


@dataclass(frozen=True)
class ExactDraws:
    """What a method found of N data sets.

    Args:
        method: The method.
        data: The data sets.
        results: Of each.
        folder: Where to write.
        seed: Root of its random numbers.
        seconds: Wall time.
    """

    method: ReferencePart
    data: DataSets
    results: Sequence[Reference]
    folder: Path
    seed: int
    seconds: float


@dataclass(frozen=True)
class JudgedChains:
    """What the chains of all data sets say about themselves.

    Args:
        rows: For method.json, a data set each.
        facts: Numbers of each data set, the worst R-hat and the least effective sample size too.
        warnings: Reasons not to take the draws for the posterior.
    """

    rows: list[dict[str, object]]
    facts: dict[str, dict[str, float]]
    warnings: list[str]


def judge_chains(exact: ExactDraws, columns: Sequence[str]) -> JudgedChains:
    """R-hat and effective draws of each data set, and every reason not to trust them."""
    judged = JudgedChains([], {}, [])
    for label, result in zip(exact.data.labels, exact.results, strict=True):
        chains = references.judge(result, columns)
        row: dict[str, object] = {"data_set": label, "facts": finite(result.facts)}
        facts = dict(result.facts)
        if chains.rhat is not None and chains.ess is not None:
            row["rhat"] = _by_column(columns, chains.rhat)
            row["ess"] = _by_column(columns, chains.ess)
            facts["worst rhat"] = float(chains.rhat.max())
            facts["worst ess"] = float(chains.ess.min())
        judged.rows.append({**row, "warnings": list(chains.warnings)})
        judged.facts[label] = facts
        prefix = f"{label}: " if len(exact.data) > 1 else ""
        judged.warnings.extend(prefix + sentence for sentence in chains.warnings)
    return judged


def _by_column(columns: Sequence[str], values: np.ndarray) -> dict[str, object]:
    """Numbers (D,) by column, those that are not finite as None."""
    return finite(dict(zip(columns, map(float, values), strict=True)))


def draw_method(exact: ExactDraws, columns: Sequence[str]) -> None:
    """Chains and curves of the first data sets."""
    for old in (*exact.folder.glob("trace*.??g"), *exact.folder.glob("curves*.??g")):
        old.unlink()
    for which, result in enumerate(exact.results[:MAX_TRACES]):
        end = f"-{which}" if len(exact.data) > 1 else ""
        if result.chains:
            put_picture(exact.folder / f"trace{end}", references.plot_trace(result, columns))
        if result.curves:
            put_picture(exact.folder / f"curves{end}", references.plot_curves(result))
