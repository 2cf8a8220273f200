"""The training loop: a generator of events over a state that can be saved at any step and gives the same numbers when resumed.

A step waits for nothing: the loss and whether it is finite stay on the device, a step that is not finite changes no weight, and the losses
of the last steps are read every `READ_EVERY` steps.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from sbiwb.contracts.modules import TrainableModule
from sbiwb.errors import TrainingError
from sbiwb.seeds import generator, torch_seed
from sbiwb.training.events import Event, Finished, RolledBack, Stepped, Stopping, Validated
from sbiwb.training.flat import FlatWeights
from sbiwb.training.ranks import ALONE, Ranks
from sbiwb.training.schedule import ANNEAL_SHARE, Anneal, Schedule
from sbiwb.training.sources import BatchSource, TensorPairs
from sbiwb.training.train_options import TrainOptions

VALIDATION_MEMBERS = 8192  # of all data sets in one chunk of the validation
READ_EVERY = 20  # steps between looks at what the device knows
BAD_STEPS = 20  # non-finite steps in a row, before the run goes back
TIMES_BACK = 5  # before it gives up
PLATEAU = 5  # validations without improvement, before the schedule `plateau` halves the rate


class HasRate(Protocol):
    """A schedule."""

    def rate(self, step: int, anneal: Anneal | None = None) -> float: ...


@dataclass
class Progress:
    """Everything that changes besides tensors; plain numbers, saved in every checkpoint."""

    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    waited: int = 0
    read: int = 0  # the step up to which losses were read
    loss_sums: list[float] = field(
        default_factory=list
    )  # since the last validation: of the loss, and of each penalty
    loss_count: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    rate_scale: float = 1.0
    good_step: int = 0
    times_back: int = 0
    seconds: float = 0.0
    anneal: dict[str, Any] | None = None
    ending: str = ""  # why the last stretch began
    losses: list[list[float]] = field(default_factory=list)  # [step, train, validation]
    finished: str = ""


class Trainer:
    """Fits a module whose `forward(z, inputs)` gives log-densities and penalties.

    Args:
        module: What is trained, on its device: an estimator, or several whose batches come side by side (`sbiwb.contracts.Trained`).
        source: Where training pairs come from.
        validation: Validation pairs on the same device.
        options: The section `train`.
        ranks: The processes that train together; their batches make one.
        density: What is called instead of the module for a step, such as its compiled form.
        precision: A context for the forward pass, such as autocast.

    Warning:
        The module's own weights are the running ones; `averaged` holds those that are validated and kept.
    """

    def __init__(
        self,
        module: TrainableModule,
        source: BatchSource,
        validation: TensorPairs,
        options: TrainOptions,
        *,
        ranks: Ranks = ALONE,
        density: Callable[..., Tensor] | None = None,
        precision: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.module, self.source, self.validation, self.options, self.ranks = (
            module,
            source,
            validation,
            options,
            ranks,
        )
        self.density, self.precision = (
            module if density is None else density,
            precision or nullcontext(),
        )
        self.steps = options.epochs * source.steps_per_epoch if options.epochs else options.steps
        self.schedule: HasRate = Schedule(
            options.schedule, options.learning_rate, self.steps, options.warmup
        )
        self.averaged = copy.deepcopy(module).requires_grad_(False)
        self.random, self.members, self.terms = module.random, module.members, module.terms
        self.weights = FlatWeights(
            module, extra=1 + len(self.terms)
        )  # loss and penalties travel with the gradient
        self.averages = self.weights.vector.detach().clone()
        self.weights.share_storage(self.averages, self.averaged)
        decay = options.weight_decay if module.decays else 0.0
        self.optimizer = torch.optim.AdamW(
            [self.weights.vector], lr=options.learning_rate, weight_decay=decay, fused=True
        )
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.recent = self.averages.new_zeros(
            READ_EVERY, 1 + len(self.terms)
        )  # not finite where the gradient was not
        self.norm = self.averages.new_zeros(self.members)
        self._good = self._vectors()

    @property
    def validate_every(self) -> int:
        return self.options.validate_every or max(50, self.steps // 100)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values."""
        return {
            "module": self.module.state_dict(),
            "averages": self.averages,
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "good": self._good,
            "recent": self.recent,
            "norm": self.norm,
            "source": self.source.state(),
            "progress": asdict(self.progress),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.recent.is_cuda else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state."""
        self.module.load_state_dict(state["module"])  # copies into the views of the flat vector
        self.averages.copy_(state["averages"])
        self.best, self._good = state["best"], state["good"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.recent.copy_(state["recent"])
        self.norm.copy_(state["norm"])
        self.source.load(state["source"])
        self.progress = Progress(**state["progress"])
        torch.set_rng_state(state["torch_rng"].cpu())
        if state["cuda_rng"] is not None and self.recent.is_cuda:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())

    def run(self, stopping: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Steps until the budget, the patience or the time ends; the state is consistent at every yield.

        Args:
            stopping: Whether this process was asked to stop; all processes then stop at the same step.

        Raises:
            TrainingError: The loss was no number in spite of smaller rates, memory ran out, or the processes came to differ.
        """
        progress, self._since = self.progress, time.monotonic() - self.progress.seconds
        self.module.train()
        while not progress.finished:
            if self._is_due:
                yield self._validate()
            if progress.step >= self._end:
                progress.finished = progress.ending or "steps"
                break
            self._step()
            went_back = progress.step % READ_EVERY == 0 and self._look()
            yield Stepped(progress.step)
            if went_back:
                yield RolledBack(progress.step, progress.good_step, progress.rate_scale)
            if (self.ranks.world == 1 or progress.step % READ_EVERY == 0) and self.ranks.any_rank(
                stopping()
            ):
                yield Stopping(progress.step)
        yield self._finished()

    def step(self) -> float:
        """One step alone; its loss with all penalties, in nats per pair."""
        self.module.train()
        self._step()
        return float(self.weights.extra.sum())

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
        return anneal.end if anneal else self.steps

    @property
    def _rate(self) -> float:
        return self.progress.rate_scale * self.schedule.rate(self.progress.step, self._anneal)

    def _step(self) -> None:
        """One step; nothing here waits for the device."""
        self.optimizer.param_groups[0]["lr"] = self._rate
        if self.random:
            self._seed()
        batch = self.source.batch(self.progress.step)
        self.weights.clear_grads()
        try:
            with self.precision:
                objective, penalties = self.density(batch.z, batch.inputs)
                loss = (
                    penalties.sum() - objective.mean(-1).sum()
                )  # each member's gradient is what it would be alone
            loss.backward()
        except RuntimeError as error:
            raise self._out_of_memory(error) from error
        self.weights.collect_grads()
        self.weights.extra[0] = -objective.detach().mean()
        self.weights.extra[1:] = penalties.detach() / self.members
        self.ranks.all_reduce_sum(self.weights.gradient)
        if self.ranks.world > 1:
            self.weights.gradient.div_(self.ranks.world)
        self._update()
        self.progress.step += 1

    def _seed(self) -> None:
        """Random numbers of its own for each step and process, so that no state is kept; `torch.manual_seed` takes 100 times as long."""
        seed = torch_seed(
            generator(self.options.seed, "noise", self.ranks.rank, self.progress.step)
        )
        torch.default_generator.manual_seed(seed)
        if self.recent.is_cuda:
            torch.cuda.manual_seed(seed)

    @torch.no_grad()
    def _update(self) -> None:
        """Clips, steps and averages; a step that is not finite changes no weight."""
        gradient = self.weights.gradient[: len(self.weights.vector)].view(self.members, -1)
        torch.linalg.vector_norm(gradient, dim=1, out=self.norm)
        seen = torch.add(
            self.weights.extra, self.norm.sum(), alpha=0
        )  # not finite if either is not
        self.recent[self.progress.step % READ_EVERY] = seen
        if self.options.clip_norm:
            gradient.mul_((self.options.clip_norm / (self.norm + 1e-6)).clamp_(max=1)[:, None])
        self.optimizer.found_inf = (~seen.sum().isfinite()).to(seen.dtype)  # type: ignore[attr-defined]
        self.optimizer.step()
        self.averages.lerp_(self.weights.vector, 1 - self._decay)

    @property
    def _decay(self) -> float:
        """Of the averaged weights: equal weights in the stretch of `swa`; else exponential, younger at the start."""
        step = self.progress.step
        if self.options.swa and (taken := step - round((1 - self.options.swa) * self.steps)) >= 0:
            return taken / (taken + 1)
        return min(self.options.ema, (2 + step) / (11 + step)) if self.options.ema else 0.0

    def _look(self) -> bool:
        """Reads what the device knows; whether the run went back."""
        progress = self.progress
        progress.seconds = time.monotonic() - self._since
        limit = self.options.max_time_min
        if limit and self.ranks.any_rank(progress.seconds > 60 * limit * (1 - ANNEAL_SHARE)):
            self._end_soon("time")
        self._read()
        if progress.bad_in_a_row < BAD_STEPS:
            return False
        self._go_back()
        return True

    def _read(self) -> None:
        """Counts the losses since the last look."""
        progress = self.progress
        recent = self.recent.tolist()
        progress.loss_sums = progress.loss_sums or [0.0] * (1 + len(self.terms))
        for step in range(progress.read, progress.step):
            losses = recent[step % READ_EVERY]
            good = math.isfinite(sum(losses))
            progress.loss_sums = (
                [a + b for a, b in zip(progress.loss_sums, losses, strict=True)]
                if good
                else progress.loss_sums
            )
            progress.loss_count += good
            progress.skipped += not good
            progress.bad_in_a_row = 0 if good else progress.bad_in_a_row + 1
        progress.read = progress.step

    def _end_soon(self, why: str) -> None:
        """Begins the last stretch, unless it has begun."""
        step = self.progress.step
        if not self.progress.anneal and step < self.steps:
            length = max(1, min(round(ANNEAL_SHARE * step), self.steps - step))
            self.progress.anneal, self.progress.ending = (
                asdict(Anneal(step, length, self.schedule.rate(step))),
                why,
            )

    def _vectors(self) -> dict[str, Tensor]:
        return {"weights": self.weights.vector.detach().clone(), "averages": self.averages.clone()}

    @torch.no_grad()
    def _go_back(self) -> None:
        """The weights of the last finite validation, the optimiser as new, and half the rate; the step count goes on."""
        progress = self.progress
        progress.times_back += 1
        if progress.times_back > TIMES_BACK:
            raise self._no_number(
                f"the loss was no number {BAD_STEPS} times in a row, after halving the learning rate {TIMES_BACK} times"
            )
        progress.rate_scale /= 2
        self.weights.vector.copy_(self._good["weights"])
        self.averages.copy_(self._good["averages"])
        self.optimizer.state.clear()
        progress.bad_in_a_row = 0

    def _no_number(self, what: str) -> TrainingError:
        todo = "Lower train.learning_rate, or add a transform such as log or standardize to the inputs."
        return TrainingError(what, where=f"train step {self.progress.step}", todo=todo)

    def _out_of_memory(self, error: RuntimeError) -> Exception:
        if not isinstance(error, torch.OutOfMemoryError) and "memory" not in str(error):
            return error
        size = self.source.batch_size // self.ranks.world
        return TrainingError(
            f"a batch of {size:,} pairs needs more memory than there is on {self.recent.device}",
            where=f"train step {self.progress.step}",
            todo=f"Use train.batch_size: {max(1, self.source.batch_size // 2)} (with --fresh), or a smaller network.",
        )

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean negative log-density of z over the validation pairs, by the averaged weights (all members mixed), in nats."""
        self.averaged.eval()
        for kept, running in zip(self.averaged.buffers(), self.module.buffers(), strict=True):
            kept.copy_(running)
        mine = self.validation[self.ranks.rank :: self.ranks.world]
        parts = [
            -self.averaged(part.z, part.inputs)[0].double().sum() for part in self._chunks(mine)
        ]
        total = (
            torch.stack(parts).sum()
            if parts
            else torch.zeros((), dtype=torch.float64, device=self.recent.device)
        )
        self.ranks.all_reduce_sum(total)
        return float(total) / len(self.validation)

    def _chunks(self, pairs: TensorPairs) -> Iterator[TensorPairs]:
        """Pairs in pieces that fit beside the network, whatever the members, steps or cells of a data set."""
        members = max(
            (values[0, ..., 0].numel() for values, _ in pairs.inputs.values() if len(values)),
            default=1,
        )
        return pairs.chunks(max(64, VALIDATION_MEMBERS // max(1, members)))

    @torch.no_grad()
    def _stack(self) -> None:
        """Fits the shares of an ensemble's members to the validation pairs, with the best weights."""
        self.averaged.load_state_dict(self.best)
        self.averaged.eval()
        ensemble = self.averaged
        ensemble.stack(
            torch.cat(
                [ensemble.log_probs(part.z, part.inputs) for part in self._chunks(self.validation)],
                dim=1,
            )
        )
        self.best = {name: value.clone() for name, value in self.averaged.state_dict().items()}

    def _validate(self) -> Validated:
        progress, options = self.progress, self.options
        self._read()
        seen = [
            one / progress.loss_count if progress.loss_count else math.nan
            for one in progress.loss_sums
        ]
        train_loss, penalties, loss = (
            seen[0],
            dict(zip(self.terms, seen[1:], strict=True)),
            self.validation_loss(),
        )
        improved = loss < progress.best_loss
        self._check_ranks()
        if improved:
            progress.best_loss, progress.best_step, progress.waited = loss, progress.step, 0
            self.best = {name: value.clone() for name, value in self.averaged.state_dict().items()}
        else:
            progress.waited += 1
        if math.isfinite(loss):
            self._good, progress.good_step = self._vectors(), progress.step
        progress.losses.append([progress.step, train_loss, loss])
        progress.loss_sums, progress.loss_count = [], 0
        norm = float(self.norm.mean())
        event = Validated(
            progress.step,
            train_loss,
            loss,
            penalties,
            self._last_rate,
            norm,
            progress.skipped,
            improved,
        )
        if options.schedule == "plateau" and progress.waited and progress.waited % PLATEAU == 0:
            progress.rate_scale /= 2
        if options.patience and progress.waited >= options.patience:
            self._end_soon("patience")
        return event

    @property
    def _last_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _check_ranks(self) -> None:
        if not self.ranks.all_equal(self.weights.vector):
            raise TrainingError(
                f"the weights of the {self.ranks.world} processes came to differ",
                where=f"train step {self.progress.step}",
                todo="Run the same command again from the last checkpoint; if it happens again, run on machines of one kind.",
            )

    def _finished(self) -> Finished:
        progress = self.progress
        if not self.best:
            raise self._no_number("no validation gave a number")
        if self.module.stacking:
            self._stack()
        early = [
            loss
            for step, _, loss in progress.losses
            if step <= 0.8 * progress.step and math.isfinite(loss)
        ]
        nats = self.module.likelihood  # a loss of the network's own has another scale
        enough = 0.02 if nats else 0.02 * abs(progress.best_loss)
        falling = (
            bool(early)
            and progress.finished == "steps"
            and min(early) - progress.best_loss > enough
        )
        at_best = next(
            (one for one in progress.losses if one[0] == progress.best_step),
            [0, math.nan, math.nan],
        )
        gap = at_best[2] - at_best[1] if nats else 0.0
        return Finished(
            progress.step, progress.finished, progress.best_step, progress.best_loss, falling, gap
        )
