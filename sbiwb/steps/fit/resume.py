"""Going on from a checkpoint: the newest whole one, if it belongs to this very model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sbiwb.contracts import Reporter
from sbiwb.errors import CorruptFile, RunError
from sbiwb.project.checkpoint_facts import CheckpointFacts
from sbiwb.project.fingerprint import Identity, differences
from sbiwb.rundir import RunDir, TrainProvenance
from sbiwb.start_counter import MAX_FRUITLESS_STARTS, StartCounter
from sbiwb.training.checkpoint import Checkpoint, newest
from sbiwb.training.facts import TrainingFacts
from sbiwb.training.loop import Trainer
from sbiwb.training.ranks import Ranks


@dataclass(frozen=True)
class SavedTraining:
    """A checkpoint to go on from, and what it says of itself."""

    checkpoint: Checkpoint
    facts: CheckpointFacts

    @property
    def is_finished(self) -> bool:
        return bool(self.checkpoint.progress.finished)

    @property
    def weight_count(self) -> int:
        """Numbers in the trained module."""
        module: Mapping[str, Tensor] = self.checkpoint.trainer["module"]
        return sum(value.numel() for value in module.values())

    def load_into(self, trainer: Trainer) -> None:
        """Puts a trainer at the step of this checkpoint.

        Raises:
            CorruptFile: Its tensors do not fit the network.
        """
        try:
            trainer.load(self.checkpoint.trainer)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise CorruptFile(
                f"does not fit the network ({reason})",
                where=self.checkpoint.path,
                todo="Delete it and run the same command again: training goes on from the one "
                "before, or begins again.",
            ) from error


def saved_training(
    run: RunDir, identity: Identity, model_hash: str, reporter: Reporter
) -> SavedTraining | None:
    """The newest valid checkpoint of a run, if there is one.

    Args:
        run: Whose.
        identity: What decides the network now.
        model_hash: Of `identity`.
        reporter: Hears which checkpoints are damaged.

    Raises:
        RunError: It belongs to another model or other data.
    """
    checkpoint, damaged = newest(run.train)
    ending = ""
    if checkpoint:
        ending = "; going on from the one before"
    for error in damaged:
        reporter.warn(f"{error.where} {error.what}{ending}.")
    if checkpoint is None:
        if damaged:
            reporter.warn("No whole checkpoint is left: training begins again.")
        return None
    facts = CheckpointFacts.of(checkpoint.content, checkpoint.path)
    if facts.model_hash != model_hash:
        changed = "; ".join(differences(facts.identity, identity))
        raise RunError(
            f"holds the training of another model: {changed}",
            where=run.train,
            todo="`--fresh` sets it aside and trains anew on the same simulations; or change that "
            "back; or give the new one its own `name` with "
            f"simulate: {{from: {run.path}}}.",
        )
    return SavedTraining(checkpoint, facts)


def facts_in(provenance: TrainProvenance) -> TrainingFacts:
    """How a training ended, as its provenance says."""
    return TrainingFacts(
        step=provenance.step,
        reason=provenance.reason,
        best_step=provenance.best_step,
        best_loss=provenance.best_loss,
        still_falling=provenance.still_falling,
        gap=provenance.gap,
        last_loss=provenance.last_loss,
        last_train_loss=provenance.last_train_loss,
        overfits=provenance.overfits,
    )


def count_start(run: RunDir, step: int, ranks: Ranks) -> None:
    """Notes at which step this start begins, so that requeueing without progress comes to an end.

    Raises:
        RunError: The starts before began at the same step.
    """
    counter = StartCounter(run.starts)
    number = counter.next_start(step)
    ranks.barrier()  # all have read before one writes
    if number <= MAX_FRUITLESS_STARTS:
        if ranks.is_main:
            counter.put(step, number)
        return
    if ranks.is_main:
        counter.clear()
    raise RunError(
        f"was begun {MAX_FRUITLESS_STARTS} times at step {step:,} and stopped each time before "
        "the next checkpoint",
        where=run.train,
        todo="Ask for more time, or lower train.checkpoint_every_s; then run the same command "
        "again.",
    )
