"""The verb `compare`: trained runs by their test pairs, or draws of one posterior by their
distance.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sbiwb.contracts import Reporter
from sbiwb.errors import RunError, SbiwbError
from sbiwb.project import named_draws
from sbiwb.project.opening import open_project
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.trained import posterior_of
from sbiwb.steps.compare import overlaid_draws, ranked_runs
from sbiwb.steps.compare.overlaid_draws import DistanceSummary, Overlay
from sbiwb.steps.compare.ranked_runs import Comparison, TrainedRun
from sbiwb.stopping import raise_on_signal

__all__ = ["Comparison", "DistanceSummary", "Overlay", "compare", "compare_runs"]


def compare(
    paths: Sequence[Path],
    reporter: Reporter,
    *,
    test: Path | None = None,
    output: Path | None = None,
    runs: Path = Path("runs"),
) -> Comparison | Overlay:
    """Ranks runs, or holds draws against those of a reference method where a path holds draws.

    Args:
        paths: Run folders or YAMLs; or folders of draws; two or more.
        reporter: Where progress goes.
        test: The run whose test pairs are used; the first one without it.
        output: Folder to write to; None: `compare` beside the runs, or in the run of the draws.
        runs: Folder that holds the run of a YAML.

    Raises:
        SbiwbError: `test` for draws, or whatever cannot be compared.
    """
    if not any(map(named_draws.holds_draws, paths)):
        return compare_runs(
            paths, reporter, test=test, output=output or runs / "compare", runs=runs
        )
    if test is not None:
        raise SbiwbError("draws have no test pairs", where=f"--test {test}", todo="Leave it out.")
    return overlaid_draws.overlay(paths, reporter, output=output)


def compare_runs(
    paths: Sequence[Path], reporter: Reporter, *, test: Path | None, output: Path, runs: Path
) -> Comparison:
    """Ranks trained runs on test pairs that none of them trained on.

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
    reference = projects[0]
    if test is not None:
        reference = open_project(test, runs=runs)
    names = ranked_runs.names_of([project.run for project in projects])
    ranked = []
    for name, project in zip(names, projects, strict=True):
        ranked.append(_trained_run(name, project, reporter))
    judge = _trained_run(reference.run.name, reference, reporter)
    notes = tuple(ranked_runs.notes_on(judge, ranked))
    with raise_on_signal():
        pairs = load_split(reference, "test")
        rows = ranked_runs.rank(ranked, pairs, reporter)
    comparison = Comparison(rows, len(pairs), reference.run.name, notes, output)
    comparison.write(ranked_runs.weights_by_name(ranked), time.perf_counter() - begun)
    for note in notes:
        reporter.warn(note)
    return comparison


def _trained_run(name: str, project: Project, reporter: Reporter) -> TrainedRun:
    return TrainedRun(
        name=name,
        run=project.run,
        data_run=project.data_run,
        data_hash=project.data_hash,
        data_identity=project.data_identity,
        context=list(project.context),
        prior=project.prior,
        training_pairs=project.config.simulate.train,
        load=partial(posterior_of, project, reporter),
    )
