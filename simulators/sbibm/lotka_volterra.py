"""Lotka-Volterra: prey and predators seen ten times with lognormal noise.

Time and numbers without units, rates per time.

    dX/dt = alpha X - beta X Y,  dY/dt = -gamma Y + delta X Y,  X(0) = 30, Y(0) = 1
    log x_k ~ N(log X(2.1 k), 0.1²),  y_k alike,  k = 0, ..., 9

References:
    Lotka (1920), https://doi.org/10.1073/pnas.6.7.410
    Lueckmann, Boelts, Greenberg, Gonçalves & Macke (2021), Benchmarking Simulation-Based Inference,
    https://arxiv.org/abs/2101.04653
"""

import math

import numpy as np

START, EVERY, TIMES, NOISE = (30.0, 1.0), 2.1, 10, 0.1
STEPS = 210  # Runge-Kutta of fourth order in log X and log Y, between two looks
LOWEST, HIGHEST = math.log(1e-10), math.log(1e4)  # what is seen of X and Y, as in the benchmark


def paths(alpha, beta, gamma, delta, exp):
    """log X and log Y at the ten times: rates (N,), arrays or tensors with the `exp` that goes with
    them.

    Returns two lists of ten (N,).
    """
    step = EVERY / STEPS

    def change(u, v):
        return alpha - beta * exp(v), delta * exp(u) - gamma

    u, v = 0 * alpha + math.log(START[0]), 0 * alpha + math.log(START[1])
    seen = [(u, v)]
    for _ in range(TIMES - 1):
        for _ in range(STEPS):
            du1, dv1 = change(u, v)
            du2, dv2 = change(u + step / 2 * du1, v + step / 2 * dv1)
            du3, dv3 = change(u + step / 2 * du2, v + step / 2 * dv2)
            du4, dv4 = change(u + step * du3, v + step * dv3)
            u, v = (
                u + step / 6 * (du1 + 2 * du2 + 2 * du3 + du4),
                v + step / 6 * (dv1 + 2 * dv2 + 2 * dv3 + dv4),
            )
        seen.append((u, v))
    return [u for u, _ in seen], [v for _, v in seen]


def simulate(alpha, beta, gamma, delta, *, rng):
    """Rates: arrays (N,). Returns {"x": (N, 20)}, ten numbers of prey and ten of predators."""
    prey, predators = paths(alpha, beta, gamma, delta, np.exp)
    mean = np.clip(np.stack([*prey, *predators], axis=1), LOWEST, HIGHEST)
    return {"x": np.exp(mean + NOISE * rng.standard_normal(mean.shape))}


def log_likelihood(x, *, alpha, beta, gamma, delta):
    """log p(x | rates) by torch: x {"x": (20,)}, rates (N,). Returns (N,)."""
    import torch

    prey, predators = paths(alpha, beta, gamma, delta, torch.exp)
    mean, seen = torch.stack([*prey, *predators], -1).clamp(LOWEST, HIGHEST), x["x"].log()
    return (-0.5 * ((seen - mean) / NOISE) ** 2 - seen).sum(-1) - 0.5 * len(seen) * math.log(
        2 * math.pi * NOISE**2
    )


def show(x, ax):
    """Draws prey and predators."""
    times = EVERY * np.arange(TIMES)
    ax.semilogy(times, x["x"][:TIMES], "o-", label="prey")
    ax.semilogy(times, x["x"][TIMES:], "o-", label="predators")
    ax.set(xlabel="time", ylabel="number")
    ax.legend()
