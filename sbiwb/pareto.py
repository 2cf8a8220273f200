r"""Importance weights: what they are worth, smoothed by the Pareto distribution of their tail, and
draws by them; numbers in, numbers out.

The largest of S weights, the upper min(S / 5, 3 sqrt S) of them, are fitted by a generalised Pareto
distribution above the largest of the others and replaced by its expected order statistics. Its
shape k says how heavy the tail is: of moments of the weights those below 1 / k exist, and beyond k
= 0.7 no number derived from them is to be trusted, however many there are.

Draws are taken without replacement, for duplicates would tell them from the posterior at once. A
row is drawn with the probability min(1, c w), and c such that these sum to the number of draws:
while no weight is worth more than one draw, every mean over the draws has the weighted mean as its
expectation (drawing one after the other in proportion to the weights, as Gumbel numbers do, has
not). What the cut at 1 takes away from the heaviest rows goes to the others; `distortion` says how
much that is.

Shapes: S weights, D columns.

References:
    Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling,
        https://arxiv.org/abs/1507.02646
    Zhang & Stephens (2009), A new and efficient estimation method for the generalized Pareto
        distribution,
    https://doi.org/10.1198/tech.2009.08017
    Madow (1949), On the theory of systematic sampling, https://doi.org/10.1214/aoms/1177729988
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from sbiwb.errors import DataError

TRUSTED_K = 0.7
MIN_TAIL = 5  # weights that a tail can be fitted to
EQUAL_WEIGHTS = 1e-9  # relative difference of weights that is rounding
PRIOR_K = 0.5  # of the estimator: k is drawn to it
PRIOR_WEIGHT = 10  # as if by so many more weights
PRIOR_SPREAD = 3


@dataclass(frozen=True)
class Weights:
    """Importance weights of S draws, and what they are worth.

    Args:
        log_weights: Smoothed and normalised: their exponentials sum to 1, (S,).
        pareto_k: Shape of the tail; infinite where too few draws are possible to tell.
        ess: Effective number of draws, (sum w)² / sum w².
        efficiency: ESS / S.
        log_integral: Log of the mean weight: of the integral of the density, the evidence where
            that is p(x).
        log_integral_error: Its standard error, in nats; of no worth where k is above 0.7.
    """

    log_weights: np.ndarray
    pareto_k: float
    ess: float
    efficiency: float
    log_integral: float
    log_integral_error: float

    def facts(self, evidence: bool) -> dict[str, float]:
        """Numbers by name; the integral is called `log_evidence` where it is p(x), `log_integral`
        elsewhere."""
        name = "log_evidence" if evidence else "log_integral"
        worth = {"pareto_k": self.pareto_k, "ess": self.ess, "efficiency": self.efficiency}
        return {**worth, name: self.log_integral, f"{name}_error": self.log_integral_error}

    def warnings(self) -> tuple[str, ...]:
        """Why the weights are not to be trusted."""
        if self.pareto_k <= TRUSTED_K:
            return ()
        return (
            f"Pareto k is {self.pareto_k:.2f}, above {TRUSTED_K}: no number derived from the "
            "importance weights is to be trusted.",
        )


def importance_weights(log_density: np.ndarray, log_proposal: np.ndarray) -> Weights:
    """Weights of S draws of a proposal q.

    ESS and evidence are those of the weights as they are, not smoothed.

    Args:
        log_density: log p of each draw, known up to a constant, (S,); -inf where it is impossible.
        log_proposal: log q of each draw, (S,).

    Raises:
        DataError: No draw is possible, or a weight is not a number.
    """
    log_weights = log_density - log_proposal
    _check_finite(log_weights)
    total = logsumexp(log_weights)
    if np.isneginf(total):
        raise DataError(
            f"none of {len(log_weights)} draws of the proposal is possible",
            where="importance weights",
            todo="Take a wider proposal.",
        )
    s, ess = len(log_weights), float(np.exp(2 * total - logsumexp(2 * log_weights)))
    smoothed, k = pareto_smooth(log_weights)
    error = math.sqrt(max(0.0, 1 / ess - 1 / s))
    return Weights(smoothed, k, ess, ess / s, float(total - math.log(s)), error)


def _check_finite(log_weights: np.ndarray) -> None:
    """-inf is a weight of 0; everything else must be a number."""
    broken = int((np.isnan(log_weights) | np.isposinf(log_weights)).sum())
    if broken:
        raise DataError(
            f"{broken} of {len(log_weights)} importance weights are not finite numbers",
            where="importance weights",
            todo="Look for NaN or infinity in the log-likelihood, and for parameters where the "
            "proposal's density is 0.",
        )


def pareto_smooth(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Log-weights (S,) with a smoothed tail, normalised so that their exponentials sum to 1, and
    the shape k of the tail.

    k is 0 where the weights of the tail are all the same, and infinite where it has fewer than five
    weights. Smoothed weights are never larger than the largest there was.
    """
    scaled = log_weights - log_weights.max()
    cutoff = _cutoff(scaled)
    if -cutoff < EQUAL_WEIGHTS:
        return scaled - logsumexp(scaled), 0.0
    tail, k = np.flatnonzero(scaled > cutoff), math.inf
    if len(tail) >= MIN_TAIL:
        tail = tail[np.argsort(scaled[tail])]
        k, scale = fit_tail(np.exp(scaled[tail]) - math.exp(cutoff))
        if math.isfinite(k):
            levels = (np.arange(len(tail)) + 0.5) / len(tail)
            scaled[tail] = np.minimum(np.log(_quantile(levels, k, scale) + math.exp(cutoff)), 0)
    return scaled - logsumexp(scaled), k


def _cutoff(scaled: np.ndarray) -> float:
    """Where the tail of log-weights (S,) begins, whose largest is 0."""
    s = len(scaled)
    place = s - 1 - math.ceil(min(s / 5, 3 * math.sqrt(s)))
    return max(np.partition(scaled, place)[place], math.log(np.finfo(float).tiny))


def fit_tail(excess: np.ndarray) -> tuple[float, float]:
    """Shape k and scale of the generalised Pareto distribution of excesses (n,), sorted and
    positive, by Zhang and Stephens' estimator.

    It is the posterior mean over a grid of b = -k / scale, with a weak prior that draws k to 0.5. k
    is infinite where the fit fails.
    """
    n = len(excess)
    quartile = excess[int(n / 4 + 0.5) - 1]
    if quartile <= 0:
        return math.inf, math.nan
    b = _grid(n, excess[-1], quartile)
    shape = np.log1p(-b[:, None] * excess).mean(1)
    log_likelihood = n * (np.log(-b / shape) - shape - 1)
    weights = np.exp(log_likelihood - logsumexp(log_likelihood))
    kept = weights >= 10 * np.finfo(float).eps
    best = float(b[kept] @ weights[kept] / weights[kept].sum())
    k = float(np.log1p(-best * excess).mean())
    return (n * k + PRIOR_WEIGHT * PRIOR_K) / (n + PRIOR_WEIGHT), -k / best


def _grid(n: int, largest: float, quartile: float) -> np.ndarray:
    """Values of b = -k / scale over which the estimator takes its mean."""
    points = 30 + int(math.sqrt(n))
    steps = 1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    return 1 / largest + steps / (PRIOR_SPREAD * quartile)


def _quantile(levels: np.ndarray, k: float, scale: float) -> np.ndarray:
    """Of the generalised Pareto distribution, at levels (n,) in (0, 1)."""
    survival = np.log1p(-levels)
    if abs(k) < np.finfo(float).eps:
        return scale * -survival
    return scale * (np.expm1(-k * survival) / k)


def resample(
    theta: np.ndarray, log_weights: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """`draws` different rows of theta (S, D) in proportion to their weights, (draws, D), in random
    order.

    Raises:
        DataError: There are fewer possible rows than draws.
    """
    order = rng.permutation(len(theta))
    share = inclusion(log_weights, draws)[order]
    sure = order[share == 1]
    ends = np.cumsum(np.where(share == 1, 0, share))
    left = draws - len(sure)
    points = (rng.random() + np.arange(left)) * (ends[-1] / max(left, 1))
    drawn = order[np.searchsorted(ends, points, side="right")]
    return theta[rng.permutation(np.concatenate([sure, drawn]))]


def inclusion(log_weights: np.ndarray, draws: int) -> np.ndarray:
    """The probability of each row to be among the draws, min(1, c w), (S,), which sum to their
    number.

    Raises:
        DataError: There are fewer possible rows than draws.
    """
    _check_enough(log_weights, draws)
    weights = np.exp(log_weights - np.max(log_weights))
    largest = np.argsort(-weights)[:draws]
    before = np.concatenate([[0], np.cumsum(weights[largest])[:-1]])
    rest = weights.sum() - before  # of all but the j largest
    alone = (draws - np.arange(draws)) * weights[largest]
    sure = int(np.argmax(alone <= rest * (1 + 1e-12)))
    share = np.minimum(1, (draws - sure) * weights / rest[sure])
    share[largest[:sure]] = 1
    return share


def _check_enough(log_weights: np.ndarray, draws: int) -> None:
    possible = int(np.isfinite(log_weights).sum())
    if possible < draws:
        raise DataError(
            f"{draws:,} draws without replacement need as many possible ones, not {possible:,} of "
            f"{len(log_weights):,}",
            where="importance weights",
            todo="Take more proposals (`proposals`), or fewer draws.",
        )


def distortion(log_weights: np.ndarray, draws: int) -> float:
    """Total variation, 0 to 1, between normalised weights (S,) and the chances of the rows among
    that many draws: what the cut at 1 moves.

    A classifier's accuracy between the draws and the weighted rows is above 1/2 by half of it at
    most.
    """
    return float(np.maximum(0, np.exp(log_weights) - inclusion(log_weights, draws) / draws).sum())
