"""The plan of a run: made by trying the simulator, extended, accepted, or another run's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sbiwb import config as yaml_config
from sbiwb.contracts import Reporter
from sbiwb.errors import DataError, RunError
from sbiwb.project.adapter import check_variables, fit_adapter
from sbiwb.project.fingerprint import differences
from sbiwb.project.opening import write_config
from sbiwb.project.plan import (
    AcceptedCode,
    Plan,
    accepted_code,
    plan_or_none,
    put_plan,
    read_plan,
)
from sbiwb.project.project import Project
from sbiwb.project.simulations import ForwardSimulator
from sbiwb.records import Pairs
from sbiwb.rundir import SPLITS
from sbiwb.simulation.blocks import Problem, simulate_block
from sbiwb.simulation.failures import FailureCounter
from sbiwb.simulation.layout import Layout
from sbiwb.simulation.preflight import Preflight, preflight
from sbiwb.steps.pairs.more import parse_more
from sbiwb.steps.pairs.shard_grid import (
    ShardGrid,
    asked_pairs,
    auto_shard_blocks,
    blocks_of,
    shard_grids,
)
from sbiwb.store import manifest
from sbiwb.store.manifest import Summaries
from sbiwb.workflow.train_choices import preview

CODE_CHANGED = "problem.simulator code changed"


@dataclass(frozen=True)
class Planner:
    """What comes before the simulations of a run.

    Args:
        project: The run.
        reporter: Where progress goes.
    """

    project: Project
    reporter: Reporter

    def prepare(self, *, needs_observations: bool = False) -> Plan:
        """The plan, made now where there is none, with the config beside it: all a worker needs.

        Args:
            needs_observations: Whether an observation that cannot be read is an error, and no
                warning.

        Raises:
            RunError: The run folder holds another problem's shards.
            DataError: An observation cannot be read, and is needed.
        """
        plan = plan_or_none(self.project.run)
        if plan is None or plan.data_hash != self.project.data_hash:
            if plan is not None:
                self._refuse_other_shards(plan)
            plan = self._make_plan()
        if needs_observations:
            self.project.observe_all(plan.layout)
        self._check_later_steps(plan.layout)
        write_config(self.project)
        return plan

    def _refuse_other_shards(self, plan: Plan) -> None:
        """Refuses to plan another problem where shards are.

        Raises:
            RunError: There are shards.
        """
        if not any(manifest.shards(self.project.run.split(split)) for split in SPLITS):
            return
        changed = differences(plan.identity, self.project.data_identity)
        todo = (
            "Change that back, give the run another `name`, or delete the folder if its simulations"
            " are no longer wanted."
        )
        if changed == [CODE_CHANGED]:
            todo += " If the new code gives the same rows: `sbiwb simulate --accept-code-change`."
        what = f"holds simulations of another problem: {'; '.join(changed)}"
        raise RunError(what, where=self.project.run.data, todo=todo)

    def _make_plan(self) -> Plan:
        """Tries the simulator, and writes what it costs and returns."""
        project = self.project
        self.reporter.say("Trying the simulator on a few parameters ...")
        trial = try_simulator(project)
        # transforms and kinds of inputs, before hours are spent
        previewed = preview(project, trial.example).project
        fit_adapter(previewed.config.model, project.prior, trial.example)
        code = self._code()
        plan = Plan(
            data_hash=code.data_hash,
            identity=code.identity,
            accepted=code.accepted,
            layout=trial.layout,
            seconds_per_row=trial.seconds_per_row,
            bytes_per_row=trial.bytes_per_row,
            shard_blocks={
                split: auto_shard_blocks(
                    pairs,
                    project.block_size,
                    seconds_per_row=trial.seconds_per_row,
                    bytes_per_row=trial.bytes_per_row,
                )
                for split, pairs in asked_pairs(project.config.simulate).items()
            },
        )
        put_plan(project.run, plan)
        return plan

    def _code(self) -> AcceptedCode:
        """The problem as it is; or of before an accepted change, of which a damaged plan still
        says."""
        code = accepted_code(self.project.run)
        if code is not None and self.project.own_hash in code.accepted:
            return code
        return AcceptedCode(self.project.own_hash, self.project.data_identity)

    def accept_code(self) -> None:
        """Notes in the plan that the code as it is now gives the rows of before.

        Raises:
            RunError: There is nothing to accept, or more than the code has changed.
        """
        plan = plan_or_none(self.project.run)
        changed: list[str] = []
        if plan is not None:
            changed = differences(plan.identity, self.project.data_identity)
        if plan is None or changed != [CODE_CHANGED]:
            raise RunError(
                f"not only the simulator's code has changed: {'; '.join(changed) or 'nothing has'}",
                where=self.project.run.data,
                todo="Run `sbiwb simulate` without --accept-code-change.",
            )
        put_plan(self.project.run, replace(plan, accepted=(*plan.accepted, self.project.own_hash)))
        self.reporter.say("The new code is taken to give the same rows; noted in the run's plan.")

    def _check_later_steps(self, layout: Layout) -> None:
        """What training and sampling would stumble over is told before hours are spent.

        An observation may still be mended meanwhile.
        """
        check_variables(self.project.config.model, set(layout), set(self.project.context))
        self.project.derived.check(self.project.config.simulate.seed)
        for observation in self.project.observations:
            try:
                self.project.observe(observation, layout)
            except DataError as error:
                self.reporter.warn(f"observation {observation.name} cannot be read: {error}")

    def grids(self, plan: Plan) -> list[ShardGrid]:
        """How the splits of the run are cut into shards."""
        return shard_grids(self.project.config.simulate, plan.shard_blocks, self.project.block_size)

    def existing(self) -> Plan:
        """The plan that is there already.

        Raises:
            RunError: There is none, or it is another problem's.
            CorruptFile: It cannot be read.
        """
        run = self.project.run
        plan = read_plan(run)
        if plan.data_hash != self.project.data_hash:
            todo = f"Run `sbiwb simulate {run.path}`: it says what has changed."
            raise RunError("holds simulations of another problem", where=run.data, todo=todo)
        return plan

    def borrow(self) -> Summaries:
        """Checks that the other run's shards are this problem's, and enough."""
        other = self.project.data_run
        if not other.plan.is_file():
            todo = "Run `sbiwb simulate` on that run first, or leave out simulate.from."
            raise RunError("holds no simulations", where=other.path, todo=todo)
        plan = read_plan(other)
        if plan.data_hash != self.project.data_hash:
            changed = differences(plan.identity, self.project.data_identity)
            raise RunError(
                f"simulates another problem: {'; '.join(changed)}",
                where=other.path,
                todo="Make them equal, or leave out simulate.from.",
            )
        write_config(self.project)
        for split, pairs in asked_pairs(self.project.config.simulate).items():
            held = manifest.shards(other.split(split), self.project.data_hash)
            if manifest.missing(held, blocks_of(pairs, self.project.block_size)):
                raise RunError(
                    f"has fewer than {pairs:,} pairs of {split}",
                    where=other.path,
                    todo=f"Leave out simulate.{split} to take what is there, or raise it there and"
                    " run `sbiwb simulate` on that run.",
                )
        self.reporter.say(f"Using the simulations of {other.path}.")
        return manifest.summaries(other)

    def extended(self, asked: str) -> Project:
        """The project with more pairs than its run asks for now.

        A split is whole blocks in order, so these are the rows of asking for the larger number at
        once, and with the same `shard_size` the same shards, but for the last one where the run did
        not end with a full one: it stays, and its neighbour begins in its middle.

        Args:
            asked: Further pairs; see `parse_more`.

        Raises:
            ConfigError: `asked` cannot be read.
            RunError: Nothing is simulated yet, or the pairs are another run's or imported.
        """
        more = parse_more(asked)
        self._check_own()
        wanted = asked_pairs(yaml_config.load(self.project.run.config).simulate)
        said = asked_pairs(self.project.config.simulate)
        is_run_folder = self.project.base.resolve() == self.project.run.path.resolve()
        for split, further in more.items():
            wanted[split] += further
            if said[split] < wanted[split] and not is_run_folder:
                self.reporter.say(
                    f"The run now has {wanted[split]:,} pairs of {split}; this YAML says"
                    f" {said[split]:,}, and a command on it takes the first {said[split]:,}. Write"
                    f" simulate.{split}: {wanted[split]} there, or name the run folder:"
                    f" sbiwb train {self.project.run.path}"
                )
        return self.project.with_pairs(wanted)

    def _check_own(self) -> None:
        """Refuses what cannot be extended.

        Raises:
            RunError: Nothing is simulated yet, or the pairs are another run's or imported.
        """
        run, other = self.project.run, self.project.data_run
        if other.path != run.path:
            todo = f"Extend that one: sbiwb simulate {other.path} --more N"
            raise RunError("uses the simulations of another run", where=run.path, todo=todo)
        if not run.plan.is_file() or not run.config.is_file():
            base = self.project.base
            todo = f"Write the number into simulate.train, and run `sbiwb simulate` on {base}."
            raise RunError("has no simulations to extend", where=run.path, todo=todo)
        if self.project.is_imported:
            todo = "Import all files together into a run of another `name`."
            raise RunError("holds imported pairs", where=run.path, todo=todo)


def try_simulator(project: Project) -> Preflight:
    """A few simulations; in a process of their own, unless all is to happen in this one.

    Raises:
        SimulatorError: As in `preflight`.
    """
    with _tried_problem(project) as problem:
        return preflight(problem, project.block_size)


def try_more(project: Project, layout: Layout, rows: int) -> Pairs:
    """Pairs beyond those of a preflight, made likewise."""
    with _tried_problem(project) as problem:
        planned = replace(problem, layout=layout)
        counter = FailureCounter(max_rate=1.0)
        pairs, _ = simulate_block(planned, "preflight", 2, rows, counter)
        return pairs


@contextmanager
def tried_forward(project: Project, layout: Layout) -> Iterator[ForwardSimulator]:
    """What simulates at given parameters, where a preflight simulates."""
    with _tried_problem(project) as problem:
        planned = replace(problem, layout=layout)
        yield ForwardSimulator(planned, project.prior, project.block_size)


@contextmanager
def _tried_problem(project: Project) -> Iterator[Problem]:
    problem = project.problem
    if project.config.machine.executor.kind != "serial":  # else it may end this command
        problem = replace(problem, simulator=project.isolated)
    try:
        yield problem
    finally:
        project.isolated.close()
