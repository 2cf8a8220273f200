"""Arrangements of data sets at the same theta that are as likely as the data, if the data are as
independent as is said; and what is looked at in each.

Shapes: K theta, R repeats, M members, F features of a member, S statistics, n products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

APART = (1, 2)  # places between members whose pairs are looked at
MAX_SINGLE = 48  # features of a data set of which each pair is looked at


class Arrangements(Protocol):
    """Statistics (S,) of the data, and of random arrangements of them."""

    def observed(self) -> np.ndarray: ...

    def permuted(self) -> np.ndarray: ...


@dataclass(frozen=True)
class IidMembers:
    """Members (K, R, M, F) permuted among all places and repeats at their theta."""

    features: np.ndarray
    rng: np.random.Generator

    def observed(self) -> np.ndarray:
        return self._statistics(self.features)

    def permuted(self) -> np.ndarray:
        k, r, m, f = self.features.shape
        order = self.rng.permuted(np.tile(np.arange(r * m), (k, 1)), axis=1)
        order += np.arange(k)[:, None] * (r * m)
        return self._statistics(self.features.reshape(-1, f)[order].reshape(k, r, m, f))

    def _statistics(self, features: np.ndarray) -> np.ndarray:
        products = np.concatenate(list(_products(features)), axis=1)
        return np.concatenate([_over_theta(_places(features)), _over_theta(products)])


@dataclass(frozen=True)
class ExchangeableMembers:
    """Members (K, R, M, F) permuted among the places of their data set: they may depend on each
    other, but not on their place."""

    features: np.ndarray
    rng: np.random.Generator

    def observed(self) -> np.ndarray:
        return _over_theta(_places(self.features))

    def permuted(self) -> np.ndarray:
        k, r, m, f = self.features.shape
        order = self.rng.permuted(np.tile(np.arange(m), (k * r, 1)), axis=1)
        order += np.arange(k * r)[:, None] * m
        return _over_theta(_places(self.features.reshape(-1, f)[order].reshape(k, r, m, f)))


@dataclass(frozen=True)
class IndependentMembers:
    """Members (K, R, M, F) permuted among repeats at their theta and place."""

    features: np.ndarray
    rng: np.random.Generator

    def observed(self) -> np.ndarray:
        return self._statistics(self.features)

    def permuted(self) -> np.ndarray:
        k, r, m, f = self.features.shape
        order = self.rng.permuted(np.tile(np.arange(r), (k, m, 1)), axis=2).transpose(0, 2, 1)
        rows = (np.arange(k)[:, None, None] * r + order) * m + np.arange(m)
        return self._statistics(self.features.reshape(-1, f)[rows])

    def _statistics(self, features: np.ndarray) -> np.ndarray:
        parts, (k, r, m, f) = list(_products(features)), features.shape
        if m * f <= MAX_SINGLE:
            flat = features.reshape(k, r, m * f)
            place = np.repeat(np.arange(m), f)
            parts.append(_gram(flat, flat)[:, place[:, None] < place])
        return _over_theta(np.concatenate(parts, axis=1))


class TwoEntries:
    """The data sets of one entry permuted among repeats at their theta, those of the other not.

    Args:
        one: Features of the members of one, (K, R, M, F).
        other: And of the other.
        rng: Of the permutations.
    """

    def __init__(self, one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> None:
        self.parts = [(_sums(one), _sums(other))]
        if one.shape[2] == other.shape[2] > 1:
            self.parts.append((one, other))
        if max(one[0, 0].size, other[0, 0].size) <= MAX_SINGLE:
            self.parts.append((_singles(one), _singles(other)))
        self.rng = rng

    def observed(self) -> np.ndarray:
        return self._statistics(self.parts)

    def permuted(self) -> np.ndarray:
        k, r = self.parts[0][0].shape[:2]
        order = self.rng.permuted(np.tile(np.arange(r), (k, 1)), axis=1)
        rows = np.arange(k)[:, None], order
        return self._statistics([(one, other[rows]) for one, other in self.parts])

    def _statistics(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        flat = [_gram(_flat(one), _flat(other)).reshape(len(one), -1) for one, other in parts]
        return _over_theta(np.concatenate(flat, axis=1))


@dataclass(frozen=True)
class MarkovProducts:
    """Products with mean zero, whose signs change at random.

    Args:
        products: Of what is left of a step and of the past, (K, n, S).
        rng: Of the signs.
    """

    products: np.ndarray
    rng: np.random.Generator

    def observed(self) -> np.ndarray:
        return self._statistics(np.ones(self.products.shape[:2]))

    def permuted(self) -> np.ndarray:
        return self._statistics(self.rng.choice([-1.0, 1.0], self.products.shape[:2]))

    def _statistics(self, signs: np.ndarray) -> np.ndarray:
        sums = (signs[:, None] @ self.products)[:, 0]
        sd = np.sqrt((self.products**2).sum(1))
        return _over_theta(np.divide(sums, sd, out=np.zeros_like(sums), where=sd > 1e-9))


def _over_theta(statistics: np.ndarray) -> np.ndarray:
    """Statistics at each theta (K, S) taken together: with their signs, and without.

    The cube root of a sum of squares is nearly normal (Wilson & Hilferty 1931), so that none of
    these is often far out.
    """
    return np.concatenate([statistics.sum(0), np.cbrt((statistics**2).sum(0))])


def _places(features: np.ndarray) -> np.ndarray:
    """What is usual at each place, and how it rises with the place, (K, S)."""
    means = features.mean(1)
    trend = np.linspace(-1, 1, means.shape[1]) @ means
    return np.concatenate([means, trend[:, None]], axis=1).reshape(len(means), -1)


def _products(features: np.ndarray) -> Iterator[np.ndarray]:
    """Sums of products of members of one data set at each theta, (K, S): all pairs, neighbours,
    and those further apart."""
    total = np.ones(features.shape[2]) @ features  # quicker than a sum over an inner axis
    yield _gram(total, total)[:, *np.triu_indices(total.shape[-1])]
    for apart in APART:
        if features.shape[2] > apart:
            before, after = _flat(features[:, :, :-apart]), _flat(features[:, :, apart:])
            yield _gram(before, after).reshape(len(before), -1)


def _flat(features: np.ndarray) -> np.ndarray:
    """Repeats and members of a theta as one axis, (K, R M, F)."""
    return features.reshape(len(features), -1, features.shape[-1])


def _gram(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(K, n, F) and (K, n, G) to (K, F, G)."""
    return one.transpose(0, 2, 1) @ other


def _sums(features: np.ndarray) -> np.ndarray:
    """Over the members of a data set, (K, R, 1, F)."""
    return (np.ones(features.shape[2]) @ features)[:, :, None]


def _singles(features: np.ndarray) -> np.ndarray:
    """All features of a data set side by side, (K, R, 1, M F)."""
    k, r, _, _ = features.shape
    return features.reshape(k, r, 1, -1)
