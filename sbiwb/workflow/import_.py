"""The verb `import`: simulations in files of the user's own become the shards of a run.

The files are read twice, a few rows at a time. First everything is checked, and bad rows and
copies are found; then each row goes to its place in a random order, by way of one scratch file for
each shard. So the first rows of a split are a fair sample of it, as `train` takes for granted, and
what is held in memory is a chunk, or the rows of one shard and its image.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from sbiwb.config import RunConfig
from sbiwb.contracts import Reporter
from sbiwb.errors import ConfigError, CorruptFile, DataError, DiskError, RunError
from sbiwb.files import stable_hash
from sbiwb.project.fingerprint import Identity, differences
from sbiwb.project.imported import IMPORTED, content_hash
from sbiwb.project.opening import write_config
from sbiwb.project.plan import ImportFacts, Plan, heal_plan, plan_or_none, put_plan
from sbiwb.project.project import Project
from sbiwb.rundir import SPLITS, RunDir, put_provenance, versions
from sbiwb.seeds import generator
from sbiwb.steps.intake.columns import WHERE, MappedFile, Variables
from sbiwb.steps.intake.request import SHARES, ImportRequest
from sbiwb.steps.intake.sort import LEFT_OUT, Placement, Sorting, SplitPlan, sort_into_shards
from sbiwb.steps.intake.survey import Survey, survey
from sbiwb.steps.pairs.shard_grid import auto_shard_blocks
from sbiwb.store import manifest
from sbiwb.store.foreign import foreign
from sbiwb.store.manifest import Summaries
from sbiwb.store.shards import check_shard

MACHINE_VERSIONS = ("python", "numpy", "h5py", "sbiwb")


def import_files(
    project: Project,
    paths: Sequence[Path],
    reporter: Reporter,
    *,
    columns: Sequence[str] = (),
    shares: str = SHARES,
    by: str = "",
) -> Summaries:
    """Takes pairs from files into a run.

    Args:
        project: Its YAML says `simulator: imported`.
        paths: CSV, NPZ, HDF5 or Parquet files, one after the other.
        reporter: Where progress goes.
        columns: `VARIABLE=COLUMN` or `VARIABLE=A,B,C`, where names differ.
        shares: Of train, validation and test.
        by: Column that numbers the data sets, where a table has one row a member or step.

    Returns:
        The manifest: counts by split.

    Raises:
        ConfigError: The YAML is not one for imported pairs, or an option cannot be read.
        DataError: A column is missing, or holds what it must not.
        FailureRateError: More rows are not finite than allowed.
        RunError: The run folder holds other pairs.
    """
    start = time.perf_counter()
    intake = Intake(project)
    intake.check()
    request = ImportRequest.parse(paths, columns, shares, by)
    facts = request.facts()
    identity = project.identity(content_hash(facts))
    heal_plan(project.run, reporter)
    if _is_done(project.run, identity):
        reporter.say("These files are imported already, and every shard is whole.")
        return manifest.write_manifest(project.run)
    variables = intake.variables()
    files = [MappedFile.of(foreign(path), variables, request.columns, by) for path in request.paths]
    max_rate = project.config.simulate.failures.max_rate
    result = survey(files, variables, max_rate, reporter)
    placement = _placement(project.config.simulate.seed, result, request.shares, reporter)
    _warn_of_failed(result, reporter)
    project = intake.with_counts(placement.pairs)
    facts = replace(facts, rows=placement.pairs)
    plan = _plan(project.config, identity, facts, result)
    put_plan(project.run, plan)
    write_config(project)
    sort_into_shards(_sorting(project.run, plan, result), files, variables, placement, reporter)
    put_provenance(
        project.run.data,
        seconds=time.perf_counter() - start,
        facts={
            "data_hash": plan.data_hash,
            "seed": project.config.simulate.seed,
            "files": facts.files,
        },
    )
    return manifest.write_manifest(project.run)


@dataclass(frozen=True)
class Intake:
    """A project that takes its pairs from files.

    Args:
        project: Its YAML says `simulator: imported`.
    """

    project: Project

    def check(self) -> None:
        """Refuses a YAML that is not one for imported pairs.

        Raises:
            ConfigError: It has a simulator, or uses another run's pairs.
        """
        project = self.project
        if not project.is_imported:
            raise ConfigError(
                f"problem.simulator is {project.config.problem.simulator!r}",
                where=project.base,
                todo=f"Write `simulator: {IMPORTED}` into the YAML of imported pairs.",
            )
        if project.data_run.path != project.run.path:
            raise ConfigError(
                "simulate.from names another run",
                where=project.base,
                todo="Leave it out, or import into that run.",
            )

    def variables(self) -> Variables:
        """What the YAML names; observables are what inputs use, or `drop` names."""
        problem, model = self.project.config.problem, self.project.config.model
        used: dict[str, None] = {}
        for key, model_input in model.inputs.items():
            used |= dict.fromkeys(model_input.plan(key).variables)
        used |= dict.fromkeys(model.drop)
        return Variables(
            theta=self.project.prior.distributions,
            slices=self.project.prior.slices,
            context=self.project.context,
            x=tuple(name for name in used if name not in problem.context),
            missing=frozenset(problem.missing),
        )

    def with_counts(self, pairs: Mapping[str, int]) -> Project:
        """The project with the counts of the import.

        Raises:
            ConfigError: The YAML asks for more.
        """
        simulate = self.project.config.simulate
        given = simulate.model_dump(include=simulate.model_fields_set)
        for split, count in pairs.items():
            if given.get(split, 0) > count:
                raise ConfigError(
                    f"simulate.{split} is {given[split]:,}, and {count:,} rows fall to it",
                    where=self.project.base,
                    todo="Leave it out to take all, or import more, or change --shares.",
                )
        return self.project.with_pairs(
            {split: n for split, n in pairs.items() if split not in given}
        )


def _is_done(run: RunDir, identity: Identity) -> bool:
    """Whether this import has been brought to its end.

    Raises:
        RunError: The run holds other pairs.
    """
    plan = plan_or_none(run)
    if plan is None:
        return False
    if plan.data_hash != stable_hash(identity):
        _refuse_other_pairs(run, plan, identity)
        return False
    if plan.imported is None:
        return False
    return all(_is_whole(run.split(split), rows) for split, rows in plan.imported.rows.items())


def _refuse_other_pairs(run: RunDir, plan: Plan, identity: Identity) -> None:
    """Refuses to import over other pairs.

    Raises:
        RunError: There are some.
    """
    if not any(manifest.shard_files(run.split(split)) for split in SPLITS):
        return
    changed = "; ".join(differences(plan.identity, identity))
    changed = changed.replace("problem.simulator code", "the files, columns or shares")
    todo = "Give the run another `name`, or delete the folder if its pairs are no longer wanted."
    raise RunError(f"holds other pairs: {changed}", where=run.data, todo=todo)


def _is_whole(folder: Path, rows: int) -> bool:
    """Whether a split has all its shards, each as its record says."""
    try:
        held = manifest.shards(folder)
        for shard in held:
            check_shard(shard.path, shard.record)
    except (CorruptFile, DiskError):
        return False
    return not manifest.missing(held, rows)


def _placement(seed: int, result: Survey, shares: Sequence[float], reporter: Reporter) -> Placement:
    """A random order of the good rows, cut into splits; a row that comes again is left out.

    Raises:
        DataError: A split would be empty.
    """
    rows = np.flatnonzero(_good_rows(result, reporter))
    result.digests.clear()  # they take as much memory as a column
    sizes = [round(share * len(rows)) for share in shares[1:]]
    sizes.insert(0, len(rows) - sum(sizes))
    if min(sizes) < 1:
        raise DataError(
            f"{len(rows)} good rows are too few for three splits",
            where=WHERE,
            todo="Import more, or change --shares.",
        )
    split = np.full(result.rows, LEFT_OUT, np.int8)
    place = np.zeros(result.rows, np.int64)
    order = generator(seed, "train", 0).permutation(len(rows))
    for number, (start, stop) in enumerate(pairwise(np.cumsum([0, *sizes]))):
        members = rows[order[start:stop]]
        split[members], place[members] = number, np.arange(stop - start)
    return Placement(split, place)


def _good_rows(result: Survey, reporter: Reporter) -> np.ndarray:
    """Which rows are neither bad nor copies, (rows,)."""
    good = np.ones(result.rows, bool)
    good[[failure.block for failure in result.ledger]] = False
    if not result.is_compared:
        return good
    first = np.zeros(result.rows, bool)
    first[np.unique(np.concatenate(result.digests), return_index=True)[1]] = True
    copies = int((good & ~first).sum())
    if copies:
        reporter.warn(
            f"{copies:,} rows are copies of others and are left out: no row may be in two splits."
        )
    return good & first


def _warn_of_failed(result: Survey, reporter: Reporter) -> None:
    if not result.ledger:
        return
    first = result.ledger[0]
    count = f"{len(result.ledger):,} of {result.rows:,} rows"
    reporter.warn(
        f"{count} are left out as failed simulations, the first in row {first.block}:"
        f" {first.message}."
    )


def _plan(config: RunConfig, identity: Identity, facts: ImportFacts, result: Survey) -> Plan:
    size = config.simulate.shard_size
    shard_blocks = {}
    for split, pairs in facts.rows.items():
        shard_blocks[split] = auto_shard_blocks(
            pairs, 1, seconds_per_row=0.0, bytes_per_row=result.bytes_per_row
        )
        if isinstance(size, int):
            shard_blocks[split] = size
    return Plan(
        data_hash=stable_hash(identity),
        identity=identity,
        layout=result.layout(config.problem.missing),
        seconds_per_row=0.0,
        bytes_per_row=result.bytes_per_row,
        shard_blocks=shard_blocks,
        imported=facts,
    )


def _sorting(run: RunDir, plan: Plan, result: Survey) -> Sorting:
    assert plan.imported is not None
    pairs, installed = plan.imported.rows, versions()
    return Sorting(
        run=run,
        data_hash=plan.data_hash,
        layout=plan.layout,
        splits=[SplitPlan(split, pairs[split], plan.shard_blocks[split]) for split in SPLITS],
        ledger=result.ledger,
        versions={name: installed[name] for name in MACHINE_VERSIONS if name in installed},
    )
