r"""Deep ensemble: several networks from their own initial weights, trained together, each on its
own batches.

    q(theta | x) = sum_m w_m q_m(theta | x)

They share one training: data, steps, checkpoints, and the step at which the mixture does best on
the validation pairs. Gradients are clipped member by member and AdamW works weight by weight, so a
member's steps are those it would take alone with its seed. On the CPU the members' spline flows are
computed side by side, as many at a time as there are cores.

With `weights: stacking` the mixture's weights maximise its density at the validation pairs after
training.

References:
    Lakshminarayanan, Pritzel & Blundell (2017), Simple and Scalable Predictive Uncertainty
    Estimation, https://arxiv.org/abs/1612.01474
    Yao, Vehtari, Simpson & Gelman (2018), Using Stacking to Average Bayesian Predictive
    Distributions, https://doi.org/10.1214/17-BA1091
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import OutputKind, UncertaintyPart
from sbiwb.contracts.network_modules import NetworkInputs, TrainableModule
from sbiwb.errors import ConfigError
from sbiwb.families import Count
from sbiwb.networks.estimator import Estimator

MAX_ROUNDS = 1000  # of the stacking
MIN_GAIN = 1e-6  # of a further round, in nats a pair


class Ensemble(TrainableModule):
    """Estimators of one kind, and their shares of the mixture.

    Args:
        estimators: M of them.
        stacking: Whether the shares are fitted after training, or all are 1 / M.
        bootstrap: Whether each member trains on rows drawn with replacement.
    """

    log_shares: Tensor

    def __init__(self, estimators: Sequence[Estimator], *, stacking: bool, bootstrap: bool) -> None:
        super().__init__()
        self.estimators = nn.ModuleList(estimators)
        self.stacking, self.bootstrap, self.members = stacking, bootstrap, len(estimators)
        self.register_buffer("log_shares", torch.full((self.members,), -math.log(self.members)))

    @property
    def terms(self) -> tuple[str, ...]:
        return self._each()[0].terms

    @property
    def output_kind(self) -> OutputKind:
        return self._each()[0].output_kind

    @property
    def likelihood(self) -> bool:
        return self._each()[0].likelihood

    @property
    def random(self) -> bool:
        return self._each()[0].random

    @property
    def temperatures(self) -> int:
        return self._each()[0].temperatures

    @property
    def begins(self) -> bool:
        return self._each()[0].begins

    def begin(self, z: Tensor, inputs: NetworkInputs) -> None:
        for member in self._each():
            member.begin(z, inputs)

    def forward(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        """In training each member's objective on rows of its own, (M, B); else that of the mixture
        on rows (B,).

        Args:
            z: In training (M, B, D); else (B, D).
            inputs: In training values (M, B, ...) and masks (M, B, M'); else without the first
                axis.
        """
        if not self.training:
            return self._mix(self.objectives(z, inputs)), z.new_zeros(len(self.terms))
        return Estimator.side_by_side(self._each(), z, inputs)

    def objectives(self, z: Tensor, inputs: NetworkInputs) -> Tensor:
        """The objective of every member on the same rows z (B, D), (M, B)."""
        return torch.stack([member(z, inputs)[0] for member in self._each()])

    def log_probs(self, z: Tensor, inputs: NetworkInputs) -> Tensor:
        """log q_m(z | inputs) of every member on the same rows z (B, D), (M, B)."""
        members = self._each()
        return torch.stack([member.log_prob(z, member.summarise(inputs)) for member in members])

    def noise(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        """Squares of the noise of the same z (B, D) in every member, (M, D, B), and
        log-determinants, (M, B).
        """
        pairs = [member.noise(z, inputs) for member in self._each()]
        squared, log_det = zip(*pairs, strict=True)
        return torch.cat(squared), torch.cat(log_det)

    def temper(self, log_temperature: Tensor) -> None:
        for member in self._each():
            member.temper(log_temperature)

    def components(self) -> list[Estimator]:
        return self._each()

    def mixture(self) -> list[float]:
        return self.log_shares.double().softmax(0).tolist()

    @torch.no_grad()
    def stack(self, log_probs: Tensor) -> None:
        """Fits the shares to log-densities (M, N) of validation pairs, by expectation maximisation:
        the maximum is the only one.
        """
        log_probs, log_shares = log_probs.double(), self.log_shares.double()
        before = -math.inf
        for _ in range(MAX_ROUNDS):
            joint = log_probs + log_shares[:, None]
            total = torch.logsumexp(joint, 0)
            score = float(total.mean())
            if score - before < MIN_GAIN:
                break
            before = score
            log_shares = torch.logsumexp(joint - total, 1) - math.log(log_probs.shape[1])
        self.log_shares.copy_(log_shares)

    def _mix(self, objectives: Tensor) -> Tensor:
        if not self.likelihood:
            return objectives.mean(0)
        return torch.logsumexp(objectives + self.log_shares[:, None], 0)

    def _each(self) -> list[Estimator]:
        return list(self.estimators)  # type: ignore[arg-type]


class Config(UncertaintyPart):
    """How many networks, what each learns from, and how they are mixed."""

    seeds_each_member: ClassVar[bool] = True

    members: Count = Field(5, ge=2, le=100, description="Networks.")
    data: Literal["full", "bootstrap"] = Field(
        "full",
        description=(
            "Whether each learns from all training pairs, in its own order, or from as many drawn "
            "with replacement."
        ),
    )
    weights: Literal["equal", "stacking"] = Field(
        "equal", description="Shares of the mixture: equal, or fitted to the validation pairs."
    )

    def build(self, make: Callable[[int], Estimator], pairs: int) -> Ensemble:
        """What is trained.

        Args:
            make: The untrained network of a member, by its number; each has weights of its own.
            pairs: Training pairs N.

        Raises:
            ConfigError: Shares are to be fitted to a density that the networks do not have.
        """
        estimators = [make(m) for m in range(self.members)]
        if self.weights == "stacking" and estimators[0].output_kind != OutputKind.JOINT:
            raise ConfigError(
                "model.uncertainty.weights  stacking needs a density, and this inference network "
                "has none",
                todo="Use weights: equal.",
            )
        stacking, bootstrap = self.weights == "stacking", self.data == "bootstrap"
        return Ensemble(estimators, stacking=stacking, bootstrap=bootstrap)
