r"""Drift-diffusion model of a two-choice decision (Ratcliff 1978).

Time in seconds, evidence in units of its own noise (s = 1).

Evidence starts at w a and drifts at rate v between 0 and a; whichever it reaches first is chosen,
and the response comes t0 later:

    dX = v dt + dW,   X(0) = w a,   DT = first time that X leaves (0, a),   rt = DT + t0,
    choice = 1 if X(DT) = a else 0

Nothing is discretised: DT is drawn by inverting its distribution function at each boundary. With s
= t / a² and c = v a, for the lower one (the upper one is the same with -v and 1 - w):

    F(s) = P_lower - exp(-c w - c² s / 2)
                     sum_k 2 pi k sin(pi k w) / (c² + pi² k²) exp(-pi² k² s / 2)

The last factor is the same for all data sets, so that all distribution functions are one product of
matrices. They are computed at `GRID` times from 0.0005 to 30 a², evenly in log s, and interpolated.

References:
    Ratcliff (1978), Psychological Review 85:59
    Navarro & Fuss (2009), Journal of Mathematical Psychology 53:222
"""

import numpy as np

TERMS = 200  # at the first time of the grid the last term is exp(-98)
GRID = 800
SCALED = np.geomspace(5e-4, 30.0, GRID)  # s
DEADLINE_S = 10.0  # a slower decision is answered at it, by the boundary it would have reached
LEAST = 1e-9  # of a share that is divided by


def simulate(v, a, w, t0, n_trials, *, rng):
    """v (1/√s), a (√s), w (0 to 1), t0 (s): arrays (N,). n_trials: integers (N,).

    Returns {"rt": N arrays (n_trials,) in seconds, "choice": N arrays (n_trials,) of 1, the upper
    boundary, and 0}.
    """
    sizes = np.asarray(n_trials, int)
    row = np.repeat(np.arange(len(sizes)), sizes)
    choice = rng.random(len(row)) < upper_share(v, a, w)[row]
    position = rng.random(len(row))
    scaled = np.empty(len(row))
    for up, drift, start in ((False, v, w), (True, -v, 1 - w)):
        mine = choice == up
        scaled[mine] = invert(lower_times(drift * a, start), row[mine], position[mine])
    rt = t0[row] + np.minimum(scaled * a[row] ** 2, DEADLINE_S)
    return {"rt": split(rt, sizes), "choice": split(choice.astype(np.int64), sizes)}


def upper_share(v, a, w):
    """Probability of the upper boundary: (1 - exp(-2 v a w)) / (1 - exp(-2 v a)), and w without
    drift.
    """
    c = np.where(np.abs(v * a) < 1e-6, 1e-6, v * a)
    return np.where(
        c > 0,
        _expm1_ratio(-2 * c * w, -2 * c),
        np.exp(np.minimum(2 * c * (1 - w), 0)) * _expm1_ratio(2 * c * w, 2 * c),
    )


def _expm1_ratio(above, below):
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # np.where keeps the branch that does not overflow
        return np.expm1(above) / np.expm1(below)


def lower_times(c, w):
    """Distribution function of s given the lower boundary, at SCALED. c = v a, w: (N,).

    Returns (N, GRID), from 0 to 1.
    """
    k = np.pi * np.arange(1, TERMS + 1)
    weights = 2 * k * np.sin(k * w[:, None]) / (c[:, None] ** 2 + k**2)
    later = weights @ np.exp(-0.5 * k[:, None] ** 2 * SCALED)
    later *= np.exp(-c[:, None] * w[:, None] - 0.5 * c[:, None] ** 2 * SCALED)
    share = np.maximum(1 - upper_share(c, np.ones_like(c), w), LEAST)[:, None]
    return np.maximum.accumulate(np.clip(1 - later / share, 0, 1), axis=1)


def invert(times, row, position):
    """s at which distribution function `row` of `times` (N, GRID) reaches `position`: all rows end
    to end are one increasing function.
    """
    stairs = (times + 2 * np.arange(len(times))[:, None]).ravel()
    return np.exp(np.interp(position + 2 * row, stairs, np.tile(np.log(SCALED), len(times))))


def split(values, sizes):
    """Arrays of the given sizes, one a data set."""
    return np.split(values, np.cumsum(sizes)[:-1])


def show(x, ax):
    """Histogram of response times, those of choice 0 to the left of zero."""
    signed = np.where(x["choice"] == 1, x["rt"], -x["rt"])
    ax.hist(signed, bins=np.linspace(-5, 5, 61), color="#0072B2", alpha=0.7)
    ax.axvline(0, color="#777777", lw=0.8)
    ax.set(xlabel="response time (s), choice 0 to the left", ylabel="trials")
