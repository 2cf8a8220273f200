"""The plan of a run: a preflight, the layout, and how blocks are cut into shards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sbiwb.contracts import Reporter
from sbiwb.errors import DataError, RunError
from sbiwb.files import put_json, read_json
from sbiwb.project.adapter import check_variables, fit_adapter
from sbiwb.project.fingerprint import differences
from sbiwb.project.observe import DataSets, observe
from sbiwb.project.opening import write_config
from sbiwb.project.project import Project
from sbiwb.rundir import SPLITS
from sbiwb.simulation.blocks import Problem
from sbiwb.simulation.layout import Layout, from_json, to_json
from sbiwb.simulation.preflight import Preflight, preflight
from sbiwb.store import manifest

SHARDS_PER_SPLIT = 16


SHARD_SECONDS, SHARD_BYTES = 300.0, 64 << 20


CODE_CHANGED = "problem.simulator code changed"


def prepare(
    project: Project, reporter: Reporter, *, needs_observations: bool = False
) -> dict[str, Any]:
    """The plan, made now by a preflight where there is none, with the config beside it.

    Args:
        project: The run.
        reporter: Where progress goes.
        needs_observations: Whether an observation that cannot be read is an error, and no warning.

    Returns:
        All that a worker needs.

    Raises:
        RunError: The run folder holds another problem's shards.
        DataError: An observation cannot be read, and is needed.
    """
    plan = _plan(project, reporter)
    layout = from_json(plan["layout"])
    if needs_observations:
        observe_all(project, layout)
    _check_later_steps(project, layout, reporter)
    write_config(project)
    return plan


def observe_all(project: Project, layout: Layout) -> list[DataSets]:
    """Every observation of the YAML.

    Raises:
        DataError: One cannot be read.
    """
    shapes = {name: prior.event for name, prior in project.context.items()}
    return [observe(observation, layout, shapes) for observation in project.observations]


def counts(project: Project) -> dict[str, int]:
    """Pairs asked for, by split."""
    return {split: getattr(project.config.simulate, split) for split in SPLITS}


def blocks(project: Project, split: str) -> int:
    return -(-counts(project)[split] // project.block_size)


def _plan(project: Project, reporter: Reporter) -> dict[str, Any]:
    """The plan of this run: as it stands, or made now by a preflight."""
    path = project.run.plan
    if path.is_file():
        plan = read_json(path)
        if plan["data_hash"] == project.data_hash:
            return plan
        if any(manifest.shards(project.run.split(split)) for split in SPLITS):
            changed = differences(plan["identity"], project.data_identity)
            raise RunError(
                f"holds simulations of another problem: {'; '.join(changed)}",
                where=project.run.data,
                todo="Change that back, give the run another `name`, or delete the folder if its simulations are no longer wanted."
                + " If the new code gives the same rows: `sbiwb simulate --accept-code-change`."
                * (changed == [CODE_CHANGED]),
            )
    reporter.say("Trying the simulator on a few parameters ...")
    seen = try_simulator(project)
    fit_adapter(
        project.config.model, project.prior, seen.example
    )  # transforms and kinds of inputs, before hours are spent
    plan = {
        "data_hash": project.data_hash,
        "identity": project.data_identity,
        "layout": to_json(seen.layout),
        "seconds_per_row": seen.seconds_per_row,
        "bytes_per_row": seen.bytes_per_row,
        "shard_blocks": {
            split: _auto_blocks(project, split, seen.seconds_per_row, seen.bytes_per_row)
            for split in SPLITS
        },
    }
    put_json(path, plan)
    return plan


def try_simulator(project: Project) -> Preflight:
    """A few simulations; in a process of their own, unless the config asks for everything in this one.

    Raises:
        SimulatorError: As in `preflight`.
    """
    try:
        return preflight(_here(project), project.block_size)
    finally:
        project.isolated.close()


def _here(project: Project) -> Problem:
    """What is simulated in this process, or beside it: only under `serial` may the simulator end the command."""
    is_serial = project.config.machine.executor.kind == "serial"
    return project.problem if is_serial else replace(project.problem, simulator=project.isolated)


def _accept(project: Project, reporter: Reporter) -> None:
    """Notes in the plan that the code as it is now gives the rows of before.

    Raises:
        RunError: There is nothing to accept, or more than the code has changed.
    """
    path = project.run.plan
    plan = read_json(path) if path.is_file() else None
    changed = differences(plan["identity"], project.data_identity) if plan else []
    if plan is None or changed != [CODE_CHANGED]:
        raise RunError(
            f"not only the simulator's code has changed: {'; '.join(changed) or 'nothing has'}",
            where=project.run.data,
            todo="Run `sbiwb simulate` without --accept-code-change.",
        )
    put_json(path, {**plan, "accepted": [*plan.get("accepted", []), project.own_hash]})
    reporter.say("The new code is taken to give the same rows; noted in the run's plan.")


def _check_later_steps(project: Project, layout: Layout, reporter: Reporter) -> None:
    """What training and sampling would stumble over is told before hours are spent; an observation may still be mended meanwhile."""
    check_variables(project.config.model, set(layout), set(project.context))
    project.derived.check(project.config.simulate.seed)
    shapes = {name: one.event for name, one in project.context.items()}
    for observation in project.observations:
        try:
            observe(observation, layout, shapes)
        except DataError as error:
            reporter.warn(f"observation {observation.name} cannot be read: {error}")


def _auto_blocks(project: Project, split: str, seconds_per_row: float, bytes_per_row: float) -> int:
    """Blocks a shard: a sixteenth of the split, 5 minutes and 64 MiB at most, rounded down to a power of two."""
    rows = min(
        counts(project)[split] / SHARDS_PER_SPLIT,
        SHARD_SECONDS / max(seconds_per_row, 1e-9),
        SHARD_BYTES / bytes_per_row,
    )
    return 1 << max(0, int(rows / project.block_size).bit_length() - 1)


def shard_blocks(project: Project, plan: dict[str, Any], split: str) -> int:
    """Blocks a shard: from the YAML where it says so, else from the plan."""
    size = project.config.simulate.shard_size
    return (
        max(1, size // project.block_size) if isinstance(size, int) else plan["shard_blocks"][split]
    )


def cells(project: Project, plan: dict[str, Any]) -> int:
    """Places for a shard in all splits: where blocks are cut whatever exists already, so that they can be dealt out by number."""
    return sum(-(-blocks(project, split) // shard_blocks(project, plan, split)) for split in SPLITS)


def borrow(project: Project, reporter: Reporter) -> dict[str, Any]:
    """Checks that the other run's shards are this problem's, and enough."""
    other = project.data_run
    if not other.plan.is_file():
        raise RunError(
            "holds no simulations",
            where=other.path,
            todo="Run `sbiwb simulate` on that run first, or leave out simulate.from.",
        )
    plan = read_json(other.plan)
    if plan["data_hash"] != project.data_hash:
        changed = differences(plan["identity"], project.data_identity)
        raise RunError(
            f"simulates another problem: {'; '.join(changed)}",
            where=other.path,
            todo="Make them equal, or leave out simulate.from.",
        )
    write_config(project)
    for split in SPLITS:
        gaps = manifest.missing(
            manifest.shards(other.split(split), project.data_hash), blocks(project, split)
        )
        if gaps:
            raise RunError(
                f"has fewer than {counts(project)[split]:,} pairs of {split}",
                where=other.path,
                todo=f"Leave out simulate.{split} to take what is there, or raise it there and run `sbiwb simulate` on that run.",
            )
    reporter.say(f"Using the simulations of {other.path}.")
    return {split: manifest.summary(manifest.shards(other.split(split))) for split in SPLITS}
