"""The verb `compare`: trained runs ranked by their density at the truth of the same test pairs,
with calibration and time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from sbiwb import report
from sbiwb.contracts import OutputKind, Reporter
from sbiwb.diagnostics import STRATUM
from sbiwb.errors import RunError
from sbiwb.files import put, put_json, put_text, read_json
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import differences, weights_hash
from sbiwb.project.opening import open_project
from sbiwb.project.plan import read_plan
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.trained import posterior_of
from sbiwb.records import Pairs
from sbiwb.report.ranking import BEST, CLEARLY_WORSE, NOT_TOLD_APART
from sbiwb.rundir import RunDir, put_provenance
from sbiwb.stopping import raise_on_signal

ALPHA = 0.05  # chance that any pair of equal runs is told apart
TIMED_SETS, TIMED_DRAWS, TIMED_S = 20, 1_000, 0.2
UNKNOWN: dict[str, Any] = {"calibration": None, "worst_effect": None, "worst": ""}


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

    def to_json(self) -> dict[str, Any]:
        """Plain values; null where a number is not finite or not known."""
        return {
            "test": self.test,
            "pairs": self.pairs,
            "alpha": ALPHA,
            "notes": list(self.notes),
            "runs": [
                {name: _plain(value) for name, value in asdict(row).items()} for row in self.rows
            ],
        }


def compare(
    paths: Sequence[Path],
    reporter: Reporter,
    *,
    test: Path | None = None,
    output: Path | None = None,
    runs: Path = Path("runs"),
) -> Comparison:
    """Ranks trained runs by NLPD, the mean of -log q(theta* | x) over test pairs that none of them
    trained on.

    A run is clearly worse than the best one where the mean of its paired differences exceeds z
    standard errors, with z so large that of equally good runs any is called worse with a
    probability of 5 % at most (normal approximation, Bonferroni over all pairs of runs).

    Args:
        paths: Run folders or YAMLs, two or more.
        reporter: Where progress goes.
        test: The run whose test pairs are used; the first one without it.
        output: Folder to write to; without it `compare` beside the runs.
        runs: Folder that holds the run of a YAML.

    Raises:
        RunError: A run is not trained, or its parameters, priors or observables differ from those
            of the test pairs.
    """
    begun = time.perf_counter()
    if len(paths) < 2:
        raise RunError(
            "compares two runs or more",
            where="sbiwb compare",
            todo="For example: sbiwb compare runs/small runs/large",
        )
    projects = [open_project(path, runs=runs) for path in paths]
    reference = open_project(test, runs=runs) if test else projects[0]
    names = _names(projects)
    notes = [
        note
        for name, project in zip(names, projects, strict=True)
        for note in _notes(reference, name, project)
    ]
    with raise_on_signal():
        pairs = load_split(reference, "test")
        losses, facts = _judged(projects, pairs, reporter)
    rows = _ranked(names, losses, facts)
    found = Comparison(
        tuple(rows), len(pairs), reference.run.name, tuple(notes), output or runs / "compare"
    )
    _write(
        found,
        {name: weights_hash(project.run) for name, project in zip(names, projects, strict=True)},
        time.perf_counter() - begun,
    )
    for note in notes:
        reporter.warn(note)
    return found


def _judged(
    projects: Sequence[Project], pairs: Pairs, reporter: Reporter
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """-log q(theta* | x) of K runs on N pairs, (K, N), and the facts of each run."""
    torch.set_num_threads(1)  # chunks of draws are what shares the cores
    losses, facts = np.empty((len(projects), len(pairs))), []
    with reporter.task("compare", len(projects), unit="runs") as ticker:
        for row, project in zip(losses, projects, strict=True):
            posterior = posterior_of(project, reporter)
            _check_density(project, posterior)
            row[:] = -posterior.log_prob(project.prior.stack(pairs.theta), pairs.variables)
            facts.append(_facts(project, posterior, pairs))
            ticker.advance()
    return losses, facts


def _check_density(project: Project, posterior: Posterior) -> None:
    """Refuses a run that has no density to be ranked by.

    Raises:
        RunError: Its network is a point network.
    """
    if posterior.output_kind != OutputKind.JOINT:
        raise RunError(
            "gives point estimates or quantiles, and no density to be ranked by",
            where=project.run.path,
            todo="Leave it out, and compare its nrmse in diagnose/numbers.json.",
        )


def _names(projects: Sequence[Project]) -> list[str]:
    """The runs' names, or their paths where two have the same name; numbered where one is named
    twice."""
    short = [project.run.name for project in projects]
    names = [
        str(project.run.path) if short.count(name) > 1 else name
        for name, project in zip(short, projects, strict=True)
    ]
    return [
        name if name not in names[:i] else f"{name} ({names[:i].count(name) + 1})"
        for i, name in enumerate(names)
    ]


def _notes(reference: Project, name: str, project: Project) -> list[str]:
    """That a run learned from other simulations than those it is tested on, if so.

    Raises:
        RunError: It infers other parameters, under another prior, or from other data.
    """
    if project.data_hash == reference.data_hash:
        return []
    wrong = differences(_question(reference), _question(project))
    if wrong:
        raise RunError(
            f"answers another question than {reference.run.name}: {'; '.join(wrong)}",
            where=project.run.path,
            todo="Compare runs with the same parameters, priors and observables.",
        )
    changed = "; ".join(differences(reference.data_identity, project.data_identity))
    return [
        f"{name} learned from other simulations than {reference.run.name}, on whose test pairs it "
        f"is judged: {changed}"
    ]


def _question(project: Project) -> dict[str, Any]:
    """What must be the same for two densities to be compared on the same pairs."""
    if not project.data_run.plan.is_file():
        raise RunError(
            "nothing is simulated",
            where=project.data_run.path,
            todo="Run `sbiwb run` on its config first.",
        )
    layout = read_plan(project.data_run).layout
    return {
        "parameters": dict(project.data_identity["problem"]["parameters"]),
        "context": dict.fromkeys(sorted(project.context), "context variable"),
        "observables": {
            name: {"shape": list(observable.shape), "ragged": observable.ragged}
            for name, observable in layout.items()
        },
    }


def _facts(project: Project, posterior: Posterior, pairs: Pairs) -> dict[str, Any]:
    """All of a row but its densities."""
    path = project.run.train / "provenance.json"
    trained = read_json(path) if path.is_file() else {}
    return {
        **_calibration(project.run),
        "training_pairs": project.config.simulate.train,
        "steps": trained.get("step"),
        "train_seconds": trained.get("seconds"),
        "draws_per_s": _draws_per_s(posterior, pairs),
        "weights": trained.get("parameters"),
    }


def _calibration(run: RunDir) -> dict[str, Any]:
    """What `diagnose` said of the weights as they are now."""
    path = run.diagnose / "provenance.json"
    if (
        not run.numbers.is_file()
        or not path.is_file()
        or read_json(path).get("weights") != weights_hash(run)
    ):
        return UNKNOWN
    numbers = read_json(run.numbers)
    judged = [
        value
        for value in numbers["values"]
        if value["effect"] is not None and STRATUM not in value["check"]
    ]
    worst = max(judged, key=lambda value: value["effect"], default=None)
    told = (
        {}
        if worst is None
        else {"worst_effect": worst["effect"], "worst": f"{worst['check']} of {worst['parameter']}"}
    )
    return {**UNKNOWN, "calibration": numbers["verdict"], **told}


def _draws_per_s(posterior: Posterior, pairs: Pairs) -> float:
    """Measured on a few test pairs for a fifth of a second or longer, after a first call that warms
    up."""
    x = pairs.take(np.arange(min(TIMED_SETS, len(pairs)))).variables
    posterior.sample(x, TIMED_DRAWS // 20, 0)
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < TIMED_S:
        count += posterior.sample(x, TIMED_DRAWS, 0)[..., 0].size
    return count / elapsed


def _ranked(
    names: Sequence[str], losses: np.ndarray, facts: Sequence[dict[str, Any]]
) -> list[report.Compared]:
    """Rows from losses (K, N) of K runs on N pairs, the best first; ties in the order given."""
    means = losses.mean(axis=1)
    order = np.argsort(means, kind="stable")
    best = order[0]
    rows = []
    for run in order:
        difference, error = (
            _mean(losses[run] - losses[best])
            if np.isfinite(losses[best]).all()
            else (math.nan, math.nan)
        )
        told = BEST if run == best else _told(difference, error, len(names))
        rows.append(
            report.Compared(names[run], *_mean(losses[run]), difference, error, told, **facts[run])
        )
    return rows


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; NaN for the error of one value, or of values that are not
    finite."""
    finite = np.isfinite(values).all() and len(values) > 1
    return float(values.mean()), float(
        values.std(ddof=1) / math.sqrt(len(values))
    ) if finite else math.nan


def quantile(runs: int) -> float:
    """Standard errors beyond which a difference among so many runs is clear: two-sided, Bonferroni
    over all pairs of runs."""
    return NormalDist().inv_cdf(1 - ALPHA / (runs * (runs - 1)))


def _told(difference: float, error: float, runs: int) -> str:
    """In words; a density of zero somewhere is clearly worse, whatever its error."""
    return (
        CLEARLY_WORSE
        if difference == math.inf or difference > quantile(runs) * error
        else NOT_TOLD_APART
    )


def _write(found: Comparison, weights: dict[str, str], seconds: float) -> None:
    put_json(found.folder / "compare.json", found.to_json())
    put_text(found.folder / "compare.csv", report.comparison_csv(found.rows))
    put(
        found.folder / "compare.png",
        report.to_png(report.comparison_picture(found.rows, quantile(len(found.rows)))),
    )
    put_provenance(found.folder, seconds=seconds, facts={"weights": weights, "test": found.test})


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
