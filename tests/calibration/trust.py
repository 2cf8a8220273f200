"""`make calibration`, on what is said of one data set: how often the trust verdict accuses an exact
posterior, and a wrong one; and how often conformal intervals hold the truth, as Markdown tables.

    python -m tests.calibration.trust                      2,000 repetitions
    python -m tests.calibration.trust --repetitions 40     few: does it work?
    python -m tests.calibration.trust --out rates.md       also written to a file

The problem is theta ~ N(0, I), x = theta + noise with correlation 0.8 in two dimensions, whose
posterior is known. A posterior that is wrong everywhere, or in the region x_1 > 1 alone, stands for
a network. A verdict speaks of one observation: test pairs are exact but for usual errors of
networks, the observation and the data sets that its posterior predicts have the fault. L-C2ST,
whose classifiers take a quarter of a minute, joins them in `local`. Exits with 1 where a target is
missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: a process a core

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sbiwb.diagnostics import tail
from sbiwb.seeds import generator, place
from sbiwb.steps.joint.consistency import p_values, spreads
from sbiwb.steps.trust.conformal import Calibrated, Shown
from sbiwb.steps.trust.disagreement import divergences
from sbiwb.steps.trust.posterior_sbc import judged, positions
from sbiwb.steps.trust.verdict import Asked, TrustPart, trust
from tests.calibration.tables import LEAST_POWER, MOST_FALSE, head, line, report

ROOT_SEED = 20261130
D, RHO = 2, 0.8
NOISE = np.array([[1.0, RHO], [RHO, 1.0]])
COVARIANCE = np.linalg.inv(np.eye(D) + np.linalg.inv(NOISE))
GAIN = COVARIANCE @ np.linalg.inv(NOISE)
SDS = np.sqrt(np.diag(COVARIANCE))
VALIDATION, TEST, FRESH, DRAWS, DENSITIES = 500, 1_000, 1_000, 500, 100
REPLICATES, PROPOSALS = 200, 300
USUAL_PAIRS, USUAL_DRAWS, MEMBERS, MEMBER_DRAWS = 200, 1_000, 5, 50
STRATA = 8
REGION = 1.0  # x_1 beyond which a regional fault holds
NETWORK_ERROR = 0.1  # of members, in sds, and of a log sd
EACH = ("data", "networks", "self-consistency", "posterior SBC", "whole")
FEWER = {"verdict": 5, "coverage": 20}  # times fewer repetitions of faults, and of coverage


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a posterior.

    Args:
        name: As it stands in the tables.
        scale: Of its sds.
        shift: Of its means, in sds.
        uncorrelated: Whether it leaves out the correlation.
        regional: Whether only where x_1 > 1.
        members: Factor on the errors of an ensemble's members.
        gross: Whether the whole has to find it.
    """

    name: str
    scale: float = 1.0
    shift: float = 0.0
    uncorrelated: bool = False
    regional: bool = False
    members: float = 1.0
    gross: bool = True


EXACT = Wrong("exact", gross=False)
FAULTS = (
    Wrong("sd × 0.5", scale=0.5),
    Wrong("sd × 2", scale=2.0),
    Wrong("mean + 1 sd", shift=1.0),
    Wrong("correlation 0.8 as 0", uncorrelated=True),
    Wrong("networks part 4 times as far", members=4.0),
    Wrong("sd × 0.8", scale=0.8, gross=False),
    Wrong("mean + 0.3 sd", shift=0.3, gross=False),
)
COVERED = (
    EXACT,
    *FAULTS[:4],
    Wrong("sd × 0.5 where x_1 > 1", scale=0.5, regional=True),
    Wrong("mean + 1 sd where x_1 > 1", shift=1.0, regional=True),
)


@dataclass(frozen=True)
class Normals:
    """Posteriors of N data sets, N(mean, covariance).

    Args:
        mean: (N, D).
        root: Lower Cholesky factor of the covariance, (N, D, D).
    """

    mean: np.ndarray
    root: np.ndarray

    def draws(self, count: int, rng: np.random.Generator) -> np.ndarray:
        z = rng.standard_normal((len(self.mean), count, D))
        return self.mean[:, None] + np.einsum("nij,nsj->nsi", self.root, z)

    def log_q(self, theta: np.ndarray) -> np.ndarray:
        """At theta (N, S, D), (N, S)."""
        inverse = np.linalg.inv(self.root)
        z = np.einsum("nij,nsj->nsi", inverse, theta - self.mean[:, None])
        log_root = np.log(np.diagonal(self.root, axis1=1, axis2=2)).sum(1)
        return -0.5 * (z**2).sum(2) - log_root[:, None] - 0.5 * D * np.log(2 * np.pi)


def data_sets(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x of theta (N, D), (N, D)."""
    return theta + rng.standard_normal(theta.shape) @ np.linalg.cholesky(NOISE).T


def shown_as(x: np.ndarray, wrong: Wrong) -> Normals:
    """The posterior of each data set, with what is wrong with it."""
    is_wrong = (x[:, 0] > REGION) if wrong.regional else np.ones(len(x), bool)
    root = np.linalg.cholesky(np.diag(np.diag(COVARIANCE)) if wrong.uncorrelated else COVARIANCE)
    exact = np.linalg.cholesky(COVARIANCE)
    mean = x @ GAIN.T + np.where(is_wrong, wrong.shift, 0.0)[:, None] * SDS
    return Normals(mean, np.where(is_wrong[:, None, None], wrong.scale * root, exact))


def with_errors(normals: Normals, size: float, rng: np.random.Generator) -> Normals:
    """A network that errs by so much at each data set."""
    n = len(normals.mean)
    mean = normals.mean + size * SDS * rng.standard_normal((n, D))
    return Normals(mean, normals.root * np.exp(size * rng.standard_normal(n))[:, None, None])


# ---- Conformal intervals ----


def coverage(wrong: Wrong, repetition: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of fresh data sets whose truth is inside: raw and conformal, (2, 1 + STRATA), the
    first over all; intervals of all columns, and the conformal region, (1 + STRATA,)."""
    rng = generator(ROOT_SEED, "trust", 0, place(wrong.name), repetition)
    (by, scores), calibration, (fresh, _) = (
        _scored(wrong, n, rng) for n in (VALIDATION, TEST, FRESH)
    )
    calibrated = Calibrated.of((by[0], scores), (calibration[0][0], calibration[1]))
    shown, theta, x, log_q = fresh
    conformal = calibrated.intervals(shown)
    raw = np.stack([shown.quantiles[:, 0], shown.quantiles[:, 2]], axis=-1)
    held = [
        ((each[..., 0] <= theta) & (theta <= each[..., 1])).mean(1) for each in (raw, conformal)
    ]
    region = log_q >= calibrated.densities(shown)
    stratum = np.argsort(np.argsort(x[:, 0])) * STRATA // len(x)
    return np.stack([_by_stratum(one, stratum) for one in held]), _by_stratum(region, stratum)


def _scored(
    wrong: Wrong, n: int, rng: np.random.Generator
) -> tuple[tuple[Shown, np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """(what is shown, theta, x, log q of theta) of n pairs, and their scores."""
    theta = rng.standard_normal((n, D))
    x = data_sets(theta, rng)
    normals = shown_as(x, wrong)
    draws = normals.draws(DRAWS, rng)
    shown = Shown.of(draws, normals.log_q(draws[:, :DENSITIES]))
    log_q = normals.log_q(theta[:, None])[:, 0]
    return (shown, theta, x, log_q), shown.scores(theta, log_q)


def _by_stratum(held: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    return np.array([held.mean(), *(held[stratum == k].mean() for k in range(STRATA))])


# ---- The verdict ----


def accusing(wrong: Wrong, repetition: int) -> Iterator[str]:
    """The parts that accuse one observation, and `whole` where the verdict is not a pass."""
    rng = generator(ROOT_SEED, "trust", 1, place(wrong.name), repetition)
    yield from accusations(p_of_parts(data_sets(rng.standard_normal((1, D)), rng), wrong, rng))


def p_of_parts(x: np.ndarray, wrong: Wrong, rng: np.random.Generator) -> dict[str, float]:
    """The p-value of each part at an observation (1, D)."""
    return {
        "data": _p_of_data(x, rng),
        "networks": _p_of_networks(x, wrong, rng),
        "self-consistency": _p_of_consistency(x, wrong, rng),
        "posterior SBC": _p_of_posterior_sbc(x, wrong, rng),
    }


def accusations(p: dict[str, float]) -> Iterator[str]:
    """The parts that accuse, and `whole` where the verdict is not a pass."""
    yield from (name for name, value in p.items() if value <= 0.05)
    parts = tuple(TrustPart(name, value, name, "") for name, value in p.items())
    if trust([Asked("x", parts)])[0].verdict != "pass":
        yield "whole"


def _p_of_data(x: np.ndarray, rng: np.random.Generator) -> float:
    """Distance from the simulations."""
    usual = np.square(data_sets(rng.standard_normal((TEST, D)), rng)).sum(1)
    return float(tail(usual, np.square(x).sum(1))[0])


def _p_of_networks(x: np.ndarray, wrong: Wrong, rng: np.random.Generator) -> float:
    pairs = data_sets(rng.standard_normal((USUAL_PAIRS, D)), rng)
    usual = _apart(shown_as(pairs, EXACT), NETWORK_ERROR, rng)
    seen = _apart(shown_as(x, wrong), wrong.members * NETWORK_ERROR, rng)
    return float(tail(usual, seen)[0])


def _apart(normals: Normals, size: float, rng: np.random.Generator) -> np.ndarray:
    members = [with_errors(normals, size, rng) for _ in range(MEMBERS)]
    log_q = [
        [other.log_q(draws) for other in members]
        for draws in (member.draws(MEMBER_DRAWS, rng) for member in members)
    ]
    return divergences(np.array(log_q), np.full(MEMBERS, 1 / MEMBERS))


def _p_of_consistency(x: np.ndarray, wrong: Wrong, rng: np.random.Generator) -> float:
    pairs = data_sets(rng.standard_normal((USUAL_PAIRS, D)), rng)
    usual = _c(pairs, with_errors(shown_as(pairs, EXACT), NETWORK_ERROR, rng), rng)
    seen = _c(x, with_errors(shown_as(x, wrong), NETWORK_ERROR, rng), rng)
    return float(p_values(spreads(seen), spreads(usual))[0])


def _c(x: np.ndarray, network: Normals, rng: np.random.Generator) -> np.ndarray:
    """log p + log l - log q at draws of a network, up to a constant of each data set."""
    draws = network.draws(USUAL_DRAWS, rng)
    return shown_as(x, EXACT).log_q(draws) - network.log_q(draws)


def _p_of_posterior_sbc(x: np.ndarray, wrong: Wrong, rng: np.random.Generator) -> float:
    posterior = shown_as(x, wrong)
    truth = posterior.draws(REPLICATES, rng)[0]
    others = posterior.draws(REPLICATES * PROPOSALS, rng).reshape(REPLICATES, PROPOSALS, D)
    theta = np.concatenate([truth[:, None], others], axis=1)
    predicted = shown_as(data_sets(truth, rng), wrong)
    log_prior = -0.5 * np.square(theta).sum(2)
    return judged(positions(theta, predicted.log_q(theta) - log_prior, rng), ("1", "2")).p


# ---- Tables ----

Task = tuple[str, Wrong, range]


def work(task: Task) -> tuple[str, Wrong, Counter[str] | list[np.ndarray]]:
    """Some repetitions."""
    kind, wrong, repetitions = task
    if kind == "verdict":
        return kind, wrong, Counter(name for k in repetitions for name in accusing(wrong, k))
    results = [coverage(wrong, k) for k in repetitions]
    return kind, wrong, [np.vstack([held, region]) for held, region in results]


def times(wrong: Wrong, repetitions: int) -> int:
    """How often a verdict is repeated."""
    return repetitions if wrong == EXACT else max(1, repetitions // FEWER["verdict"])


def coverages(repetitions: int) -> int:
    """How often coverage is."""
    return max(2, repetitions // FEWER["coverage"])


def run(
    repetitions: int, processes: int
) -> tuple[dict[Wrong, Counter[str]], dict[Wrong, np.ndarray]]:
    """Accusations by fault, and mean coverage (3, 1 + STRATA) by fault: raw, conformal, region."""
    chunk = 20
    wanted = {("verdict", wrong): times(wrong, repetitions) for wrong in (EXACT, *FAULTS)}
    wanted |= {("coverage", wrong): coverages(repetitions) for wrong in COVERED}
    tasks: list[Task] = [
        (kind, wrong, range(at, min(at + chunk, total)))
        for (kind, wrong), total in wanted.items()
        for at in range(0, total, chunk)
    ]
    accused = {wrong: Counter[str]() for wrong in (EXACT, *FAULTS)}
    covered: dict[Wrong, list[np.ndarray]] = {wrong: [] for wrong in COVERED}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _, wrong, found in pool.imap_unordered(work, tasks):
            if isinstance(found, Counter):
                accused[wrong] += found
            else:
                covered[wrong] += found
    return accused, {wrong: np.mean(found, axis=0) for wrong, found in covered.items()}


def tables(
    accused: dict[Wrong, Counter[str]], covered: dict[Wrong, np.ndarray], repetitions: int
) -> Iterator[str]:
    yield "The trust verdict of one observation that has the fault, and its parts alone at 5 %: accused, in per cent of"
    yield f"{repetitions:,} repetitions ({times(FAULTS[0], repetitions):,} where it has one); two parameters, {TEST:,} test pairs, networks that err by {NETWORK_ERROR} sd elsewhere:"
    yield ""
    yield from head("posterior", *EACH)
    for wrong, counts in accused.items():
        total = times(wrong, repetitions)
        yield line(wrong.name, *(f"{100 * counts[name] / total:.1f}" for name in EACH))
    yield ""
    yield f"90 % intervals hold the truth, in per cent of {FRESH * coverages(repetitions):,} data sets; strata are eighths by x_1:"
    yield ""
    yield from head("posterior", "raw", "raw, strata", "conformal", "strata", "region", "strata")
    for wrong, shares in covered.items():
        cells = []
        for held in 100 * shares:
            cells += [f"{held[0]:.1f}", f"{held[1:].min():.1f} to {held[1:].max():.1f}"]
        yield line(wrong.name, *cells)


def missed(
    accused: dict[Wrong, Counter[str]], covered: dict[Wrong, np.ndarray], repetitions: int
) -> Iterator[str]:
    """Targets that were not reached."""
    false = accused[EXACT]["whole"] / repetitions
    if false > MOST_FALSE:
        yield f"an exact posterior is accused in {false:.1%}"
    for wrong, counts in accused.items():
        power = counts["whole"] / times(wrong, repetitions)
        if wrong.gross and power < LEAST_POWER:
            yield f"{wrong.name} is found in {power:.1%}"
    for wrong, shares in covered.items():
        for name, held in (("intervals", shares[1]), ("region", shares[2])):
            if not 0.89 <= held[0] <= 0.92:
                yield f"conformal {name} hold in {held[0]:.1%}: {wrong.name}"
            if held[1:].min() < 0.85 or held[1:].max() > 0.95:
                yield f"conformal {name} hold in {held[1:].min():.1%} of a stratum: {wrong.name}"


def main(
    repetitions: Annotated[int, typer.Option(min=1)] = 2_000,
    processes: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    out: Annotated[Path | None, typer.Option()] = None,
) -> None:
    accused, covered = run(repetitions, processes)
    report(tables(accused, covered, repetitions), missed(accused, covered, repetitions), out)


if __name__ == "__main__":
    typer.run(main)
