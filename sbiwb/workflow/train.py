"""The verb `train`: fits the network on the shards, from the newest checkpoint if there is one.

Alone, or as one of several processes that train together.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

import torch

from sbiwb.claims import Claim, hold
from sbiwb.config.model import Machine
from sbiwb.contracts import Reporter, Silent
from sbiwb.environment import whole_number
from sbiwb.errors import CorruptFile, DiskError, RunError
from sbiwb.project.checkpoint_facts import CheckpointFacts
from sbiwb.project.opening import write_config
from sbiwb.project.project import Project
from sbiwb.rundir import RunDir, TrainProvenance, has_provenance, put_provenance, read_provenance
from sbiwb.steps.fit.assemble import TrainingSession, closing
from sbiwb.steps.fit.find_lr import find_rate
from sbiwb.steps.fit.fit_pictures import put_pictures
from sbiwb.steps.fit.monitor import Hook, TrainingMonitor, announce, weight_count
from sbiwb.steps.fit.outputs import TrainingOutputs, put_best
from sbiwb.steps.fit.resume import SavedTraining, count_start, facts_in, saved_training
from sbiwb.steps.fit.tracking import trackers
from sbiwb.stopping import Flag, raise_on_signal, watch_signals
from sbiwb.training.checkpoint import read_checkpoint
from sbiwb.training.facts import TrainingFacts
from sbiwb.training.loop import Trainer
from sbiwb.training.range_test import RangeTest
from sbiwb.training.ranks import Ranks, process_group, ranks_from_environment
from sbiwb.workflow.train_choices import CLAIMED, complete
from sbiwb.workflow.train_setup import open_trainer


@dataclass(frozen=True)
class TrainResult:
    """How training ended.

    Args:
        facts: Where it was best, why it ended, and what would help.
        parameters: Numbers in the network.
        seconds: Of this start.
        is_main_process: Whether this one of several processes reports.
    """

    facts: TrainingFacts
    parameters: int
    seconds: float
    is_main_process: bool = True


def train(
    project: Project, reporter: Reporter, *, fresh: bool = False, on_validated: Hook | None = None
) -> TrainResult:
    """Fits the network, or goes on fitting it.

    Under torchrun, or under srun with several tasks, this is one of the processes that train
    together; only the first writes and reports.

    Args:
        project: What to fit.
        reporter: Where progress goes.
        fresh: Whether to begin again; an earlier training is set aside, not deleted.
        on_validated: Called after each validation; may raise to stop.

    Raises:
        RunError: The checkpoints belong to another model, simulations are missing, restarts bring
            nothing, or another process trains this run.
        TrainingError: The loss became NaN or infinite again and again; memory ran out; another
            process is gone.
        Stopped: A signal came, or the end of the allocation is near; a checkpoint is written.
    """
    with raise_on_signal(), process_group(_exchange_device(project.config.machine)) as ranks:
        if not ranks.is_main:
            reporter = Silent()
        project = complete(project, reporter, ranks)
        training = _TrainingProcess(project, reporter, ranks)
        if not fresh:
            finished = training.finished_before()
            if finished is not None:
                return finished
        with _claimed(project.run, ranks, reporter) as claim:
            if fresh and claim and not whole_number("TORCHELASTIC_RESTART_COUNT", 0):
                _set_aside(project.run, reporter)
            ranks.barrier()
            return training.train(claim, on_validated)


def find_lr(project: Project, reporter: Reporter) -> RangeTest:
    """A learning-rate range test on the training pairs; changes no training.

    Args:
        project: Its training pairs are simulated.
        reporter: Where progress goes.

    Raises:
        RunError: Simulations are missing, or another process trains this run.
        Stopped: A signal came.
    """
    with raise_on_signal():
        project = complete(project, reporter)
        with hold(project.run.training_claim, CLAIMED, reporter.say):
            write_config(project)
            with closing(open_trainer(project, reporter).trainer) as trainer:
                return find_rate(trainer, project.run, reporter)


def describe(result: TrainResult) -> Iterator[str]:
    """Why training stopped, and whether more steps or more pairs would help."""
    return result.facts.lines()


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


def _exchange_device(machine: Machine) -> str:
    """Where processes that train together exchange gradients."""
    if machine.device != "cpu" and torch.cuda.is_available():
        return "cuda"
    return "cpu"


@contextmanager
def _claimed(run: RunDir, ranks: Ranks, reporter: Reporter) -> Iterator[Claim | None]:
    """The claim on a run's training, held by the first of several processes for all of them.

    A second `sbiwb train` is refused rather than made to wait: by mistake it was begun in another
    terminal, and a job that waits spends its allocation on nothing. One that comes after a killed
    one waits just until it knows, which on the same machine is at once.
    """
    with ExitStack() as stack:
        claim, refusal = None, ""
        if ranks.is_main:
            try:
                claim = stack.enter_context(hold(run.training_claim, CLAIMED, reporter.say))
            except RunError as error:
                refusal = json.dumps([error.what, error.where, error.todo])
        refusal = ranks.broadcast(refusal)
        if refusal:
            what, where, todo = json.loads(refusal)
            raise RunError(what, where=where, todo=todo)
        yield claim


def _set_aside(run: RunDir, reporter: Reporter) -> None:
    """Renames an earlier training."""
    if run.train.is_dir():
        number = 1 + len(list(run.path.glob("train.before-*")))
        aside = run.path / f"train.before-{number}"
        run.train.rename(aside)
        reporter.say(f"The training before is kept as {aside}.")


@dataclass(frozen=True)
class _TrainingProcess:
    """This process of a training, the only one or one of several."""

    project: Project
    reporter: Reporter
    ranks: Ranks

    def train(self, claim: Claim | None, on_validated: Hook | None) -> TrainResult:
        """Begins or goes on, up to the end.

        Args:
            claim: On the run's training, in the process that writes.
            on_validated: Called after each validation.
        """
        project, ranks, start = self.project, self.ranks, time.perf_counter()
        finished = self.finished_before()
        if finished is not None:  # by another process, since we looked
            return finished
        saved = self._saved()
        if ranks.is_main:
            write_config(project)
        ranks.barrier()
        flag = Flag()
        session = open_trainer(
            project,
            self.reporter,
            saved=saved.facts if saved else None,
            ranks=ranks,
            check=_wait_check(flag, ranks),
        )
        with closing(session.trainer) as trainer:
            if saved is not None:
                saved.load_into(trainer)
                self.reporter.say(f"Going on from step {trainer.progress.step:,}.")
            _check_same_step(project.run, trainer, ranks)
            count_start(project.run, trainer.progress.step, ranks)
            facts = self._follow(session, flag, claim, on_validated)
        seconds = time.perf_counter() - start
        if ranks.is_main:
            self._put_ending(trainer, facts, seconds)
        return TrainResult(facts, weight_count(trainer.module), seconds, ranks.is_main)

    def finished_before(self) -> TrainResult | None:
        """The result of a training that is done already; no claim is needed to read it.

        Lost or damaged best weights are written again.
        """
        run = self.project.run
        if not has_provenance(run.train, TrainProvenance):
            return None
        provenance = read_provenance(run.train, TrainProvenance)
        saved = self._saved()
        if provenance is None or saved is None or not saved.is_finished:
            return None
        self.reporter.say("Training is done already.")
        try:
            read_checkpoint(run.best)
        except (CorruptFile, DiskError):
            if self.ranks.is_main:
                best, step = saved.checkpoint.trainer["best"], provenance.best_step
                put_best(run, best, saved.facts, step)
        facts = facts_in(provenance)
        return TrainResult(facts, saved.weight_count, provenance.seconds, self.ranks.is_main)

    def _saved(self) -> SavedTraining | None:
        project = self.project
        identity, model_hash = project.model_identity, project.model_hash
        return saved_training(project.run, identity, model_hash, self.reporter)

    def _follow(
        self,
        session: TrainingSession,
        flag: Flag,
        claim: Claim | None,
        on_validated: Hook | None,
    ) -> TrainingFacts:
        """Trains to the end, with files and trackers where this process holds the claim."""
        config, run = self.project.config, self.project.run
        with ExitStack() as stack:
            outputs = tracking = None
            if claim is not None:
                progress = session.trainer.progress
                last = next((row[0] for row in reversed(progress.losses)), 0)
                facts = self._checkpoint_facts(session)
                outputs = TrainingOutputs(run, facts, last, claim.check)
                tracking = stack.enter_context(
                    trackers(
                        config.machine.tracking,
                        run.train,
                        config.name,
                        facts.config,
                        self.reporter,
                        step=progress.step,
                    )
                )
            stack.enter_context(watch_signals(flag))
            announce(session, self.reporter)
            monitor = TrainingMonitor(
                session,
                self.reporter,
                flag,
                outputs=outputs,
                tracking=tracking,
                checkpoint_every_s=config.train.checkpoint_every_s,
                on_validated=on_validated,
            )
            return monitor.run()

    def _checkpoint_facts(self, session: TrainingSession) -> CheckpointFacts:
        project = self.project
        return CheckpointFacts(
            config=project.config.model_dump(mode="json"),
            adapter=session.adapter.state(),
            settings=session.settings,
            identity=project.model_identity,
            data_hash=project.data_hash,
            model_hash=project.model_hash,
        )

    def _put_ending(self, trainer: Trainer, facts: TrainingFacts, seconds: float) -> None:
        """Provenance and pictures of a training that has ended."""
        project = self.project
        about = {
            "data_hash": project.data_hash,
            "model_hash": project.model_hash,
            "seed": project.config.train.seed,
            "processes": trainer.ranks.world,
            "parameters": weight_count(trainer.module),
        }
        put_provenance(project.run.train, seconds=seconds, facts={**about, **asdict(facts)})
        put_pictures(project.run, trainer)


def _wait_check(flag: Flag, ranks: Ranks) -> Callable[[], None]:
    """What ends a wait for pairs; of several processes none may leave alone, the others wait."""
    if ranks.world > 1:
        return lambda: None
    return flag.raise_if_stopping


def _check_same_step(run: RunDir, trainer: Trainer, ranks: Ranks) -> None:
    if not ranks.all_equal(torch.tensor([trainer.progress.step])):
        raise RunError(
            "is read differently by the processes",
            where=run.train,
            todo="Run the same command again.",
        )
