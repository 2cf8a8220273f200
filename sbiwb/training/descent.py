"""One update of a module's weights: clipping, AdamW, and the averages that are validated and kept.

Nothing here waits for the device: whether a gradient is finite stays there, and one that is not
changes no weight.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from sbiwb.contracts.network_modules import TrainableModule
from sbiwb.training.flat import FlatWeights
from sbiwb.training.train_options import TrainOptions

READ_EVERY = 20  # steps between looks at what the device knows
NO_DIVISION_BY_ZERO = 1e-6


class SkippingAdamW(torch.optim.AdamW):
    """AdamW that leaves out a step where `found_inf` is 1: its fused form looks at it itself."""

    found_inf: Tensor


class Descent:
    """The weights of a module and all that moves them.

    Args:
        module: Its parameters become views of one vector, the running weights.
        options: Rate, weight decay, clipping and averaging.
        steps: Length of the whole course.

    Attributes:
        weights: The running ones, with losses and penalties behind their gradient.
        averages: The averaged ones, a vector of the same length.
        averaged: A copy of the module whose parameters are views of `averages`.
        recent: Loss and penalties of the last `READ_EVERY` steps; not finite where the gradient was
            not.
        norm: Gradient norm of each member.
    """

    def __init__(self, module: TrainableModule, options: TrainOptions, steps: int) -> None:
        self.options, self.steps, numbers = options, steps, 1 + len(module.terms)
        self.averaged = copy.deepcopy(module).requires_grad_(False)
        self.weights = FlatWeights(module, extra=numbers)
        self.averages = self.weights.vector.detach().clone()
        self.weights.share_storage(self.averages, self.averaged)
        decay = options.weight_decay
        if not module.decays:
            decay = 0.0
        self.optimizer = SkippingAdamW(
            [self.weights.vector], lr=options.learning_rate, weight_decay=decay, fused=True
        )
        self.recent = self.averages.new_zeros(READ_EVERY, numbers)
        self.norm = self.averages.new_zeros(module.members)

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @rate.setter
    def rate(self, rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = rate

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Clips the gradient that the weights hold, steps, and averages.

        Args:
            step: Number of this step, from 0.
        """
        gradient = self.weights.gradient[: len(self.weights.vector)].view(len(self.norm), -1)
        torch.linalg.vector_norm(gradient, dim=1, out=self.norm)
        # adds nothing to finite numbers; not finite where the gradient is not
        losses = torch.add(self.weights.extra, self.norm.sum(), alpha=0)
        self.recent[step % READ_EVERY] = losses
        if self.options.clip_norm:
            scale = self.options.clip_norm / (self.norm + NO_DIVISION_BY_ZERO)
            gradient.mul_(scale.clamp_(max=1)[:, None])
        self.optimizer.found_inf = (~losses.sum().isfinite()).to(losses.dtype)
        self.optimizer.step()
        self.averages.lerp_(self.weights.vector, 1 - self.average_decay(step))

    def average_decay(self, step: int) -> float:
        """Share of the averages that stays: exponential, younger at the start; of `swa`, equal."""
        if self.options.swa:
            averaged_steps = step - round((1 - self.options.swa) * self.steps)
            if averaged_steps >= 0:
                return averaged_steps / (averaged_steps + 1)
        if not self.options.ema:
            return 0.0
        return min(self.options.ema, (2 + step) / (11 + step))

    def vectors(self) -> dict[str, Tensor]:
        """Copies of running and averaged weights."""
        return {"weights": self.weights.vector.detach().clone(), "averages": self.averages.clone()}

    @torch.no_grad()
    def restore(self, vectors: Mapping[str, Tensor]) -> None:
        """Earlier weights, with the optimiser as new."""
        self.weights.vector.copy_(vectors["weights"])
        self.averages.copy_(vectors["averages"])
        self.optimizer.state.clear()
