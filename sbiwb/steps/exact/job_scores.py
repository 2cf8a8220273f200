"""What the draws of a benchmark's job are scored by: C2ST, and further numbers on the same draws;
those that an earlier score holds are not computed again.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sbiwb import distances
from sbiwb.config import BenchmarkConfig
from sbiwb.report import Score
from sbiwb.steps.exact.grid import C2ST_SEED
from sbiwb.steps.exact.reference_posteriors import ReferenceSet

C2ST, FOREST = "c2st", "c2st_forest"
Pairs = Sequence[tuple[np.ndarray, np.ndarray]]
Scorer = Callable[[Pairs], Sequence[float]]


@dataclass(frozen=True)
class JobScores:
    """Scores of a job.

    Args:
        c2st: On each observation.
        further: Others by name, on each observation.
        seconds: Wall time by name, for all observations.
    """

    c2st: list[float]
    further: dict[str, list[float]]
    seconds: dict[str, float]


def wanted(config: BenchmarkConfig) -> tuple[str, ...]:
    """Names of the scores that are asked for; not the forest's where scikit-learn is missing."""
    names = [C2ST, *config.scores]
    if left_out(config):
        names.remove(FOREST)
    return tuple(names)


def left_out(config: BenchmarkConfig) -> str:
    """Which score is left out and what brings it, in words; empty where none is."""
    if FOREST not in config.scores or importlib.util.find_spec("sklearn") is not None:
        return ""
    return (
        "C2ST by a random forest, as papers since 2024 report it, is left out: it needs "
        'pip install "sbiwb[benchmark]".'
    )


def lacking(config: BenchmarkConfig, score: Score) -> list[str]:
    """Names of the scores that are asked for and not there."""
    return [name for name in wanted(config) if name != C2ST and name not in score.further]


def pairs_of(sets: Sequence[ReferenceSet], draws: np.ndarray, most: int) -> Pairs:
    """Reference draws and ours of each observation, equally many of both.

    Args:
        sets: Of N observations.
        draws: Ours, (N, S, D).
        most: Draws at most.
    """
    count = min(most, *(len(reference.draws) for reference in sets))
    both = zip(sets, draws, strict=True)
    return [(reference.draws[:count], own[:count]) for reference, own in both]


def judge(pairs: Pairs, names: Sequence[str], before: Score | None) -> JobScores:
    """All scores of these names.

    Args:
        pairs: A reference (S, D) and draws (S, D) for each observation.
        names: Of `wanted`.
        before: Scores of the same draws.

    Raises:
        ValueError: Samples that cannot be compared.
    """
    scores, seconds = _known(before)
    for name in names:
        if name not in scores:
            start = time.perf_counter()
            scores[name] = [float(score) for score in SCORERS[name](pairs)]
            seconds[name] = time.perf_counter() - start
    return JobScores(scores.pop(C2ST), scores, seconds)


def mean_seconds(scores: Sequence[Score]) -> dict[str, float]:
    """Wall time of each score by name, mean over jobs."""
    taken: dict[str, list[float]] = {}
    for score in scores:
        for name in (C2ST, *score.further):
            if name in score.seconds:
                taken.setdefault(name, []).append(score.seconds[name])
    return {name: float(np.mean(seconds)) for name, seconds in taken.items()}


def _known(before: Score | None) -> tuple[dict[str, list[float]], dict[str, float]]:
    """What an earlier score holds, and the seconds that it took."""
    if before is None:
        return {}, {}
    scores = {C2ST: list(before.c2st)}
    for name, values in before.further.items():
        scores[name] = list(values)
    return scores, {name: before.seconds[name] for name in scores if name in before.seconds}


def _each(score: Callable[..., float]) -> Scorer:
    """A score of one pair, for all."""
    return lambda pairs: [score(*pair, seed=C2ST_SEED) for pair in pairs]


SCORERS: dict[str, Scorer] = {
    C2ST: lambda pairs: distances.c2st_many(pairs, seed=C2ST_SEED).tolist(),
    FOREST: _each(distances.c2st_forest),
    "c2st_marginals": _each(distances.c2st_marginals),
    "c2st_dependence": _each(distances.c2st_dependence),
    "pqmass": _each(distances.pqmass),
}
