"""Networks as training and sampling see them: torch modules with every capability and its default.

Shapes: N data sets, B batch, D parameter columns, S draws, M members (of an ensemble, or of a set),
H summary features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from sbiwb.contracts.part_configs import OutputKind

NetworkInputs = Mapping[str, tuple[Tensor, Tensor | None]]
"""Values of each input by name, with their mask."""


class SummaryModule(nn.Module):
    """From one input to H features.

    Attributes:
        features: H.
    """

    features: int

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, H).

        Args:
            values: (B, C), (B, M, C) or (B, *grid, C).
            mask: (B, M), True at real members; None where all are.
        """
        raise NotImplementedError

    @classmethod
    def side_by_side(cls, networks: Sequence[Self], values: Tensor, mask: Tensor | None) -> Tensor:
        """Features (M, B, H) of M networks of one kind; a kind that can evaluates them together.

        Args:
            networks: M of them.
            values: (M, B, ...), to each its own.
            mask: (M, B, M') or None.
        """
        masks = [None] * len(networks) if mask is None else mask
        rows = zip(networks, values, masks, strict=True)
        return torch.stack([network(own, own_mask) for network, own, own_mask in rows])


class InferenceModule(nn.Module):
    """The density of z (B, D) given features (B, H).

    It is trained by its log-density, unless `likelihood` is false: then by `loss`.
    """

    @property
    def output_kind(self) -> OutputKind:
        """What it gives: a density of all parameters, draws of each alone, or estimates."""
        return OutputKind.JOINT

    @property
    def likelihood(self) -> bool:
        """Whether it is trained by its log-density."""
        return True

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,)."""
        raise NotImplementedError

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D): S draws for each of N data sets.

        Args:
            noise: Standard normal, (N, S, D).
            features: (N, H).
        """
        raise NotImplementedError

    def loss(self, z: Tensor, features: Tensor) -> Tensor:
        """What training minimises, (B,)."""
        return -self.log_prob(z, features)

    @classmethod
    def side_by_side(cls, networks: Sequence[Self], z: Tensor, features: Tensor) -> Tensor:
        """Minus the losses (M, B) of M networks of one kind; a kind that can evaluates them
        together.

        Args:
            networks: M of them.
            z: (M, B, D), to each its own.
            features: (M, B, H).
        """
        rows = zip(networks, z, features, strict=True)
        return torch.stack([network.objective(own_z, own) for network, own_z, own in rows])

    def objective(self, z: Tensor, features: Tensor) -> Tensor:
        """What training maximises, (B,)."""
        return self.log_prob(z, features) if self.likelihood else -self.loss(z, features)

    @property
    def begins(self) -> bool:
        """Whether `begin` has anything to do."""
        return False

    def begin(self, z: Tensor, features: Tensor) -> None:
        """Sets what pairs tell without steps, before the first one.

        Args:
            z: (N, D).
            features: Of untrained summary networks, (N, H).
        """

    @property
    def temperatures(self) -> int:
        """Scales of its noise that are fitted to validation pairs: 0, 1 for all columns, or D."""
        return 0

    def noise(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Squares of the noise of z, (D, B), and the log-determinant, (B,); if `temperatures`."""
        raise NotImplementedError

    def temper(self, log_temperature: Tensor) -> None:
        """Sets the logarithm of the scale of its noise, () or (D,); only where `temperatures`."""
        raise NotImplementedError


class TrainableModule(nn.Module):
    """What is trained: one network, or what an uncertainty of the weights makes of it.

    Attributes:
        members: Networks in it, whose parameters stand one after the other; each has a batch of its
            own.
        decays: Whether weight decay applies to its parameters.
        bootstrap: Whether each member is trained on pairs drawn with replacement.
        stacking: Whether the members' shares are fitted to the validation pairs after training.
        about: Sentences for people on what will be trained.
    """

    members: int = 1
    decays: bool = True
    bootstrap: bool = False
    stacking: bool = False
    about: tuple[str, ...] = ()

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the penalties that `forward` adds to the loss."""
        return ()

    @property
    def output_kind(self) -> OutputKind:
        """What the posterior gives."""
        return OutputKind.JOINT

    @property
    def likelihood(self) -> bool:
        """Whether what it maximises is a log-density, in nats."""
        return True

    @property
    def random(self) -> bool:
        """Whether a step in training draws random numbers."""
        return False

    @property
    def begins(self) -> bool:
        """Whether `begin` has anything to do."""
        return False

    def begin(self, z: Tensor, inputs: NetworkInputs) -> None:
        """Sets what pairs, z (N, D), tell without steps, before the first one."""

    @property
    def temperatures(self) -> int:
        """Scales of the noise that are fitted to validation pairs: 0, 1 for all columns, or D."""
        return 0

    def forward(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        """What training maximises, and P penalties that it adds to the loss.

        In training (B,), or (M, B) where z and inputs have the M members in front; in evaluation
        (B,), the mixture of all, without penalties.
        """
        raise NotImplementedError

    def components(self) -> Sequence[nn.Module]:
        """The networks whose mixture is the posterior."""
        raise NotImplementedError

    def mixture(self) -> Sequence[float]:
        """The share of each component."""
        raise NotImplementedError

    def log_probs(self, z: Tensor, inputs: NetworkInputs) -> Tensor:
        """log q_m(z | inputs) of every member, (M, B); only asked where `stacking`."""
        raise NotImplementedError

    def stack(self, log_probs: Tensor) -> None:
        """Fits the shares to log-densities (M, N) at validation pairs; only where `stacking`."""
        raise NotImplementedError

    def noise(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        """Squares of the noise of z in every member, (M, D, B), and the log-determinants, (M, B).

        Only asked where there are `temperatures`.
        """
        raise NotImplementedError

    def temper(self, log_temperature: Tensor) -> None:
        """Sets the logarithm of the scale of all members' noise, () or (D,); only where there are
        `temperatures`.
        """
        raise NotImplementedError
