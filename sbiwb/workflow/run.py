"""The verb `run`: all steps from the YAML to the report; what is done already is not done again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sbiwb.contracts import Reporter
from sbiwb.project.choices import with_choices
from sbiwb.project.project import Project
from sbiwb.stopping import raise_on_signal
from sbiwb.store.manifest import SplitSummary
from sbiwb.workflow import diagnose, report, sample, simulate, train
from sbiwb.workflow.diagnose import Diagnosis
from sbiwb.workflow.sample import Sampled
from sbiwb.workflow.train_likelihoods import TrainEvent, train_all

DRAWS = 4000  # for each data set


@dataclass(frozen=True)
class StepBegun:
    """A step begins; steps are counted from 1."""

    number: int
    name: str


@dataclass(frozen=True)
class PairsSimulated:
    """The pairs are there; counts by split, as in the manifest."""

    splits: Mapping[str, SplitSummary]


@dataclass(frozen=True)
class ObservationsSampled:
    """The YAML's observations are inferred; there may be none."""

    results: Sequence[Sampled]


@dataclass(frozen=True)
class ReportWritten:
    """The page is there."""

    path: Path


RunEvent = StepBegun | PairsSimulated | TrainEvent | Diagnosis | ObservationsSampled | ReportWritten


def run(
    project: Project, reporter: Reporter, *, gate: bool = False, fresh: bool = False
) -> Iterator[RunEvent]:
    """Simulates, trains, diagnoses, infers all observations and writes the report.

    Args:
        project: What to do it for.
        reporter: Where progress goes.
        gate: Whether a failed check stops it; the report is written before.
        fresh: Whether an earlier training is set aside.

    Yields:
        Each step as it begins, and its result.

    Raises:
        DataError: An observation cannot be read; told before anything is simulated.
        GateFailed: A check failed, and `gate` was asked for.
        SbiwbError: As each step raises.
    """
    train.check_alone("run")
    yield StepBegun(1, "simulate")
    with raise_on_signal():
        splits = simulate.simulate(project, reporter, needs_observations=True)
    yield PairsSimulated(splits)
    yield StepBegun(2, "train")
    yield from train_all(project, reporter, fresh=fresh)
    project = with_choices(project)
    yield StepBegun(3, "diagnose")
    diagnosis = diagnose.diagnose(project, reporter)
    yield diagnosis
    if gate:
        report.report(project.run.path)
        diagnose.check_gate(project.run, diagnosis)
    yield from _sample(project, reporter)
    yield ReportWritten(report.report(project.run.path))


def _sample(project: Project, reporter: Reporter) -> Iterator[RunEvent]:
    observations = sample.named_observations(project, None)
    if not observations:
        yield ObservationsSampled(())
        return
    yield StepBegun(4, "sample")
    yield ObservationsSampled(sample.sample(project, observations, reporter, draws=DRAWS, seed=0))
