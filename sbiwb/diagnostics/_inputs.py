"""What every check of `Draws` needs: columns in blocks, rank statistics, moments, and reasons.

A reason says why a column cannot be judged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sbiwb.evidence import Draws, Quantity
from sbiwb.row_arrays import RowArray
from sbiwb.seeds import generator

MAX_NUMBERS = 4_000_000  # held at once, so that memory does not grow with N
ALL = "all parameters"  # what a number that belongs to no single column is of
LOG_Q = "log q"  # the density as a test quantity
WITH_DATA = "·x"  # ends the name of theta_j * h_j(x)
LEAK_SHARE = 0.01  # of the draws outside the prior's support, from which a reason says so
NO_SPREAD = "the prior has no spread to compare with"


def pieces(draws: RowArray) -> Iterator[tuple[slice, np.ndarray]]:
    """Draws (N, S, D) a few rows at a time, as (rows, piece (n, S, D)).

    Draws (N, S) of one quantity are taken as D = 1.
    """
    n, s, d = (*draws.shape, 1)[:3]
    step = max(1, MAX_NUMBERS // max(1, s * d))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        yield rows, draws[rows].reshape(-1, s, d)


def blocks(draws: RowArray) -> Iterator[tuple[slice, np.ndarray]]:
    """The same with each column contiguous, as (rows, block (n, D, S)).

    Reductions are ten times faster so.
    """
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
        Talts et al. 2018, Validating Bayesian inference algorithms with simulation-based
        calibration, https://arxiv.org/abs/1804.06788.

    Example:
        >>> draws = np.array([[[1.0], [2.0], [4.0]]])
        >>> rank_statistics(np.array([[3.0]]), draws, np.random.default_rng(0))
        array([[2]])
    """
    below = np.empty(theta.shape, np.int64)
    ties = np.empty(theta.shape, np.int64)
    for rows, block in blocks(draws):
        truth = theta[rows][:, :, None]
        below[rows] = np.count_nonzero(block < truth, axis=2)
        ties[rows] = np.count_nonzero(block == truth, axis=2)
    return below + rng.integers(0, ties + 1)


def theta_ranks(draws: Draws) -> np.ndarray:
    """Rank statistics of all columns, (N, D).

    They are the same in every check, as the ties come from the root seed.
    """
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
    """Why a test quantity cannot be judged, or None.

    Infinite numbers have a rank: q may exclude the truth.
    """
    n = len(quantity.truth)
    if n < 2:
        return too_few(n)
    bad = np.isnan(quantity.truth)
    for rows, block in blocks(quantity.draws):
        bad[rows] |= np.isnan(block).any(axis=(1, 2))
    if bad.any():
        return f"{name} is not a number in {int(bad.sum())} of {n} test pairs"
    return None


def moments(draws: RowArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (ddof 1) of draws (N, S, D) over S, (N, D) each.

    The variance of a single draw is NaN.
    """
    n, s, d = draws.shape
    mean = np.full((n, d), np.nan)
    variance = np.full((n, d), np.nan)
    with np.errstate(all="ignore"):
        for rows, block in blocks(draws):
            mean[rows] = block.mean(axis=2)
            if s > 1:
                variance[rows] = _exact_variance(block)
    return mean, variance


def _exact_variance(block: np.ndarray) -> np.ndarray:
    """Variance over the last axis: exactly 0 where all numbers are equal, rounding aside."""
    return np.where(np.ptp(block, axis=2) == 0, 0.0, block.var(axis=2, ddof=1))


def prior_variance(draws: Draws) -> tuple[np.ndarray, tuple[str, ...]]:
    """The prior's variance, and where it comes from.

    Returns:
        (D,), that of the test set where the prior has none to offer, and D sources.
    """
    finite_prior = np.isfinite(draws.prior_var)
    if finite_prior.all() or draws.n < 2:
        return draws.prior_var, (draws.prior_var_source,) * len(draws.names)
    with np.errstate(all="ignore"):
        variance = np.where(finite_prior, draws.prior_var, draws.theta.var(axis=0, ddof=1))
    source = np.where(finite_prior, draws.prior_var_source, "test set")
    return variance, tuple(source.tolist())


def troubles(draws: Draws) -> tuple[str | None, ...]:
    """Why each column cannot be judged, or None where it can, D entries."""
    bad = bad_rows(draws.theta, draws.draws).tolist()
    constant = _is_constant(draws.theta).tolist()
    return tuple(_trouble(draws.n, *column) for column in zip(bad, constant, strict=True))


def _is_constant(theta: np.ndarray) -> np.ndarray:
    """Whether each column (N, D) is the same number everywhere, (D,)."""
    if not len(theta):
        return np.ones(theta.shape[1], bool)
    return np.ptp(np.where(np.isfinite(theta), theta, 0.0), axis=0) == 0


def bad_rows(theta: np.ndarray, draws: RowArray) -> np.ndarray:
    """Test pairs with a truth or a draw that is not finite, per column, (D,)."""
    bad = ~np.isfinite(theta)
    for rows, block in blocks(draws):
        bad[rows] |= ~np.isfinite(block).all(axis=2)
    return bad.sum(axis=0)


def _trouble(n: int, bad: int, constant: bool) -> str | None:
    if n < 2:
        return too_few(n)
    if bad:
        return f"the truth or some draws are not finite in {bad} of {n} test pairs"
    if constant:
        return f"the parameter is the same in all {n} test pairs: nothing to compare"
    return None


def too_few(n: int, noun: str = "test pair") -> str:
    """Says that there are too few of something to judge.

    Example:
        >>> too_few(1)
        '1 test pair: judging needs hundreds'
    """
    return f"{counted(n, noun)}: judging needs hundreds"


def counted(n: int, noun: str) -> str:
    """A number of things, such as `1 training` or `2 trainings`."""
    if n == 1:
        return f"1 {noun}"
    return f"{n} {noun}s"


def leak_notes(draws: Draws) -> tuple[str, ...]:
    """A clause for each column that leaks, else an empty one, D entries.

    A column leaks where more than `LEAK_SHARE` of the draws lie outside the prior's support.
    """
    if draws.leaked is None:
        return ("",) * len(draws.names)
    return tuple(map(_leak_note, draws.leaked))


def _leak_note(share: float) -> str:
    if share > LEAK_SHARE:
        return f"; {share:.1%} of the draws lie outside the prior's support"
    return ""


def finite(number: float | np.floating) -> float | None:
    """A plain float, or None where it is not a finite number."""
    if np.isfinite(number):
        return float(number)
    return None
