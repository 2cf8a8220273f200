"""What every check of `Draws` needs: columns in blocks, rank statistics, moments, and reasons why a column cannot be judged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sbiwb.evidence import Draws, Quantity, RowArray
from sbiwb.seeds import generator

BLOCK = 4_000_000  # numbers held at once, so that memory does not grow with N
ALL = "all parameters"  # what a number that belongs to no single column is of
LOG_Q = "log q"  # the density as a test quantity


def pieces(draws: RowArray) -> Iterator[tuple[slice, np.ndarray]]:
    """Draws (N, S, D) a few rows at a time, as (rows, piece (n, S, D)); draws (N, S) of one quantity are taken as D = 1."""
    n, s, d = (*draws.shape, 1)[:3]
    step = max(1, BLOCK // max(1, s * d))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        yield rows, draws[rows].reshape(-1, s, d)


def blocks(draws: RowArray) -> Iterator[tuple[slice, np.ndarray]]:
    """The same with each column contiguous, as (rows, block (n, D, S)): reductions are ten times faster so."""
    for rows, piece in pieces(draws):
        yield rows, np.array(np.swapaxes(piece, 1, 2), order="C")


def rank_statistics(theta: np.ndarray, draws: RowArray, rng: np.random.Generator) -> np.ndarray:
    """Number of draws below the truth, ties broken at random.

    Args:
        theta: (N, D).
        draws: (N, S, D).
        rng: Breaks the ties, which matter for discrete parameters and draws on a bound.

    Returns:
        (N, D) in {0, ..., S}.

    References:
        Talts et al. 2018, Validating Bayesian inference algorithms with simulation-based calibration,
        https://arxiv.org/abs/1804.06788.
    """
    below, ties = np.empty(theta.shape, np.int64), np.empty(theta.shape, np.int64)
    for rows, block in blocks(draws):
        truth = theta[rows][:, :, None]
        below[rows] = np.count_nonzero(block < truth, axis=2)
        ties[rows] = np.count_nonzero(block == truth, axis=2)
    return below + rng.integers(0, ties + 1)


def theta_ranks(draws: Draws) -> np.ndarray:
    """Rank statistics of all columns, (N, D); the same in every check, as the ties come from the root seed."""
    return rank_statistics(draws.theta, draws.draws, generator(draws.seed, "ranks"))


def quantity_ranks(quantity: Quantity, rng: np.random.Generator) -> np.ndarray:
    """The same of one test quantity, (N, 1)."""
    return rank_statistics(quantity.truth[:, None], quantity.draws, rng)


def log_q(draws: Draws) -> Quantity | None:
    """log q(theta | x) as a test quantity, where it is known at the truth and at the draws."""
    if draws.log_prob_theta is None or draws.log_prob_draws is None:
        return None
    return Quantity(draws.log_prob_theta, draws.log_prob_draws)


def log_q_ranks(density: Quantity, seed: int) -> np.ndarray:
    """Ranks of log q, (N, 1); the same in every check."""
    return quantity_ranks(density, generator(seed, "ranks", 1))


def quantity_trouble(name: str, quantity: Quantity) -> str | None:
    """Why a test quantity cannot be judged; infinite numbers have a rank: q may exclude the truth."""
    n = len(quantity.truth)
    if n < 2:
        return few(n)
    bad = np.isnan(quantity.truth)
    for rows, block in blocks(quantity.draws):
        bad[rows] |= np.isnan(block).any(axis=(1, 2))
    return f"{name} is not a number in {int(bad.sum())} of {n} test pairs" if bad.any() else None


def moments(draws: RowArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (ddof 1) of draws (N, S, D) over S, (N, D) each; the variance of a single draw is NaN."""
    n, s, d = draws.shape
    mean, variance = np.full((n, d), np.nan), np.full((n, d), np.nan)
    with np.errstate(all="ignore"):
        for rows, block in blocks(draws):
            mean[rows] = block.mean(axis=2)
            if s > 1:
                variance[rows] = np.where(
                    np.ptp(block, axis=2) == 0, 0.0, block.var(axis=2, ddof=1)
                )  # exactly 0, rounding aside
    return mean, variance


def prior_variance(draws: Draws) -> tuple[np.ndarray, tuple[str, ...]]:
    """The prior's variance (D,), that of the test set where the prior has none to offer, and which it is."""
    known = np.isfinite(draws.prior_var)
    if known.all() or draws.n < 2:
        return draws.prior_var, (draws.prior_var_source,) * len(draws.names)
    with np.errstate(all="ignore"):
        variance = np.where(known, draws.prior_var, draws.theta.var(axis=0, ddof=1))
    return variance, tuple(draws.prior_var_source if own else "test set" for own in known)


def troubles(draws: Draws) -> tuple[str | None, ...]:
    """Why each column cannot be judged, or None where it can, D entries."""
    bad = bad_rows(draws.theta, draws.draws)
    constant = (
        np.ptp(np.where(np.isfinite(draws.theta), draws.theta, 0.0), axis=0) == 0
        if draws.n
        else np.ones(len(draws.names))
    )
    return tuple(
        _trouble(draws.n, int(rows), bool(same)) for rows, same in zip(bad, constant, strict=True)
    )


def bad_rows(theta: np.ndarray, draws: RowArray) -> np.ndarray:
    """Test pairs with a truth or a draw that is not finite, per column, (D,)."""
    bad = ~np.isfinite(theta)
    for rows, block in blocks(draws):
        bad[rows] |= ~np.isfinite(block).all(axis=2)
    return bad.sum(axis=0)


def _trouble(n: int, bad: int, constant: bool) -> str | None:
    if n < 2:
        return few(n)
    if bad:
        return f"the truth or some draws are not finite in {bad} of {n} test pairs"
    return (
        f"the parameter is the same in all {n} test pairs: nothing to compare" if constant else None
    )


def few(n: int) -> str:
    return f"{n} test pair{'' if n == 1 else 's'}: judging needs hundreds"


def leak_notes(draws: Draws, *, above: float = 0.01) -> tuple[str, ...]:
    """A clause per column where more than `above` of the draws lie outside the prior's support, else empty, D entries."""
    leaked = np.zeros(len(draws.names)) if draws.leaked is None else draws.leaked
    return tuple(
        f"; {share:.1%} of the draws lie outside the prior's support" if share > above else ""
        for share in leaked
    )


def finite(number: object) -> float | None:
    """A plain float, or None where it is not a finite number."""
    plain = float(number)  # type: ignore[arg-type]
    return plain if np.isfinite(plain) else None
