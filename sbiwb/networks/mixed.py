r"""Discrete columns of z ahead of an inference network for the others, whatever those are.

A discrete column holds the place k of its value among K levels. With categorical heads, one after
the other, and any network for the rest,

    log q(z | h) = sum_j log Cat(k_j | h, k_<j) + log q(z_rest | h, k),

so that every combination of levels has a density of its own, and log q is a log-mass plus a
log-density. The networks see levels as ones among zeros. The last layer of each head starts with
zero weights and the log-shares of the training data as its bias, so that an untrained network is
the prior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from zuko.nn import MLP

from sbiwb.contracts import InferencePart, OutputKind
from sbiwb.contracts.network_modules import InferenceModule
from sbiwb.errors import ConfigError
from sbiwb.networks.independent_levels import IndependentLevels

DECIMALS = 4  # of a log-mass in nats; float32 is about 1e-7 away from batch to batch

Shares = Mapping[int, Sequence[float]]


def build(
    part: InferencePart, size: int, context: int, *, discrete: Shares, circular: Sequence[int]
) -> InferenceModule:
    """The network of a part for D columns of z, with heads for those that are discrete.

    Args:
        part: Options of the inference network.
        size: D.
        context: H.
        discrete: Shares of the K levels of each discrete column in the training data, by its place;
            none of them 0.
        circular: Places of the columns that are angles.

    Raises:
        ConfigError: This part has no angles, or no density that a mass could be multiplied with.
    """
    if not discrete:
        return _continuous(part, size, context, circular)
    rest = [column for column in range(size) if column not in discrete]
    if part.is_independent:
        alone = None
        if rest:
            alone = _continuous(part, len(rest), context, tuple(map(rest.index, circular)))
        return IndependentLevels(size, context, discrete, alone)
    if not rest:
        return Mixed(size, _heads(part.head_widths, context, discrete), None)
    inputs = context + sum(map(len, discrete.values()))
    flow = _continuous(part, len(rest), inputs, tuple(map(rest.index, circular)))
    if flow.output_kind != OutputKind.JOINT:
        raise ConfigError(
            f"model.inference  {part.kind} gives no probabilities of levels, which a discrete "
            "parameter needs",
            todo=(
                "Use a network with a density, such as inference: nsf, or give every parameter a "
                "continuous prior."
            ),
        )
    return Mixed(size, _heads(part.head_widths, context, discrete), flow)


def _continuous(
    part: InferencePart, size: int, context: int, circular: Sequence[int]
) -> InferenceModule:
    if not circular:
        return part.build(size, context)
    if not part.circular:
        what = f"model.inference  {part.kind} knows no circular parameters"
        raise ConfigError(what, todo="Use inference: ncsf.")
    return part.build_circular(size, context, circular)


def _heads(widths: Sequence[int], context: int, discrete: Shares) -> dict[int, MLP]:
    """A head for each discrete column, in order; each is told the levels of those before it."""
    heads: dict[int, MLP] = {}
    for column, shares in discrete.items():
        head = MLP(context, len(shares), widths)
        nn.init.zeros_(head[-1].weight)
        head[-1].bias.data.copy_(torch.tensor(shares).log())
        heads[column] = head
        context += len(shares)
    return heads


class Mixed(InferenceModule):
    """Mass of the discrete columns times density of the others.

    Args:
        size: D.
        heads: Logits of the K levels of each discrete column, by its place, given features and the
            levels before it.
        flow: Density of the other columns given features and all levels; None where there are no
            others.
    """

    def __init__(self, size: int, heads: Mapping[int, MLP], flow: InferenceModule | None) -> None:
        super().__init__()
        self.columns = tuple(heads)
        self.rest = [column for column in range(size) if column not in heads]
        self.heads = nn.ModuleList(heads.values())
        self.flow = flow

    @property
    def likelihood(self) -> bool:
        return self.flow is None or self.flow.likelihood

    @property
    def begins(self) -> bool:
        return self.flow is not None and self.flow.begins

    def begin(self, z: Tensor, features: Tensor) -> None:
        if self.flow is not None:
            self.flow.begin(z[:, self.rest], self._log_mass(z, features)[1])

    def loss(self, z: Tensor, features: Tensor) -> Tensor:
        """Minus the log-mass, plus the loss of the other columns, (B,)."""
        log_mass, given = self._log_mass(z, features)
        if self.flow is None:
            return -log_mass
        return self.flow.loss(z[:, self.rest], given) - log_mass

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,): a log-mass plus a log-density.

        Where all columns are discrete, many draws are the same point. Except in training their
        log-mass is rounded, so that it is the same number in whatever batch it is computed, and
        ranks of log q see the tie.
        """
        log_mass, given = self._log_mass(z, features)
        if self.flow is not None:
            return log_mass + self.flow.log_prob(z[:, self.rest], given)
        if self.training:
            return log_mass
        return log_mass.round(decimals=DECIMALS)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H).

        Levels are found by their distribution function at Phi(noise).
        """
        given, z = features[:, None], torch.zeros_like(noise)
        for column, head in zip(self.columns, self.heads, strict=True):
            level, levels = _quantile(head(given), noise[..., column])
            z[..., column] = level
            given = torch.cat([given.expand(*level.shape, -1), levels.to(features.dtype)], -1)
        if self.flow is not None:
            one_draw_each = noise[..., self.rest].flatten(0, 1)[:, None]
            others = self.flow.transport(one_draw_each, given.flatten(0, 1))
            z[..., self.rest] = others.reshape(*z.shape[:2], -1)
        return z

    def _log_mass(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mass of the levels (B,), and features with all levels (B, H + sum K)."""
        log_mass, given = features.new_zeros(len(z)), features
        for column, head in zip(self.columns, self.heads, strict=True):
            log_masses = torch.log_softmax(head(given), -1)
            count = log_masses.shape[-1]
            level = z[:, column].round().long().clamp(0, count - 1)
            log_mass = log_mass + log_masses.gather(-1, level[:, None])[:, 0]
            levels = nn.functional.one_hot(level, count).to(features.dtype)
            given = torch.cat([given, levels], -1)
        return log_mass, given


def _quantile(logits: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The level (N, S) at which the distribution function passes Phi(noise), and as one hot.

    Args:
        logits: (N, 1 or S, K).
        noise: (N, S).
    """
    below = torch.softmax(logits.double(), -1).cumsum(-1)[..., :-1]
    level = (torch.special.ndtr(noise.double())[..., None] >= below).sum(-1)
    return level, nn.functional.one_hot(level, logits.shape[-1])
