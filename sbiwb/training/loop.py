"""The training loop: a generator of events over a state that can be saved at any step and gives the same numbers when resumed."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from sbiwb.errors import TrainingError
from sbiwb.training.data import BatchOrder, TensorPairs
from sbiwb.training.options import TrainOptions
from sbiwb.training.schedule import Anneal, Schedule

VALIDATION_CHUNK = 4096
BAD_STEPS = 20  # non-finite losses in a row, before the run gives up


@dataclass(frozen=True)
class Stepped:
    """One optimiser step; the loss is in nats per pair, of z."""

    step: int
    loss: float


@dataclass(frozen=True)
class Validated:
    """One validation of the averaged weights."""

    step: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    gradient_norm: float
    skipped: int
    improved: bool


@dataclass(frozen=True)
class Finished:
    """The end: at which step, why, and whether the validation loss was still falling."""

    step: int
    reason: str
    best_step: int
    best_loss: float
    still_falling: bool
    gap: float


Event = Stepped | Validated | Finished


@dataclass
class Progress:
    """Everything that changes besides tensors; plain numbers, saved in every checkpoint."""

    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    waited: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    gradient_norm: float = 0.0
    anneal: dict[str, Any] | None = None
    losses: list[list[float]] = field(default_factory=list)  # [step, train, validation]
    finished: str = ""


class Trainer:
    """Fits a module whose `forward(z, inputs)` is a log-density.

    Args:
        module: The estimator.
        pairs: Training pairs on the module's device.
        validation: Validation pairs on the same device.
        options: The section `train`.

    Warning:
        The module's own weights are the running ones; `averaged` holds those that are validated and kept.
    """

    def __init__(self, module: nn.Module, pairs: TensorPairs, validation: TensorPairs, options: TrainOptions) -> None:
        self.module, self.pairs, self.validation, self.options = module, pairs, validation, options
        self.averaged = copy.deepcopy(module).requires_grad_(False)
        self.order = BatchOrder(len(pairs), options.batch_size, options.seed)
        self.schedule = Schedule(options.learning_rate, options.steps, options.warmup)
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)
        self.progress = Progress()
        self.best: dict[str, torch.Tensor] = {}
        self._weights: list[torch.Tensor] = list(module.parameters())
        self._averages: list[torch.Tensor] = list(self.averaged.parameters())

    @property
    def validate_every(self) -> int:
        return self.options.validate_every or max(50, self.options.steps // 100)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values."""
        return {
            "module": self.module.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "torch_rng": torch.get_rng_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state."""
        self.module.load_state_dict(state["module"])
        self.averaged.load_state_dict(state["averaged"])
        self.best = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        torch.set_rng_state(state["torch_rng"])

    def run(self) -> Iterator[Event]:
        """Steps until the budget or the patience ends; the state is consistent at every yield.

        Raises:
            TrainingError: The loss was not finite many times in a row.
        """
        progress = self.progress
        while not progress.finished:
            if self._is_due:
                yield self._validate()
            if progress.step >= self._end:
                progress.finished = "patience" if progress.anneal and self._end < self.options.steps else "steps"
            else:
                yield Stepped(progress.step, self._step())
        yield self._finished()

    @property
    def _is_due(self) -> bool:
        """Whether this step is to be validated and was not: a run may resume from a checkpoint in between."""
        step, losses = self.progress.step, self.progress.losses
        at_border = step > 0 and (step % self.validate_every == 0 or step == self._end)
        return at_border and (not losses or losses[-1][0] != step)

    @property
    def _anneal(self) -> Anneal | None:
        return Anneal(**self.progress.anneal) if self.progress.anneal else None

    @property
    def _end(self) -> int:
        anneal = self._anneal
        return anneal.end if anneal else self.options.steps

    def _step(self) -> float:
        progress = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(progress.step, self._anneal)
        batch = self.pairs.take(self.order.rows(progress.step).to(self.pairs.z.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss = -self.module(batch.z, batch.inputs).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self.options.clip_norm or math.inf)
        value, progress.gradient_norm = loss.item(), norm.item()
        progress.step += 1
        if math.isfinite(value) and math.isfinite(progress.gradient_norm):
            self._accept(value)
        else:
            self._skip(value)
        return value

    def _accept(self, loss: float) -> None:
        self.optimizer.step()
        self._average()
        self.progress.bad_in_a_row = 0
        self.progress.loss_sum += loss
        self.progress.loss_count += 1

    def _skip(self, loss: float) -> None:
        self.progress.skipped += 1
        self.progress.bad_in_a_row += 1
        if self.progress.bad_in_a_row >= BAD_STEPS:
            raise TrainingError(
                f"the loss was {loss} {BAD_STEPS} times in a row",
                where=f"train step {self.progress.step}",
                todo="Lower train.learning_rate, or add a transform such as log or standardize to the inputs.",
            )

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential average of the weights, younger at the start so that it does not remember the initial ones."""
        step = self.progress.step
        decay = min(self.options.ema, (1 + step) / (10 + step)) if self.options.ema else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean negative log-density of z over the validation pairs, by the averaged weights, in nats."""
        self.averaged.eval()
        total = sum(-self.averaged(part.z, part.inputs).double().sum() for part in self.validation.chunks(VALIDATION_CHUNK))
        return float(total) / len(self.validation)

    def _validate(self) -> Validated:
        progress = self.progress
        train_loss = progress.loss_sum / progress.loss_count if progress.loss_count else math.nan
        loss = self.validation_loss()
        improved = loss < progress.best_loss
        if improved:
            progress.best_loss, progress.best_step, progress.waited = loss, progress.step, 0
            self.best = {name: value.clone() for name, value in self.averaged.state_dict().items()}
        else:
            progress.waited += 1
        progress.losses.append([progress.step, train_loss, loss])
        progress.loss_sum, progress.loss_count = 0.0, 0
        rate = self.schedule.rate(progress.step - 1, self._anneal)
        if (
            self.options.patience
            and progress.waited >= self.options.patience
            and not progress.anneal
            and progress.step < self.options.steps
        ):
            progress.anneal = asdict(self.schedule.anneal(progress.step))
        return Validated(progress.step, train_loss, loss, rate, progress.gradient_norm, progress.skipped, improved)

    def _finished(self) -> Finished:
        progress = self.progress
        early = [loss for step, _, loss in progress.losses if step <= 0.8 * progress.step]
        falling = bool(early) and progress.finished == "steps" and min(early) - progress.best_loss > 0.02
        at_best = next((one for one in progress.losses if one[0] == progress.best_step), [0, math.nan, math.nan])
        return Finished(progress.step, progress.finished, progress.best_step, progress.best_loss, falling, at_best[2] - at_best[1])
