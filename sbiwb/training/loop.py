"""The training loop: a generator of events over a state that can be saved at any step.

A resumed training gives the same numbers. A step waits for nothing: the loss and whether it is
finite stay on the device, and the losses of the last steps are read every `READ_EVERY` steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from sbiwb.contracts.network_modules import TrainableModule
from sbiwb.seeds import generator, torch_seed
from sbiwb.training import training_errors
from sbiwb.training.descent import READ_EVERY, Descent
from sbiwb.training.events import (
    Event,
    Finished,
    RolledBack,
    StepInterrupted,
    Stepped,
    Stopping,
    Validated,
)
from sbiwb.training.facts import facts_of
from sbiwb.training.ranks import ALONE, Ranks
from sbiwb.training.schedule import ANNEAL_SHARE, Anneal, HasRate, Schedule
from sbiwb.training.sources import BatchSource, TensorPairs
from sbiwb.training.train_options import TrainOptions
from sbiwb.training.training_progress import Progress
from sbiwb.training.validation import Validation

BAD_STEPS = 20  # non-finite steps in a row, before a rollback
MAX_ROLLBACKS = 5
GO_ON = "Run the same command again to continue."
PLATEAU = 5  # validations without improvement, before the schedule `plateau` halves the rate


class Trainer:
    """Fits a module whose `forward(z, inputs)` gives log-densities and penalties.

    Args:
        module: What is trained, on its device: an estimator, or several whose batches come side by
            side.
        source: Where training pairs come from.
        validation: Validation pairs on the same device.
        options: The section `train`.
        ranks: The processes that train together; their batches make one.
        density: What is called instead of the module for a step, such as its compiled form.
        precision: A context for the forward pass, such as autocast.

    Warning:
        The module's own weights are the running ones; those of `descent.averaged` are validated
        and kept.
    """

    def __init__(
        self,
        module: TrainableModule,
        source: BatchSource,
        validation: TensorPairs,
        options: TrainOptions,
        *,
        ranks: Ranks = ALONE,
        density: Callable[..., tuple[Tensor, Tensor]] | None = None,
        precision: AbstractContextManager[object] | None = None,
    ) -> None:
        self.module, self.source, self.options, self.ranks = module, source, options, ranks
        self.density: Callable[..., tuple[Tensor, Tensor]] = module
        if density is not None:
            self.density = density
        self.precision = precision or nullcontext()
        self.steps = options.steps
        if options.epochs:
            self.steps = options.epochs * source.steps_per_epoch
        self.schedule: HasRate = Schedule(
            options.schedule, options.learning_rate, self.steps, options.warmup
        )
        self.descent = Descent(module, options, self.steps)
        self.validation = Validation(self.descent.averaged, module, validation, ranks)
        self.module.train()
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self._good = self.descent.vectors()

    @property
    def validate_every(self) -> int:
        return self.options.validate_every or max(50, self.steps // 100)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values."""
        cuda_rng = None
        if self._on_gpu:
            cuda_rng = torch.cuda.get_rng_state()
        return {
            "module": self.module.state_dict(),
            "averages": self.descent.averages,
            "best": self.best,
            "optimizer": self.descent.optimizer.state_dict(),
            "good": self._good,
            "recent": self.descent.recent,
            "norm": self.descent.norm,
            "source": self.source.state(),
            "progress": asdict(self.progress),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": cuda_rng,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes back to a saved state."""
        self.module.load_state_dict(state["module"])  # copies into the views of the flat vector
        self.descent.averages.copy_(state["averages"])
        self.best, self._good = state["best"], state["good"]
        self.descent.optimizer.load_state_dict(state["optimizer"])
        self.descent.recent.copy_(state["recent"])
        self.descent.norm.copy_(state["norm"])
        self.source.load(state["source"])
        self.progress = Progress(**state["progress"])
        torch.set_rng_state(state["torch_rng"].cpu())
        if state["cuda_rng"] is not None and self._on_gpu:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())

    def run(self, stopping: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Steps until the budget, the patience or the time ends.

        The state is consistent at every yield.

        Args:
            stopping: Whether this process was asked to stop; all processes then stop at the same
                step.

        Raises:
            TrainingError: The loss became NaN or infinite in spite of smaller rates, memory ran
                out, or the processes came to differ.
            StepInterrupted: A signal ended the compiler of the first step.
        """
        progress, self._since = self.progress, time.monotonic() - self.progress.seconds
        while not progress.finished:
            if self._validation_is_due:
                yield self._validate()
            if progress.step >= self._end:
                progress.finished = progress.ending or "steps"
                break
            self.step(stopping)
            rolled_back = self._look()
            yield Stepped(progress.step)
            if rolled_back:
                yield RolledBack(progress.step, progress.good_step, progress.rate_scale)
            if self._all_may_stop and self.ranks.any_rank(stopping()):
                yield Stopping(progress.step)
        yield self._finish()

    def step(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """One step.

        Raises:
            TrainingError: Memory ran out.
            StepInterrupted: It failed while this process was asked to stop.
        """
        self.descent.rate = self._rate
        if self.module.random:
            self._seed()
        batch = self.source.batch(self.progress.step)
        self.descent.weights.clear_grads()
        try:
            self._backward(batch)
        except Exception as error:
            if stopping():
                raise StepInterrupted("stopped while a step was compiled", todo=GO_ON) from error
            if training_errors.is_out_of_memory(error):
                size, device = self.source.batch_size, str(self.descent.recent.device)
                raise training_errors.out_of_memory(self.progress.step, size, device) from error
            raise
        self.ranks.all_reduce_sum(self.descent.weights.gradient)
        if self.ranks.world > 1:
            self.descent.weights.gradient.div_(self.ranks.world)
        self.descent.update(self.progress.step)
        self.progress.step += 1

    def last_loss(self) -> float:
        """Loss of the last step with all penalties, in nats per pair."""
        return float(self.descent.weights.extra.sum())

    @property
    def _on_gpu(self) -> bool:
        return self.descent.recent.is_cuda

    @property
    def _validation_is_due(self) -> bool:
        step = self.progress.step
        at_border = step > 0 and (step % self.validate_every == 0 or step == self._end)
        return at_border and not self.progress.is_validated

    @property
    def _all_may_stop(self) -> bool:
        """Whether this is a step after which all processes ask each other."""
        return self.ranks.world == 1 or self.progress.step % READ_EVERY == 0

    @property
    def _end(self) -> int:
        anneal = self.progress.last_stretch
        if anneal is None:
            return self.steps
        return anneal.end

    @property
    def _rate(self) -> float:
        progress = self.progress
        return progress.rate_scale * self.schedule.rate(progress.step, progress.last_stretch)

    def _backward(self, batch: TensorPairs) -> None:
        """The gradient of a batch, with its loss and penalties behind it."""
        with self.precision:
            objective, penalties = self.density(batch.z, batch.inputs)
            # each member's gradient is what it would be alone
            loss = penalties.sum() - objective.mean(-1).sum()
        loss.backward()
        weights = self.descent.weights
        weights.collect_grads()
        weights.extra[0] = -objective.detach().mean()
        weights.extra[1:] = penalties.detach() / self.module.members

    def _seed(self) -> None:
        """Random numbers of its own for each step and process, so that no state is kept.

        `torch.manual_seed` takes 100 times as long.
        """
        rng = generator(self.options.seed, "noise", self.ranks.rank, self.progress.step)
        seed = torch_seed(rng)
        torch.default_generator.manual_seed(seed)
        if self._on_gpu:
            torch.cuda.manual_seed(seed)

    def _look(self) -> bool:
        """Reads now and then what the device knows; whether the weights were rolled back."""
        progress, limit = self.progress, self.options.max_time_min
        if progress.step % READ_EVERY:
            return False
        progress.seconds = time.monotonic() - self._since
        if limit and self.ranks.any_rank(progress.seconds > 60 * limit * (1 - ANNEAL_SHARE)):
            self._end_soon("time")
        self._read_losses()
        if progress.bad_in_a_row < BAD_STEPS:
            return False
        self._roll_back()
        return True

    def _read_losses(self) -> None:
        """Counts the losses since the last look."""
        recent = self.descent.recent.tolist()
        for step in range(self.progress.read, self.progress.step):
            self.progress.count_step(recent[step % READ_EVERY])
        self.progress.read = self.progress.step

    def _end_soon(self, why: str) -> None:
        """Begins the last stretch, unless it has begun."""
        step = self.progress.step
        if self.progress.anneal or step >= self.steps:
            return
        length = max(1, min(round(ANNEAL_SHARE * step), self.steps - step))
        self.progress.anneal = asdict(Anneal(step, length, self.schedule.rate(step)))
        self.progress.ending = why

    def _roll_back(self) -> None:
        """Goes on from the last finite validation at half the rate; the step count goes on."""
        progress = self.progress
        progress.times_back += 1
        if progress.times_back > MAX_ROLLBACKS:
            raise training_errors.not_finite(
                progress.step,
                f"the loss became NaN or infinite in {BAD_STEPS} steps in a row, "
                f"after halving the learning rate {MAX_ROLLBACKS} times",
            )
        progress.rate_scale /= 2
        self.descent.restore(self._good)
        progress.bad_in_a_row = 0

    def _validate(self) -> Validated:
        progress, options, descent = self.progress, self.options, self.descent
        self._read_losses()
        train_loss, *penalties = progress.take_means(len(self.module.terms))
        loss = self.validation.loss()
        self._check_ranks()
        improved = progress.note_validation(train_loss, loss)
        if improved:
            self.best = self.validation.weights()
        if progress.good_step == progress.step:
            self._good = descent.vectors()
        if options.schedule == "plateau" and progress.waited and progress.waited % PLATEAU == 0:
            progress.rate_scale /= 2
        if options.patience and progress.waited >= options.patience:
            self._end_soon("patience")
        return Validated(
            progress.step,
            train_loss,
            loss,
            dict(zip(self.module.terms, penalties, strict=True)),
            descent.rate,
            float(descent.norm.mean()),
            progress.skipped,
            improved,
        )

    def _finish(self) -> Finished:
        if not self.best:
            raise training_errors.not_finite(self.progress.step, "no validation loss was finite")
        if self.module.stacking:
            self.best = self.validation.stack(self.best)
        return Finished(facts_of(self.progress, likelihood=self.module.likelihood))

    def _check_ranks(self) -> None:
        if not self.ranks.all_equal(self.descent.weights.vector):
            raise training_errors.ranks_differ(self.progress.step, self.ranks.world)
