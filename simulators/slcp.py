r"""Simple likelihood, complex posterior: four draws of a normal in the plane, whose posterior has
four modes.

No units.

    x_1, ..., x_4 ~ N(m, S),   m = (t1, t2),   S = [[s1², rho s1 s2], [rho s1 s2, s2²]],   s1 = t3²,
    s2 = t4²,   rho = tanh(t5)

with theta = (t1, ..., t5). The squares forget the signs of t3 and t4. `distracted` hides the eight
numbers among 92 that say nothing of theta: one point of a mixture of 20 Student t distributions
with two degrees of freedom, the columns of all in a fixed random order.

References:
    Papamakarios, Sterratt & Murray (2019), Sequential Neural Likelihood,
    https://arxiv.org/abs/1805.07226
    Lueckmann, Boelts, Greenberg, Gonçalves & Macke (2021), Benchmarking Simulation-Based Inference,
    https://arxiv.org/abs/2101.04653
"""

from functools import cache
from typing import NamedTuple

import numpy as np

DRAWS = 4
DISTRACTING, PARTS, FREEDOM, SEED = 92, 20, 2, 42


def simulate(theta, *, rng):
    """theta: array (N, 5). Returns {"x": (N, 8)}, the draws one after the other."""
    noise = rng.standard_normal((len(theta), DRAWS, 2))
    points = theta[:, None, :2] + np.einsum("nij,nmj->nmi", root(theta), noise)
    return {"x": points.reshape(len(theta), -1)}


def root(theta):
    """Lower Cholesky factor of S, (N, 2, 2)."""
    s1, s2, rho = theta[:, 2] ** 2, theta[:, 3] ** 2, np.tanh(theta[:, 4])
    rest = 1 / np.cosh(theta[:, 4])  # sqrt(1 - rho²), exact also where rho rounds to 1
    return np.stack([np.stack([s1, np.zeros_like(s1)], -1), np.stack([rho * s2, rest * s2], -1)], 1)


def log_likelihood(x, *, theta):
    """log p(x | theta) by torch: x {"x": (8,)}, or (100,) with distractors, theta (N, 5).

    Returns (N,).

    With distractors it is the likelihood of the eight numbers alone: the density of the others does
    not depend on theta.
    """
    import torch

    seen = x["x"]
    if len(seen) > 2 * DRAWS:
        seen = seen[list(distractors().places)]
    s1, s2, rest = theta[:, 2] ** 2, theta[:, 3] ** 2, 1 / torch.cosh(theta[:, 4])
    points = seen.reshape(DRAWS, 2) - theta[:, None, :2]
    first = points[..., 0] / s1[:, None]
    second = (points[..., 1] / s2[:, None] - torch.tanh(theta[:, 4:]) * first) / rest[:, None]
    return -DRAWS * (np.log(2 * np.pi) + torch.log(s1 * s2 * rest)) - 0.5 * (
        first**2 + second**2
    ).sum(-1)


def distracted(theta, *, rng):
    """theta: array (N, 5). Returns {"x": (N, 100)}: the draws, and what distracts from them."""
    law, n = distractors(), len(theta)
    part = rng.integers(len(law.centres), size=n)
    tails = np.sqrt(rng.chisquare(FREEDOM, n) / FREEDOM)
    noise = rng.standard_normal((n, DISTRACTING)) / tails[:, None]
    far = law.centres[part]
    for k, factor in enumerate(law.factors):
        far[part == k] += noise[part == k] @ factor.T
    return {"x": np.concatenate([simulate(theta, rng=rng)["x"], far], axis=1)[:, law.order]}


@cache
def distractors():
    """The law of what distracts, the benchmark's own, from numpy's seed 42: centres (20, 92),
    factors (20, 92, 92), order (100,).
    """
    rng = np.random.RandomState(SEED)
    centres = np.array([15 * rng.normal(size=DISTRACTING) for _ in range(PARTS)])
    factors = [
        np.tril(rng.normal(size=(DISTRACTING, DISTRACTING)))
        + np.diag(np.exp(rng.normal(size=DISTRACTING)))
        for _ in range(PARTS)
    ]
    order = rng.permutation(DISTRACTING + 2 * DRAWS)
    return Distractors(centres, 3 * np.array(factors), order, tuple(np.argsort(order)[: 2 * DRAWS]))


class Distractors(NamedTuple):
    """A mixture, the order of all columns, and the places of the eight that matter."""

    centres: np.ndarray
    factors: np.ndarray
    order: np.ndarray
    places: tuple[int, ...]


def show(x, ax):
    """Marks the four points."""
    if len(x["x"]) > 2 * DRAWS:
        x = {"x": x["x"][list(distractors().places)]}
    ax.plot(x["x"][0::2], x["x"][1::2], "o")
    ax.set(xlabel="first coordinate", ylabel="second coordinate")
