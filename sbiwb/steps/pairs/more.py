"""`simulate --more`: a run grows by further blocks; what it holds stays as it is."""

from __future__ import annotations

from dataclasses import replace

from sbiwb import config as yaml_config
from sbiwb.contracts import Reporter
from sbiwb.errors import ConfigError, RunError
from sbiwb.project.project import Project
from sbiwb.rundir import SPLITS

WHERE = "sbiwb simulate --more"


def extended(project: Project, asked: str, reporter: Reporter) -> Project:
    """The project with more pairs than its run asks for now.

    A split is whole blocks in order, so these are the rows of asking for the larger number at once, and with the same `shard_size` the
    same shards, but for the last one where the run did not end with a full one: it stays, and its neighbour begins in its middle.

    Args:
        project: A run that is begun.
        asked: `500`: training pairs; or `train=500,test=100`.
        reporter: Hears what a YAML that says less will do.

    Raises:
        ConfigError: `asked` is neither.
        RunError: Nothing is simulated yet, or the pairs are another run's or imported.
    """
    more = _counts(asked)
    _check_own(project)
    now = yaml_config.load(project.run.config).simulate
    wanted = {split: getattr(now, split) + more.get(split, 0) for split in SPLITS}
    for split in more:
        said = getattr(project.config.simulate, split)
        if said < wanted[split] and project.base.resolve() != project.run.path.resolve():
            reporter.say(
                f"The run now has {wanted[split]:,} pairs of {split}; this YAML says {said:,}, and a command on it takes the first"
                f" {said:,}. Write simulate.{split}: {wanted[split]} there, or name the run folder: sbiwb train {project.run.path}"
            )
    return replace(
        project,
        config=project.config.model_copy(
            update={"simulate": project.config.simulate.model_copy(update=wanted)}
        ),
    )


def _counts(asked: str) -> dict[str, int]:
    """Pairs by split."""
    parts = [part.partition("=") for part in asked.split(",")]
    named = {name.strip(): number for name, equals, number in parts if equals} or {"train": asked}
    plain = all(
        number.strip().replace("_", "").isdecimal() and int(number) > 0 for number in named.values()
    )
    if not plain or set(named) - set(SPLITS) or len(named) != len(parts):
        raise ConfigError(
            f"cannot read '{asked}'",
            where=WHERE,
            todo="Write --more 500, or --more train=500,test=100.",
        )
    return {name: int(number) for name, number in named.items()}


def _check_own(project: Project) -> None:
    if project.data_run.path != project.run.path:
        todo = f"Extend that one: sbiwb simulate {project.data_run.path} --more N"
        raise RunError("uses the simulations of another run", where=project.run.path, todo=todo)
    if not (project.run.plan.is_file() and project.run.config.is_file()):
        todo = f"Write the number into simulate.train, and run `sbiwb simulate` on {project.base}."
        raise RunError("has no simulations to extend", where=project.run.path, todo=todo)
    if project.is_imported:
        raise RunError(
            "holds imported pairs",
            where=project.run.path,
            todo="Import all files together into a run of another `name`.",
        )
