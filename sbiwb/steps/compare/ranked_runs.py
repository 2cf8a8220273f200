"""Trained runs ranked by their density at the truth of the same test pairs, with calibration and
time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch

from sbiwb import report
from sbiwb.contracts import OutputKind, Reporter
from sbiwb.errors import RunError
from sbiwb.files import put, put_json, put_text
from sbiwb.posterior import Posterior
from sbiwb.priors import Prior
from sbiwb.project.fingerprint import Identity, Plain, differences, weights_hash
from sbiwb.project.plan import read_plan
from sbiwb.records import Pairs
from sbiwb.report.ranking import BEST, CLEARLY_WORSE, NOT_TOLD_APART
from sbiwb.rundir import RunDir, put_provenance
from sbiwb.steps.compare.ranked_facts import RankedFacts, facts_of

ALPHA = 0.05  # chance that any pair of equal runs is told apart


@dataclass(frozen=True)
class TrainedRun:
    """A run to be ranked.

    Args:
        name: What it is called among the others.
        run: Its folder.
        data_run: The run that holds its simulations.
        data_hash: That its shards carry.
        data_identity: All that decides a simulated row.
        context: Names of its context variables.
        prior: Of theta.
        training_pairs: Simulations that it trained on.
        load: Loads its posterior.
    """

    name: str
    run: RunDir
    data_run: RunDir
    data_hash: str
    data_identity: Identity
    context: Sequence[str]
    prior: Prior
    training_pairs: int
    load: Callable[[], Posterior]


@dataclass(frozen=True)
class Comparison:
    """Trained runs on the same test pairs.

    Args:
        rows: The best run first.
        pairs: Test pairs.
        test: The run whose test pairs they are.
        notes: What to know before reading it, in sentences.
        folder: Where compare.json, compare.csv and compare.png are.
    """

    rows: tuple[report.Compared, ...]
    pairs: int
    test: str
    notes: tuple[str, ...]
    folder: Path

    def to_json(self) -> dict[str, object]:
        """Plain values; null where a number is not finite or not known."""
        return {
            "test": self.test,
            "pairs": self.pairs,
            "alpha": ALPHA,
            "notes": list(self.notes),
            "runs": list(map(_plain_row, self.rows)),
        }

    def write(self, weights: Mapping[str, str], seconds: float) -> None:
        """Writes it as JSON, CSV and a picture.

        Args:
            weights: Hash of the weights of each run.
            seconds: That it took.
        """
        put_json(self.folder / "compare.json", self.to_json())
        put_text(self.folder / "compare.csv", report.comparison_csv(self.rows))
        picture = report.comparison_picture(self.rows, quantile(len(self.rows)))
        put(self.folder / "compare.png", report.to_png(picture))
        facts = {"weights": weights, "test": self.test}
        put_provenance(self.folder, seconds=seconds, facts=facts)


def _plain_row(row: report.Compared) -> dict[str, object]:
    plain: dict[str, object] = {}
    for name, value in asdict(row).items():
        plain[name] = value
        if isinstance(value, float) and not math.isfinite(value):
            plain[name] = None
    return plain


def names_of(runs: Sequence[RunDir]) -> list[str]:
    """The runs' names, or their paths where two have the same name; numbered where one is named
    twice."""
    short = [run.name for run in runs]
    names: list[str] = []
    taken: list[str] = []
    for run in runs:
        name = run.name
        if short.count(name) > 1:
            name = str(run.path)
        taken.append(name)
        if taken.count(name) > 1:
            name = f"{name} ({taken.count(name)})"
        names.append(name)
    return names


def notes_on(reference: TrainedRun, runs: Sequence[TrainedRun]) -> list[str]:
    """Which runs learned from other simulations than those they are tested on.

    Args:
        reference: The run whose test pairs are used.
        runs: Those to be ranked.

    Raises:
        RunError: One infers other parameters, under another prior, or from other data.
    """
    notes = []
    for run in runs:
        if run.data_hash == reference.data_hash:
            continue
        _check_question(reference, run)
        changed = "; ".join(differences(reference.data_identity, run.data_identity))
        notes.append(
            f"{run.name} learned from other simulations than {reference.run.name}, on whose test "
            f"pairs it is judged: {changed}"
        )
    return notes


def _check_question(reference: TrainedRun, run: TrainedRun) -> None:
    wrong = differences(_question(reference), _question(run))
    if wrong:
        raise RunError(
            f"answers another question than {reference.run.name}: {'; '.join(wrong)}",
            where=run.run.path,
            todo="Compare runs with the same parameters, priors and observables.",
        )


def _question(run: TrainedRun) -> Plain:
    """What must be the same for two densities to be compared on the same pairs."""
    if not run.data_run.plan.is_file():
        raise RunError(
            "nothing is simulated",
            where=run.data_run.path,
            todo="Run `sbiwb run` on its config first.",
        )
    observables = {}
    for name, observable in read_plan(run.data_run).layout.items():
        observables[name] = {"shape": list(observable.shape), "ragged": observable.ragged}
    return {
        "parameters": dict(run.data_identity["problem"]["parameters"]),
        "context": dict.fromkeys(sorted(run.context), "context variable"),
        "observables": observables,
    }


def rank(
    runs: Sequence[TrainedRun], pairs: Pairs, reporter: Reporter
) -> tuple[report.Compared, ...]:
    """Ranks trained runs by NLPD, the mean of -log q(theta* | x) over test pairs.

    A run is clearly worse than the best one where the mean of its paired differences exceeds z
    standard errors, with z so large that of equally good runs any is called worse with a
    probability of 5 % at most (normal approximation, Bonferroni over all pairs of runs).

    Args:
        runs: Two or more.
        pairs: N test pairs that none of them trained on.
        reporter: Where progress goes.

    Returns:
        The best run first.

    Raises:
        RunError: A run is not trained, or its network has no density.
    """
    torch.set_num_threads(1)  # chunks of draws are what shares the cores
    losses, facts = np.empty((len(runs), len(pairs))), []
    with reporter.task("compare", len(runs), unit="runs") as ticker:
        for row, run in zip(losses, runs, strict=True):
            posterior = run.load()
            _check_density(run.run, posterior)
            row[:] = -posterior.log_prob(run.prior.stack(pairs.theta), pairs.variables)
            facts.append(facts_of(run.run, run.training_pairs, posterior, pairs))
            ticker.advance()
    return tuple(rank_losses([run.name for run in runs], losses, facts))


def _check_density(run: RunDir, posterior: Posterior) -> None:
    """Refuses a run that has no density to be ranked by."""
    if posterior.output_kind != OutputKind.JOINT:
        raise RunError(
            "gives point estimates or quantiles, and no density to be ranked by",
            where=run.path,
            todo="Leave it out, and compare its nrmse in diagnose/numbers.json.",
        )


def weights_by_name(runs: Sequence[TrainedRun]) -> dict[str, str]:
    """Hash of the weights of each run."""
    return {run.name: weights_hash(run.run) for run in runs}


def rank_losses(
    names: Sequence[str], losses: np.ndarray, facts: Sequence[RankedFacts]
) -> list[report.Compared]:
    """Rows from losses (K, N) of K runs on N pairs, the best first; ties in the order given.

    Args:
        names: Of the runs.
        losses: -log q(theta* | x) in nats, (K, N).
        facts: All else that is known of each run.
    """
    means = losses.mean(axis=1)
    order = np.argsort(means, kind="stable").tolist()
    best = order[0]
    rows = []
    for run in order:
        difference, error = _difference(losses[run], losses[best])
        rank_words = BEST
        if run != best:
            rank_words = _compared_with_best(difference, error, len(names))
        mean, mean_error = _mean(losses[run])
        rows.append(
            report.Compared(
                run=names[run],
                nlpd=mean,
                nlpd_se=mean_error,
                difference=difference,
                difference_se=error,
                verdict=rank_words,
                **asdict(facts[run]),
            )
        )
    return rows


def _difference(losses: np.ndarray, best: np.ndarray) -> tuple[float, float]:
    """Mean of the paired differences (N,) and its standard error; NaN where the best is not
    finite."""
    if not np.isfinite(best).all():
        return math.nan, math.nan
    return _mean(losses - best)


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; NaN for the error of one value, or of values that are not
    finite."""
    mean = float(values.mean())
    if len(values) < 2 or not np.isfinite(values).all():
        return mean, math.nan
    return mean, float(values.std(ddof=1) / math.sqrt(len(values)))


def quantile(runs: int) -> float:
    """Standard errors beyond which a difference among so many runs is clear: two-sided, Bonferroni
    over all pairs of runs."""
    return NormalDist().inv_cdf(1 - ALPHA / (runs * (runs - 1)))


def _compared_with_best(difference: float, error: float, runs: int) -> str:
    """In words; a density of zero somewhere is clearly worse, whatever its error."""
    if difference == math.inf or difference > quantile(runs) * error:
        return CLEARLY_WORSE
    return NOT_TOLD_APART
