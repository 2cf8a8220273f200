"""Whether the simulator is as independent as `problem.structure` says, by data sets simulated again
and again at the same theta and context; for `check` and `diagnose`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sbiwb.config import RunConfig
from sbiwb.contracts import Reporter, Silent
from sbiwb.errors import DataError, SimulatorError
from sbiwb.numbers import StructureVerdict, Verdict
from sbiwb.project.member_rows import MemberRows, is_vector, member_rows
from sbiwb.project.plan import read_plan
from sbiwb.project.project import Project
from sbiwb.project.simulations import ForwardSimulator
from sbiwb.records import Columns
from sbiwb.seeds import generator, place
from sbiwb.steps.pairs.structure_test import Entry, StructureTest, structure_tests
from sbiwb.words import duration

THETA, REPEATS = 20, 30  # at which data sets are simulated, and how many at each
LEAST_THETA = 4
CHECK_S, DIAGNOSE_S = 5.0, 30.0  # seconds of simulating at most
STREAM = place("structure")


@dataclass(frozen=True)
class StructureTested:
    """What was tested of a problem's structure.

    Args:
        tests: Of each entry, and each two.
        note: Why nothing was.
    """

    tests: tuple[StructureTest, ...] = ()
    note: str = ""

    @property
    def warnings(self) -> list[str]:
        """A sentence on each entry that is contradicted."""
        return [test.warning for test in self.tests if test.is_contradicted]


def is_testable(project: Project) -> bool:
    """Whether the YAML says of a simulator what is independent of what."""
    return bool(project.config.problem.structure) and not project.is_imported


def repeat_and_test(
    project: Project,
    forward: ForwardSimulator,
    seconds_per_row: float,
    reporter: Reporter,
    *,
    most_s: float,
) -> StructureTested:
    """Simulates a few theta of the prior many times, and tests what the YAML says.

    Args:
        project: A problem with structures.
        forward: Its simulator.
        seconds_per_row: What a simulation takes.
        reporter: Where progress goes.
        most_s: Seconds that simulating may take.

    Raises:
        DataError: A structure does not fit what the simulator returns.
        SimulatorError: Not one simulation came out.
    """
    count = min(THETA, int(most_s / max(seconds_per_row, 1e-9)) // REPEATS)
    if count < LEAST_THETA:
        needed = duration(LEAST_THETA * REPEATS * seconds_per_row)
        return StructureTested(note=f"not tested, simulations for it would take {needed}")
    seed = project.config.simulate.seed
    drawn = project.problem.draw(generator(seed, "prior", STREAM), count)
    theta = np.repeat(project.prior.stack(drawn.theta)[:, None], REPEATS, axis=1)
    with reporter.task("test the structure", count * REPEATS, unit="simulations") as ticker:
        done = forward.simulate(theta, drawn.context, seed, Silent(), name="structure")
        ticker.advance(count * REPEATS)
    entries = list(_entries(project.config, done.pairs.x))
    rng = generator(seed, "prior", STREAM, 1)
    return StructureTested(tuple(structure_tests(entries, done.rows // REPEATS, rng)))


def _entries(config: RunConfig, x: Columns) -> Iterator[Entry]:
    """Each entry with its members; those of a vector are its numbers.

    Raises:
        DataError: A structure does not fit what the simulator returns.
    """
    for name, structure in config.problem.structure.items():
        sources = structure.sources(name)
        as_vector = is_vector(structure, [x[source] for source in sources if source in x])
        rows = member_rows(name, structure, x, as_vector=as_vector)
        if as_vector:
            count, width = rows.values.shape
            rows = MemberRows(rows.values.reshape(-1, 1), np.full(count, width))
        yield Entry(name, structure.as_, sources, rows)


def structure_verdicts(project: Project, reporter: Reporter) -> list[StructureVerdict]:
    """Tests the structures of a run whose pairs are simulated, and warns of those contradicted.

    Args:
        project: The run.
        reporter: Where progress and warnings go.
    """
    if not is_testable(project):
        return []
    seconds = read_plan(project.data_run).seconds_per_row
    try:
        tested = repeat_and_test(project, project.forward, seconds, reporter, most_s=DIAGNOSE_S)
    except (DataError, SimulatorError) as error:
        reporter.warn(f"problem.structure could not be tested: {error}")
        return []
    for warning in tested.warnings:
        reporter.warn(f"structure: {warning}")
    if tested.note:
        reporter.say(f"problem.structure is {tested.note}.")
    return [_verdict(test) for test in tested.tests]


def _verdict(test: StructureTest) -> StructureVerdict:
    verdict: Verdict = "warn" if test.is_contradicted else "pass"
    return StructureVerdict(test.name, test.said, test.p, verdict)
