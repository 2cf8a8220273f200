"""Two moons: a posterior of two crescents, the benchmark of local detail and of several modes.

No units.

    r ~ N(0.1, 0.01²),  a ~ U(-pi/2, pi/2)
    x = (r cos a + 1/4 - |t1 + t2| / sqrt 2,  r sin a + (t2 - t1) / sqrt 2)

with theta = (t1, t2). Each x comes from two places, for the absolute value forgets the sign of t1 +
t2.

References:
    Greenberg, Nonnenmacher & Macke (2019), https://arxiv.org/abs/1905.07488
    Lueckmann, Boelts, Greenberg, Gonçalves & Macke (2021), Benchmarking Simulation-Based Inference,
    https://arxiv.org/abs/2101.04653
"""

import numpy as np

RADIUS, WIDTH, SHIFT = 0.1, 0.01, 0.25


def simulate(theta, *, rng):
    """theta: array (N, 2). Returns {"x": (N, 2)}."""
    angle = rng.uniform(-np.pi / 2, np.pi / 2, len(theta))
    radius = rng.normal(RADIUS, WIDTH, len(theta))
    crescent = np.stack([radius * np.cos(angle) + SHIFT, radius * np.sin(angle)], axis=1)
    return {"x": crescent + centre(theta)}


def centre(theta):
    """Where theta (..., 2) moves the crescent, (..., 2)."""
    along, across = theta.sum(-1), theta[..., 1] - theta[..., 0]
    return np.stack([-np.abs(along), across], axis=-1) / np.sqrt(2)


def log_likelihood(x, *, theta):
    """log p(x | theta) by torch: x {"x": (2,)}, theta (N, 2).

    Returns (N,), -inf on the wrong side of the crescent.
    """
    import torch

    along, across = theta.sum(-1), theta[:, 1] - theta[:, 0]
    first = x["x"][0] + along.abs() / np.sqrt(2) - SHIFT
    radius = torch.hypot(first, x["x"][1] - across / np.sqrt(2))
    density = (
        -0.5 * ((radius - RADIUS) / WIDTH) ** 2
        - radius.log()
        - np.log(np.pi * WIDTH * np.sqrt(2 * np.pi))
    )
    return torch.where(first > 0, density, -torch.inf)


def posterior(x, n, rng):
    """Exact draws (n, 2): x - crescent is the centre, whose two preimages are equally likely; those
    outside the prior are refused.

    Given the crescent, x fixes the centre, and `centre` turns and folds the plane without
    stretching it: drawing the crescent from its own distribution and solving for theta is exact
    under the uniform prior.
    """
    kept = np.empty((0, 2))
    while len(kept) < n:
        angle, radius = rng.uniform(-np.pi / 2, np.pi / 2, 2 * n), rng.normal(RADIUS, WIDTH, 2 * n)
        moved = np.sqrt(2) * (
            x["x"] - np.stack([radius * np.cos(angle) + SHIFT, radius * np.sin(angle)], axis=1)
        )
        along = -moved[:, 0] * rng.choice([-1, 1], 2 * n)
        theta = np.stack([along - moved[:, 1], along + moved[:, 1]], axis=1) / 2
        kept = np.concatenate([kept, theta[(moved[:, 0] <= 0) & (np.abs(theta) <= 1).all(1)]])
    return kept[:n]


def show(x, ax):
    """Marks the one point that a data set is."""
    ax.plot(*x["x"], "o")
    ax.set(xlabel="x1", ylabel="x2")
