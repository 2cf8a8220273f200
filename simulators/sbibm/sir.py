"""SIR epidemic in a million people, seen as the infected among a thousand of them on ten days.

Time in days, rates per day.

    dS/dt = -beta S I / P,   dI/dt = beta S I / P - gamma I,   S(0) = P - 1, I(0) = 1;
    x_k ~ Binomial(1000, I(17 k) / P), k = 0, ..., 9

References:
    Kermack & McKendrick (1927), https://doi.org/10.1098/rspa.1927.0118
    Lueckmann, Boelts, Greenberg, Gonçalves & Macke (2021), Benchmarking Simulation-Based Inference,
    https://arxiv.org/abs/2101.04653
"""

import math

import numpy as np

PEOPLE, TESTED, EVERY, TIMES = 1_000_000, 1000, 17, 10
STEPS_A_DAY = 4  # Runge-Kutta of fourth order
SMALLEST = 1e-12  # share that the log-likelihood sees at least


def infected(beta, gamma):
    """Share infected on the ten days: beta, gamma (N,), arrays or tensors alike.

    Returns ten of (N,).
    """
    step = 1 / STEPS_A_DAY

    def change(s, i):
        new = beta * s * i
        return -new, new - gamma * i

    s, i = 0 * beta + (1 - 1 / PEOPLE), 0 * beta + 1 / PEOPLE
    seen = [i]
    for _ in range(TIMES - 1):
        for _ in range(EVERY * STEPS_A_DAY):
            ds1, di1 = change(s, i)
            ds2, di2 = change(s + step / 2 * ds1, i + step / 2 * di1)
            ds3, di3 = change(s + step / 2 * ds2, i + step / 2 * di2)
            ds4, di4 = change(s + step * ds3, i + step * di3)
            s, i = (
                s + step / 6 * (ds1 + 2 * ds2 + 2 * ds3 + ds4),
                i + step / 6 * (di1 + 2 * di2 + 2 * di3 + di4),
            )
        seen.append(i)
    return seen


def simulate(beta, gamma, *, rng):
    """beta, gamma: arrays (N,). Returns the infected among those tested, {"x": (N, 10)}."""
    return {
        "x": rng.binomial(TESTED, np.clip(np.stack(infected(beta, gamma), axis=1), 0, 1)).astype(
            float
        )
    }


def log_likelihood(x, *, beta, gamma):
    """log p(x | beta, gamma) by torch: x {"x": (10,)}, beta and gamma (N,). Returns (N,)."""
    import torch

    share = torch.stack(infected(beta, gamma), -1).clamp(SMALLEST, 1 - SMALLEST)
    ways = sum(math.log(math.comb(TESTED, int(count))) for count in x["x"])
    return (x["x"] * share.log() + (TESTED - x["x"]) * torch.log1p(-share)).sum(-1) + ways


def derived(beta, gamma):
    """The basic reproduction number."""
    return {"R0": beta / gamma}


def show(x, ax):
    """Draws the ten counts."""
    ax.plot(EVERY * np.arange(TIMES), x["x"], "o-")
    ax.set(xlabel="day", ylabel=f"infected of {TESTED}")
