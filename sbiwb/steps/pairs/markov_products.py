"""What is left of a step, and of what came before the one before it, given that one.

At each theta and step, both are freed of a polynomial in the step before. What a polynomial leaves
of a curve that is none differs little between repeats whose step before is nearly the same; so
repeats are matched by it, and the differences of a match are looked at.

Shapes: K theta, R repeats, M members, T steps that are looked at, C columns, P terms of a
polynomial, F features, n matches, S products.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement

import numpy as np

from sbiwb.steps.pairs.repeats import standardized

MAX_STEPS = 24
MAX_DEGREE = 5
CLOSEST = 0.75  # share of the matches that are looked at
REPEATS_A_TERM = 3  # of a polynomial, at least
LEAST_SD = 0.1  # of what is left of a score; below, the step before says it all
MAD = 1.4826  # sd of a normal distribution, in its median absolute deviations


def has_repeats_enough(members: np.ndarray) -> bool:
    """Whether the squares of all columns of members (K, R, M, C) fit into a polynomial."""
    terms = 1 + 2 * members.shape[3]
    return members.shape[1] >= REPEATS_A_TERM * terms


def markov_products(members: np.ndarray) -> np.ndarray:
    """Products of what is left of a step and of the past, of each match, (K, T n, S).

    Each has mean zero where the members are a Markov chain.

    Args:
        members: (K, R, M, C), of at least three members.
    """
    scores = _scores(members).transpose(0, 2, 1, 3)
    count = scores.shape[1]
    steps = np.unique(np.linspace(2, count - 1, min(count - 2, MAX_STEPS)).astype(int))
    past = np.cumsum(scores, axis=1) / np.arange(1, count + 1)[:, None, None]
    earlier = np.concatenate([scores, standardized(past, (2,))], axis=-1)
    given = scores[:, steps - 1]
    basis, match = _basis(given), _matches(given)
    after = _differences(_left(scores[:, steps], basis), match)
    before = _differences(_left(earlier[:, steps - 2], basis), match)
    products = np.einsum("ktra,ktrb->ktrab", after, before)
    return products.reshape(len(members), -1, after.shape[-1] * before.shape[-1])


def _scores(members: np.ndarray) -> np.ndarray:
    """Members in units of their place's spread over repeats, far ones drawn in; 0 where missing.

    Ranks would not do: those of one step and the next err together.
    """
    middle = _median(members)
    distance = np.abs(members - middle)
    scale = MAD * _median(distance)
    mean = np.nan_to_num(distance).mean(1, keepdims=True)
    scale = np.where(scale > 0, scale, np.where(mean > 0, mean, 1.0))
    return standardized(np.arcsinh((members - middle) / scale), (1,))


def _median(values: np.ndarray) -> np.ndarray:
    """Lower median over repeats of those that are not missing, (K, 1, M, C)."""
    count = np.sum(~np.isnan(values), axis=1, keepdims=True)
    return np.take_along_axis(np.sort(values, axis=1), np.maximum(0, count - 1) // 2, axis=1)


def _basis(given: np.ndarray) -> np.ndarray:
    """Orthonormal terms of a polynomial in scores (K, T, R, C), (K, T, R, P); of as many degrees
    as the repeats allow."""
    columns, most = given.shape[-1], given.shape[2] // REPEATS_A_TERM
    terms = [np.ones(given.shape[:-1])]
    for group in _monomials(columns):
        if len(terms) + len(group) <= most:
            terms += [given[..., list(factors)].prod(-1) for factors in group]
    return np.linalg.qr(np.stack(terms, axis=-1))[0]


def _monomials(columns: int) -> Iterator[list[tuple[int, ...]]]:
    """Columns to multiply for each term, degree by degree: powers, then mixed terms."""
    for degree in range(1, MAX_DEGREE + 1):
        factors = list(combinations_with_replacement(range(columns), degree))
        yield [term for term in factors if len(set(term)) == 1]
        yield [term for term in factors if len(set(term)) > 1]


def _left(scores: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What a polynomial leaves of scores (K, T, R, C), and of the squares of that, (..., 2 C)."""
    left = _residual(scores, basis)
    left = np.where(left.std(2, keepdims=True) > LEAST_SD, left, 0.0)
    left = standardized(left, (2,))
    return np.concatenate([left, standardized(_residual(left**2, basis), (2,))], axis=-1)


def _residual(values: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return values - basis @ (np.swapaxes(basis, -1, -2) @ values)


def _matches(given: np.ndarray) -> np.ndarray:
    """Repeats two by two, (K, T, n, 2): the closest first, then the closest of the others."""
    k, t, r, _ = given.shape
    distance = ((given[..., :, None, :] - given[..., None, :, :]) ** 2).sum(-1)
    distance = distance.reshape(k * t, r, r)
    distance[:, np.arange(r), np.arange(r)] = np.inf
    rows, matches = np.arange(k * t), []
    for _ in range(round(CLOSEST * (r // 2))):
        pair = np.stack(np.divmod(distance.reshape(k * t, -1).argmin(1), r), axis=1)
        matches.append(pair)
        for repeat in pair.T:
            distance[rows, repeat] = np.inf
            distance[rows, :, repeat] = np.inf
    return np.stack(matches, axis=1).reshape(k, t, -1, 2)


def _differences(left: np.ndarray, match: np.ndarray) -> np.ndarray:
    """Within each match, (K, T, n, F)."""
    one, other = (np.take_along_axis(left, match[..., [i]], axis=2) for i in (0, 1))
    return one - other
