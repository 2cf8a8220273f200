"""Posteriors with a known fault, in closed form: test pairs of a linear normal problem, and draws
from what claims to be its posterior.

    theta ~ N(0, I),    x = theta + noise,    noise ~ N(0, V (I - V)^-1),    so that    theta | x ~
    N((I - V) x, V)    exactly

with V_jj = 1/4: the data halve the sd. The shown posterior is N(mean_i, sd_i^2 I) in every case, so
that each check's ranks have a distribution in closed form, see `ranks.py`. Seeds come from the
caller, who fixes them beforehand.

Shapes: N test pairs, S draws, D parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sbiwb.evidence import Draws

VARIANCE = 0.25  # of the exact posterior, each column
STRATA = 4  # values of the context variable `design`, N / 4 pairs each
BLOCK = 2_000_000  # numbers drawn at once


@dataclass(frozen=True)
class Case:
    """What is wrong with a posterior; nothing by default.

    Args:
        name: As it stands in the tables.
        scale: Its sd, in exact sds.
        shift: Its mean minus the exact one, in exact sds.
        prior: Whether it is the prior, whatever the data.
        rho: Correlation within pairs of columns of the exact posterior, shown as 0.
        bad: Its sd in the first stratum, in exact sds.
    """

    name: str
    scale: float = 1.0
    shift: float = 0.0
    prior: bool = False
    rho: float = 0.0
    bad: float = 1.0

    def defined(self, d: int) -> bool:
        """Whether it differs from an exact posterior of D parameters."""
        return d > 1 or not self.rho


EXACT = Case("exact")
PRIOR = Case("prior as posterior", prior=True)
CORRELATION = Case("correlation 0.8 shown as 0", rho=0.8)
STRATUM = Case("sd × 0.5 in a quarter", bad=0.5)
FAULTS = (
    Case("sd × 0.8", scale=0.8),
    Case("sd × 1.25", scale=1.25),
    Case("mean + 0.3 sd", shift=0.3),
    PRIOR,
    CORRELATION,
    STRATUM,
)
CASES = (EXACT, *FAULTS)


@dataclass(frozen=True)
class Posteriors:
    """N test pairs with the posterior that is shown for each, Normal(mean, sd² I).

    Args:
        theta: What generated the data, (N, D).
        x: The data, (N, D).
        exact_mean: Of the exact posterior, (N, D).
        mean: Of the shown one, (N, D).
        sd: Of the shown one, (N,).
        design: The stratum of each pair, 0 to 3, (N,).
    """

    theta: np.ndarray
    x: np.ndarray
    exact_mean: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    design: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"theta_{j}" for j in range(self.theta.shape[1]))


def covariance(d: int, rho: float) -> np.ndarray:
    """V of the exact posterior, (D, D): columns 0 and 1 are correlated, 2 and 3, and so on; an odd
    last one is alone."""
    v = VARIANCE * np.eye(d)
    for j in range(0, d - 1, 2):
        v[j, j + 1] = v[j + 1, j] = rho * VARIANCE
    return v


def pairs(case: Case, n: int, d: int, rng: np.random.Generator) -> Posteriors:
    """N fresh test pairs, and the posterior that the case shows for each."""
    v, eye = covariance(d, case.rho), np.eye(d)
    theta = rng.standard_normal((n, d))
    x = theta + rng.standard_normal((n, d)) @ np.linalg.cholesky(v @ np.linalg.inv(eye - v)).T
    exact_mean, design = x @ (eye - v), np.arange(n) % STRATA
    if case.prior:
        return Posteriors(theta, x, exact_mean, np.zeros((n, d)), np.ones(n), design)
    exact_sd = np.sqrt(VARIANCE)
    sd = exact_sd * case.scale * np.where(design == 0, case.bad, 1.0)
    return Posteriors(theta, x, exact_mean, exact_mean + case.shift * exact_sd, sd, design)


def sampled(posteriors: Posteriors, s: int, rng: np.random.Generator) -> Draws:
    """S draws from each shown posterior (float32), with everything that a run would know beside
    them."""
    n, d = posteriors.theta.shape
    draws, log_q = np.empty((n, s, d), np.float32), np.empty((n, s), np.float32)
    step = max(1, BLOCK // (s * d))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        noise = rng.standard_normal((len(posteriors.sd[rows]), s, d), dtype=np.float32)
        log_q[rows] = _log_density(
            np.einsum("nsd,nsd->ns", noise, noise), posteriors.sd[rows, None], d
        )
        draws[rows] = noise * posteriors.sd[rows, None, None] + posteriors.mean[rows, None]
    distance = (((posteriors.theta - posteriors.mean) / posteriors.sd[:, None]) ** 2).sum(axis=1)
    return Draws(
        names=posteriors.names,
        theta=posteriors.theta,
        draws=draws,
        prior_var=np.ones(d),
        log_prob_theta=_log_density(distance, posteriors.sd, d),
        context={"design": posteriors.design},
        seed=int(rng.integers(2**31)),
        log_prob_draws=log_q,
        prior_draws=rng.standard_normal((n, d)),
        ridge_prediction=posteriors.exact_mean,
    )


def _log_density(distance: np.ndarray, sd: np.ndarray, d: int) -> np.ndarray:
    """Log-density of Normal(mean, sd² I) at a squared distance from its mean, in sds."""
    return -0.5 * distance - d * np.log(sd) - 0.5 * d * np.log(2 * np.pi)
