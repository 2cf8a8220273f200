"""What is usual at simulated pairs that no training saw, measured once for the weights of a run."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from sbiwb.contracts import OutputKind, Reporter
from sbiwb.files import put
from sbiwb.posterior import Posterior
from sbiwb.records import Columns, Pairs
from sbiwb.seeds import generator
from sbiwb.steps.trust.conformal import Calibrated, Shown
from sbiwb.steps.trust.disagreement import divergences

MAX_PAIRS = {"validation": 1_000, "test": 2_000}
DRAWS, DENSITIES = 400, 50  # of each data set, and those at which log q is asked for
DISAGREEING_PAIRS, DISAGREEING_DRAWS = 300, 50  # the latter of each network
PAIRS_AT_ONCE = 100


@dataclass(frozen=True)
class Measured:
    """Posteriors of the pairs of one split.

    Args:
        quantiles: (N, 3, D).
        log_q: Mean log q over draws, (N,).
        scores: Of each column and of the density, (N, D + 1).
    """

    quantiles: np.ndarray
    log_q: np.ndarray
    scores: np.ndarray

    @property
    def shown(self) -> Shown:
        return Shown(self.quantiles, self.log_q)


@dataclass(frozen=True)
class Baseline:
    """Simulated pairs as the posterior shows them.

    Args:
        weights: Hash of the weights.
        validation: By which groups are found.
        test: By which intervals are calibrated.
        divergences: J of test pairs; empty where there is one network.
    """

    weights: str
    validation: Measured
    test: Measured
    divergences: np.ndarray

    @property
    def calibrated(self) -> Calibrated:
        """Limits of the scores, by group."""
        return Calibrated.of(
            (self.validation.shown, self.validation.scores), (self.test.shown, self.test.scores)
        )

    def write(self, path: Path) -> None:
        """One NPZ."""
        arrays = {"weights": np.array(self.weights), "divergences": self.divergences}
        for split in ("validation", "test"):
            for name, values in vars(getattr(self, split)).items():
                arrays[f"{split}_{name}"] = values
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        put(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path, weights: str) -> Baseline | None:
        """The one on disk; None where there is none of these weights."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                if str(arrays["weights"]) != weights:
                    return None
                splits = {
                    split: Measured(
                        *(arrays[f"{split}_{name}"] for name in ("quantiles", "log_q", "scores"))
                    )
                    for split in ("validation", "test")
                }
                return cls(weights, splits["validation"], splits["test"], arrays["divergences"])
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error):
            return None


def measured_baseline(
    posterior: Posterior,
    validation: tuple[Pairs, np.ndarray],
    test: tuple[Pairs, np.ndarray],
    weights: str,
    seed: int,
    reporter: Reporter,
) -> Baseline:
    """Measures the pairs.

    Args:
        posterior: Of the run.
        validation: Pairs, and their theta (N, D).
        test: The same.
        weights: Their hash.
        seed: Root of the draws.
        reporter: Where progress goes.
    """
    total = len(validation[0]) + len(test[0])
    with reporter.task("what is usual at simulated pairs", total, unit="pairs") as ticker:
        splits = []
        for place, (pairs, theta) in enumerate((validation, test)):
            parts = []
            for rows in _blocks(len(pairs)):
                rng = generator(seed, "baseline", place, int(rows[0]))
                parts.append(_measured(posterior, pairs.take(rows), theta[rows], rng))
                ticker.advance(len(rows))
            splits.append(_joined(parts))
    by_validation, by_test = splits
    first = test[0].take(np.arange(min(DISAGREEING_PAIRS, len(test[0]))))
    rng = generator(seed, "baseline", 2)
    apart = disagreement(posterior, first.variables, rng)
    return Baseline(weights, by_validation, by_test, apart)


def _blocks(count: int) -> Iterator[np.ndarray]:
    for start in range(0, count, PAIRS_AT_ONCE):
        yield np.arange(start, min(start + PAIRS_AT_ONCE, count))


def _measured(
    posterior: Posterior, pairs: Pairs, theta: np.ndarray, rng: np.random.Generator
) -> Measured:
    draws = posterior.sample(pairs.variables, DRAWS, rng)
    shown = shown_by(posterior, pairs.variables, draws)
    log_q = np.full(len(theta), np.nan)
    if posterior.output_kind == OutputKind.JOINT:
        log_q = posterior.log_prob(theta, pairs.variables)
    return Measured(shown.quantiles, shown.log_q, shown.scores(theta, log_q))


def _joined(parts: list[Measured]) -> Measured:
    names = ("quantiles", "log_q", "scores")
    return Measured(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def shown_by(posterior: Posterior, x: Columns, draws: np.ndarray) -> Shown:
    """What the posteriors of N data sets look like, by the first `DRAWS` of their draws (N, S,
    D)."""
    some = draws[:, :DRAWS]
    log_q = np.full((len(some), 1), np.nan)
    if posterior.output_kind == OutputKind.JOINT:
        log_q = posterior.log_prob(some[:, :DENSITIES], x)
    return Shown.of(some, log_q)


def disagreement(posterior: Posterior, x: Columns, rng: np.random.Generator) -> np.ndarray:
    """J of each of N data sets, in nats, (N,); empty where there is one network, or no density."""
    if len(posterior.networks) == 1 or posterior.output_kind != OutputKind.JOINT:
        return np.empty(0)
    drawn = posterior.sample_each(x, DISAGREEING_DRAWS, rng)
    log_q = np.array([posterior.log_prob_each(draws, x) for draws in drawn])
    return divergences(log_q, np.asarray(posterior.shares))
