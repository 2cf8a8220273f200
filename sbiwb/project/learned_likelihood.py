r"""The learned likelihood of a run: the density of data sets given theta, a product over structures
and their members.

    log l(x | theta) = sum_structures sum_m log q(x_m | theta, context, place, what came before)

A member with a missing value is left out of the product. The mass of a count is the integral of its
density over a unit, by Gauss-Legendre quadrature of two points.

Shapes: N data sets, S points theta, D columns of theta, M members of a data set, C columns of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sbiwb import chunks
from sbiwb.adapters import InputAdapter
from sbiwb.config.structure import DataSetMembers
from sbiwb.networks.estimator import Estimator
from sbiwb.posterior import Posterior
from sbiwb.priors import Prior
from sbiwb.project.emulated import emulated, observables
from sbiwb.project.member_rows import NODES, MemberRows, TurnedPairs
from sbiwb.records import Columns, Variable, take

GIVEN = "theta"  # the input of a likelihood that holds parameters and context
STEP_SIZE, LEAST_STEP = 1e-5, 1e-10  # of the differences that gradients of an adapter are
GOLDEN = 0.6180339887  # by which points in a unit cube are spread


@dataclass(frozen=True)
class LikelihoodFactor:
    """The density of the members of one structure.

    Args:
        members: Which, and how they are read.
        density: Of their columns given theta, context, place and what came before.
    """

    members: DataSetMembers
    density: Posterior

    @cached_property
    def pairs(self) -> TurnedPairs:
        return TurnedPairs(self.members)

    def log_probs(self, given: Columns, x: Columns) -> np.ndarray:
        """log q of each member of one data set at S points, (S, M); 0 where it misses a value.

        Args:
            given: Parameters and context by name, S rows each.
            x: Observables of one data set, one row each.
        """
        members = _MembersOfOne.of(self, x)
        count = len(next(iter(given.values())))
        log_q = np.empty((count, members.count))
        size = max(1, chunks.CHUNK_DRAWS // max(1, members.count))

        def fill(piece: slice) -> None:
            rows = np.arange(piece.start, piece.stop)
            part = {name: take(values, rows) for name, values in given.items()}
            with torch.no_grad():
                features = torch.from_numpy(self._given_channels(part).astype(np.float32))
                log_q[piece] = members.log_probs(features).double().numpy()

        chunks.for_each(fill, chunks.pieces(count, size), self.density.threads)
        return members.spread(log_q)

    def log_prob_torch(self, theta: Tensor, prior: Prior, context: Columns, x: Columns) -> Tensor:
        """log q of one data set at theta (S, D), (S,), differentiable in theta."""
        members = _MembersOfOne.of(self, x)

        def channels(points: np.ndarray) -> np.ndarray:
            return self._given_channels(_given(prior, points, context))

        features: Tensor = _Channels.apply(theta, channels)
        return members.log_probs(features).double().sum(1)

    def sample(self, given: Columns, sizes: np.ndarray, rng: np.random.Generator) -> MemberRows:
        """Members of S data sets, drawn.

        Args:
            given: Parameters and context by name, S rows each.
            sizes: Members of each data set, (S,).
            rng: Source of all random numbers.
        """
        return emulated(self.pairs, self.density, given, sizes, rng)

    def _given_channels(self, given: Columns) -> np.ndarray:
        """What the network is given of parameters and context, (S, H) float64."""
        adapter = self.density.inputs[GIVEN]
        assert isinstance(adapter, InputAdapter)
        return adapter.exact(given)


@dataclass(frozen=True)
class _MembersOfOne:
    """The members of one data set, ready for many points theta.

    Args:
        density: Of their columns.
        z: At each node of the counts, (K, M, C).
        log_slope: log |dz/dx| of each, (K, M); -inf where a member has no density.
        own: What the networks are given of the members themselves, (M, H') each.
        is_whole: Which of all members miss no value.
    """

    density: Posterior
    z: Tensor
    log_slope: Tensor
    own: tuple[Tensor, ...]
    is_whole: np.ndarray

    @classmethod
    def of(cls, factor: LikelihoodFactor, x: Columns) -> _MembersOfOne:
        rows, pairs = factor.pairs.rows(x), factor.pairs
        is_whole = ~np.isnan(rows.values).any(1)
        chosen = np.flatnonzero(is_whole)
        values = rows.values[chosen]
        z, slopes = [], []
        for added in _added(pairs, values.shape[1]):
            columns = np.stack(list(pairs.columns(values, added).values()), axis=1)
            at, slope = _unbounded(factor.density, columns)
            z.append(at)
            slopes.append(slope)
        own = _own_features(factor, rows, chosen)
        return cls(
            factor.density,
            torch.from_numpy(np.stack(z).astype(np.float32)),
            torch.from_numpy(np.stack(slopes)),
            own,
            is_whole,
        )

    @property
    def count(self) -> int:
        """M, without those that miss a value."""
        return self.z.shape[1]

    def spread(self, log_q: np.ndarray) -> np.ndarray:
        """log q (S, M') of the members that are whole among all M, 0 elsewhere."""
        if self.is_whole.all():
            return log_q
        spread = np.zeros((len(log_q), len(self.is_whole)))
        spread[:, self.is_whole] = log_q
        return spread

    def log_probs(self, given: Tensor) -> Tensor:
        """log q of each member at S points, (S, M), of their channels (S, H)."""
        points, members = len(given), self.count
        by_network = []
        for network, own, share in self._networks():
            features = torch.cat(
                [given.repeat_interleave(members, 0), own.repeat(points, 1)], dim=1
            ).to(self.density.device)
            network.eval()
            log_q = self._integrated(network, features, points)
            by_network.append(log_q + math.log(share) if share else log_q - math.inf)
        return torch.logsumexp(torch.stack(by_network), 0)

    def _networks(self) -> Iterator[tuple[Estimator, Tensor, float]]:
        for network, own, share in zip(
            self.density.networks, self.own, self.density.shares, strict=True
        ):
            assert isinstance(network, Estimator)
            yield network, own, share

    def _integrated(self, network: Estimator, features: Tensor, points: int) -> Tensor:
        """log q (S, M) by one network, the mean over the nodes of counts."""
        parts = []
        for z, slope in zip(self.z, self.log_slope, strict=True):
            log_q = network.log_prob(z.repeat(points, 1).to(features.device), features)
            parts.append(log_q.cpu().double().reshape(points, -1) + slope)
        return torch.logsumexp(torch.stack(parts), 0) - math.log(len(parts))


def _added(pairs: TurnedPairs, columns: int) -> Sequence[np.ndarray]:
    """What is added to counts at each node, (C,); nothing where there are none."""
    if not pairs.has_counts:
        return [np.zeros(columns)]
    return [(point + GOLDEN * np.arange(columns)) % 1 for point in NODES]


def _unbounded(density: Posterior, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z (M, C) of columns (M, C), and log |dz/dx| (M,), -inf where there is no density."""
    slope = density.theta_map.log_abs_det(columns)
    inside = np.isfinite(slope)
    z = np.zeros_like(columns)
    z[inside] = density.theta_map.forward(columns[inside])
    return z, np.where(inside, slope, -np.inf)


def _own_features(
    factor: LikelihoodFactor, rows: MemberRows, chosen: np.ndarray
) -> tuple[Tensor, ...]:
    """What each network makes of place and what came before, (M, H') each."""
    conditions = factor.pairs.own_conditions(rows, chosen)
    features = []
    with torch.no_grad():
        for network in factor.density.networks:
            assert isinstance(network, Estimator)
            parts = [torch.zeros(len(chosen), 0)]
            for place, name in enumerate(network.names):
                if name == GIVEN:
                    continue
                values, mask = factor.density.inputs[name].apply(conditions)
                device = factor.density.device
                shown = None if mask is None else torch.from_numpy(mask).to(device)
                summary = network.summary(place)(torch.from_numpy(values).to(device), shown)
                parts.append(summary.cpu())
            features.append(torch.cat(parts, dim=1))
    return tuple(features)


class _Channels(torch.autograd.Function):
    """Channels (S, H) float32 of theta (S, D) float64; gradients by differences in float64, for
    transforms are no torch operations."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, channels: Any) -> Tensor:
        ctx.channels = channels
        ctx.save_for_backward(theta)
        return torch.from_numpy(channels(theta.detach().numpy()).astype(np.float32))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (theta,) = ctx.saved_tensors
        points, slope = theta.detach().numpy(), gradient.double().numpy()
        steps = STEP_SIZE * np.abs(points) + LEAST_STEP
        pulled = np.empty_like(points)
        for column in range(points.shape[1]):
            up, down = points.copy(), points.copy()
            up[:, column] += steps[:, column]
            down[:, column] -= steps[:, column]
            change = ctx.channels(up) - ctx.channels(down)
            width = up[:, column] - down[:, column]
            pulled[:, column] = (change * slope).sum(1) / width
        return torch.from_numpy(pulled), None


def _given(prior: Prior, theta: np.ndarray, context: Columns) -> dict[str, np.ndarray]:
    """Parameters (S, ...) by name, and the context of one data set repeated to them."""
    row = np.zeros(len(theta), int)
    known = {name: np.asarray(take(values, row)) for name, values in context.items()}
    return {**prior.unstack(theta), **known}


@dataclass(frozen=True)
class LearnedLikelihood:
    """log l(x | theta) of data sets, in the user's own units.

    Args:
        prior: Of the parameters.
        factors: By structure.

    Example:
        >>> likelihood = load_likelihood("runs/choice")               # doctest: +SKIP
        >>> likelihood.log_prob(theta, {"rt": rt, "choice": choice})  # doctest: +SKIP
    """

    prior: Prior
    factors: Mapping[str, LikelihoodFactor]

    def log_prob(self, theta: np.ndarray, x: Columns, context: Columns | None = None) -> np.ndarray:
        """log l of each of N data sets at its own S points.

        Args:
            theta: (N, S, D).
            x: Observables of N data sets by name.
            context: Context variables of them.

        Returns:
            (N, S).
        """
        each = []
        for which, points in enumerate(theta):
            parts = self.log_probs(points, x, context or {}, which)
            each.append(np.sum([part.sum(1) for part in parts.values()], axis=0))
        return np.stack(each)

    def log_probs(
        self, theta: np.ndarray, x: Columns, context: Columns, which: int
    ) -> dict[str, np.ndarray]:
        """log l of each member of the data set `which` at theta (S, D), (S, M), by structure."""
        row = np.array([which])
        one = {name: take(values, row) for name, values in x.items()}
        known = {name: take(values, row) for name, values in context.items()}
        given = _given(self.prior, theta, known)
        return {name: factor.log_probs(given, one) for name, factor in self.factors.items()}

    def sample(
        self,
        theta: np.ndarray,
        context: Columns,
        sizes: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> dict[str, Variable]:
        """Data sets drawn at theta (S, D), S rows of each observable.

        Args:
            theta: (S, D).
            context: Context variables, S rows each.
            sizes: Members of each data set (S,), by structure; needed where it varies.
            rng: Source of all random numbers.
        """
        given = {**self.prior.unstack(theta), **context}
        x: dict[str, Variable] = {}
        for name, factor in self.factors.items():
            members = sizes.get(name, np.full(len(theta), factor.pairs.fixed_size))
            x |= observables(factor.pairs, factor.sample(given, members, rng))
        return x

    def log_prob_torch(self, theta: Tensor, x: Columns, context: Columns, which: int) -> Tensor:
        """log l of the data set `which` at theta (S, D), (S,) float64, differentiable in theta."""
        row = np.array([which])
        one = {name: take(values, row) for name, values in x.items()}
        known = {name: take(values, row) for name, values in context.items()}
        parts = [
            factor.log_prob_torch(theta.double(), self.prior, known, one)
            for factor in self.factors.values()
        ]
        return torch.stack(parts).sum(0)
