"""The verb `train`: fits the network on the shards, from the newest checkpoint if there is one; alone, or one of several processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from sbiwb.claims import Claim, hold
from sbiwb.contracts import Reporter, Silent
from sbiwb.environment import whole_number
from sbiwb.errors import CorruptFile, DiskError, RunError
from sbiwb.files import put, put_json, read_json
from sbiwb.project.checkpoint_facts import CheckpointFacts
from sbiwb.project.fingerprint import differences
from sbiwb.project.opening import write_config
from sbiwb.project.project import Project
from sbiwb.report import log_variances_picture, loss_picture, to_png
from sbiwb.report.saving import put_picture
from sbiwb.rundir import RunDir, put_provenance
from sbiwb.steps.fit.assemble import open_trainer
from sbiwb.steps.fit.find_lr import find_lr
from sbiwb.steps.fit.monitor import Hook, TrainingMonitor, count, put_best
from sbiwb.steps.fit.tracking import trackers
from sbiwb.stopping import Flag, raise_on_signal, watch_signals
from sbiwb.training.checkpoint import newest, read_checkpoint
from sbiwb.training.events import Finished
from sbiwb.training.loop import Trainer
from sbiwb.training.ranks import Ranks, process_group, ranks_from_environment

__all__ = ["TrainResult", "check_alone", "describe", "find_lr", "train"]

FRUITLESS = 3  # starts at one and the same step, before it is an error
STARTS = "starts.json"


@dataclass(frozen=True)
class TrainResult:
    """How training ended; of several processes, one speaks."""

    finished: Finished
    parameters: int
    seconds: float
    is_main_process: bool = True


def train(
    project: Project, reporter: Reporter, *, fresh: bool = False, on_validated: Hook | None = None
) -> TrainResult:
    """Fits the network, or goes on fitting it.

    Under torchrun, or under srun with several tasks, this is one of the processes that train together; only the first writes and reports.

    Args:
        project: What to fit.
        reporter: Where progress goes.
        fresh: Whether to begin again; an earlier training is set aside, not deleted.
        on_validated: Called after each validation; may raise to stop.

    Raises:
        RunError: The checkpoints belong to another model, simulations are missing, or restarts bring nothing.
        TrainingError: The loss is not finite, again and again; memory ran out; another process is gone.
        Stopped: A signal came, or the end of the allocation is near; a checkpoint is written.
    """
    with raise_on_signal():  # until the loop itself minds the signals, and after it
        device = (
            "cuda"
            if project.config.machine.device != "cpu" and torch.cuda.is_available()
            else "cpu"
        )
        with process_group(device) as ranks:
            reporter = reporter if ranks.rank == 0 else Silent()
            if not fresh and (ended := _ended_before(project, reporter)):
                return ended
            with _claimed(project.run, ranks, reporter) as claim:
                if fresh and claim and not whole_number("TORCHELASTIC_RESTART_COUNT", 0):
                    _set_aside(project.run, reporter)
                ranks.barrier()
                return _train(project, reporter, ranks, claim, on_validated)


@contextmanager
def _claimed(run: RunDir, ranks: Ranks, reporter: Reporter) -> Iterator[Claim | None]:
    """The claim on a run's training, held by the first of several processes for all of them.

    A second `sbiwb train` is refused rather than made to wait: by mistake it was begun in another
    terminal, and a job that waits spends its allocation on nothing. One that comes after a killed
    one waits just until it knows, which on the same machine is at once.
    """
    with ExitStack() as stack:
        claim, refused = None, ""
        try:
            if ranks.rank == 0:
                claim = stack.enter_context(
                    hold(run.training_claim, "trains this run", reporter.say)
                )
        except RunError as error:
            if ranks.world == 1:
                raise
            refused = json.dumps([error.what, error.where, error.todo])
        refused = ranks.broadcast(refused)
        if refused:
            what, where, todo = json.loads(refused)
            raise RunError(what, where=where, todo=todo)
        yield claim


def check_alone(verb: str) -> None:
    """Refuses what several processes must not do together.

    Raises:
        RunError: This is one of several processes.
    """
    if ranks_from_environment().world > 1:
        raise RunError(
            "runs in one process, and this is one of several",
            where=f"sbiwb {verb}",
            todo="Of all verbs only `train` works in several.",
        )


def _set_aside(run: RunDir, reporter: Reporter) -> None:
    """Renames an earlier training."""
    if run.train.is_dir():
        number = 1 + len(list(run.path.glob("train.before-*")))
        aside = run.path / f"train.before-{number}"
        run.train.rename(aside)
        reporter.say(f"The training before is kept as {aside}.")


def _train(
    project: Project,
    reporter: Reporter,
    ranks: Ranks,
    claim: Claim | None,
    on_validated: Hook | None,
) -> TrainResult:
    start = time.perf_counter()
    if (ended := _ended_before(project, reporter)) is not None:
        return ended  # by another process, since we looked
    state = _saved_state(project, reporter)
    if ranks.rank == 0:
        write_config(project)
    ranks.barrier()
    flag = Flag()
    # of several processes none may leave alone, while the others wait for its gradient
    check = flag.raise_if_stopping if ranks.world == 1 else lambda: None
    opened = open_trainer(
        project,
        reporter,
        saved=None if state is None else _facts(project, state),
        ranks=ranks,
        check=check,
    )
    trainer = opened.trainer
    try:
        if state is not None:
            trainer.load(state["trainer"])
            reporter.say(f"Going on from step {trainer.progress.step:,}.")
        if not ranks.all_equal(torch.tensor([trainer.progress.step])):
            raise RunError(
                "is read differently by the processes",
                where=project.run.train,
                todo="Run the same command again.",
            )
        _count_start(project.run, trainer, ranks)
        with (
            trackers(project, reporter, step=trainer.progress.step)
            if ranks.rank == 0
            else nullcontext() as tracking,
            watch_signals(flag),
        ):
            monitor = TrainingMonitor(
                project,
                opened,
                reporter,
                tracking,
                on_validated,
                check=claim.check if claim else None,
            )
            finished = monitor.follow(flag)
    finally:
        trainer.source.close()
    if ranks.rank == 0:
        _close(project, trainer, finished, ranks, time.perf_counter() - start)
    return TrainResult(
        finished,
        count(trainer.module),
        time.perf_counter() - start,
        is_main_process=ranks.rank == 0,
    )


def _close(
    project: Project, trainer: Trainer, finished: Finished, ranks: Ranks, seconds: float
) -> None:
    """Provenance and picture of a training that has ended."""
    facts = {
        "data_hash": project.data_hash,
        "model_hash": project.model_hash,
        "seed": project.config.train.seed,
        "processes": ranks.world,
    }
    facts["parameters"] = count(trainer.module)
    put_provenance(project.run.train, seconds=seconds, facts={**facts, **asdict(finished)})
    put(project.run.loss_picture, to_png(loss_picture(trainer.progress.losses, finished.best_step)))
    module: Any = trainer.module
    if hasattr(module, "log_variances"):
        module.load_state_dict(trainer.best)
        put_picture(
            project.run.train / "log_variances",
            log_variances_picture(_by_part(module), module.initial),
        )


def _by_part(module: Any) -> dict[str, np.ndarray]:
    """Learned log-variances of the weights of each summary network and each transform."""
    ranks_from_environment: dict[str, list[np.ndarray]] = {}
    for name, values in module.log_variances().items():
        ranks_from_environment.setdefault(part_of(name, module.base.names), []).append(
            values.cpu().numpy()
        )
    return {name: np.concatenate(parts) for name, parts in ranks_from_environment.items()}


def part_of(name: str, inputs: Sequence[str]) -> str:
    """What a parameter belongs to: `summary of x`, `inference.transforms.0`."""
    kind, *rest = name.split(".")
    return (
        f"summary of {inputs[int(rest[0])]}"
        if kind == "summaries"
        else ".".join([kind, *rest[:2]][: 3 if rest[0] == "transforms" else 1])
    )


def _count_start(run: RunDir, trainer: Trainer, ranks: Ranks) -> None:
    """Notes at which step this start begins, so that requeueing for ever without progress ends with an error.

    Raises:
        RunError: The starts before began at the same step.
    """
    path, step = run.train / STARTS, trainer.progress.step
    before = read_json(path) if path.is_file() else {"step": -1, "starts": 0}
    starts = before["starts"] + 1 if before["step"] == step else 1
    ranks.barrier()
    if starts > FRUITLESS:
        if ranks.rank == 0:
            path.unlink(missing_ok=True)
        raise RunError(
            f"was begun {FRUITLESS} times at step {step:,} and stopped each time before the next checkpoint",
            where=run.train,
            todo="Ask for more time, or lower train.checkpoint_every_s; then run the same command again.",
        )
    if ranks.rank == 0:
        put_json(path, {"step": step, "starts": starts})


def _saved_state(project: Project, reporter: Reporter) -> dict[str, Any] | None:
    """The newest valid checkpoint of this very model, if there is one.

    Raises:
        RunError: It belongs to another model or other data.
    """
    state, wrong = newest(project.run.train)
    for error in wrong:
        reporter.warn(
            f"{error.where} {error.what}; going on from the one before."
            if state
            else f"{error.where} {error.what}."
        )
    if wrong and state is None:
        reporter.warn("No whole checkpoint is left: training begins again.")
    if state is not None and _facts(project, state).model_hash != project.model_hash:
        changed = differences(_facts(project, state).identity, project.model_identity)
        raise RunError(
            f"holds the training of another model: {'; '.join(changed)}",
            where=project.run.train,
            todo="`--fresh` sets it aside and trains anew on the same simulations; or change that back; or give the new one its own `name` "
            + "with simulate: {from: "
            + str(project.run.path)
            + "}.",
        )
    return state


def _facts(project: Project, state: dict[str, Any]) -> CheckpointFacts:
    return CheckpointFacts.of(state, project.run.train)


def _ended_before(project: Project, reporter: Reporter) -> TrainResult | None:
    """The result of a training that is done already; no claim is needed to read it."""
    if not (project.run.train / "provenance.json").is_file():
        return None
    state = _saved_state(project, reporter)
    if state is None or not state["trainer"]["progress"]["finished"]:
        return None
    reporter.say("Training is done already.")
    return _ended(project, state)


def _ended(project: Project, state: dict[str, Any]) -> TrainResult:
    """The result of a training that ended before; lost or damaged best weights are written again."""
    trainer = state["trainer"]
    try:
        read_checkpoint(project.run.best)
    except (CorruptFile, DiskError):
        if ranks_from_environment().rank == 0:
            put_best(
                project.run,
                trainer["best"],
                _facts(project, state),
                trainer["progress"]["best_step"],
            )
    provenance = json.loads((project.run.train / "provenance.json").read_bytes())
    finished = Finished(**{name: provenance[name] for name in Finished.__dataclass_fields__})
    return TrainResult(
        finished,
        sum(value.numel() for value in trainer["module"].values()),
        provenance["seconds"],
        is_main_process=ranks_from_environment().rank == 0,
    )


REASONS = {
    "steps": "all steps are done",
    "patience": "validation stopped improving and the learning rate was annealed to zero",
    "time": "train.max_time_min is spent, and the learning rate was annealed to zero",
}


def describe(trained: TrainResult) -> Iterator[str]:
    """Why it stopped, and whether more steps or more pairs would help."""
    finished = trained.finished
    yield (
        f"Stopped at step {finished.step:,}: {REASONS[finished.reason]}. "
        f"Best validation loss {finished.best_loss:.4f} at step {finished.best_step:,}."
    )
    if finished.still_falling:
        yield "Validation was still falling in the last fifth: more train.steps would help (then --fresh)."
    if finished.gap > 0.2:
        yield f"Validation lies {finished.gap:.2f} nats above training at the best step: more simulations (simulate.train) would help most."
