r"""Two moons, each with its label: given the label, where are the points? No units.

    point = (cos t + k - 1/2, sin t + k/2 - 1/4) + 0.1 e,   t uniform on [0, 2 pi),
    k = 1 where t > pi,   e ~ N(0, I)

The label is drawn given the point, from the ratio of the two moons' densities there, so that point
and label have the joint law above.

References:
    Zuko's guides to flows, https://zuko.readthedocs.io/stable/tutorials/bayesian_flows.html
"""

import numpy as np

NOISE, STEPS = 0.1, 400  # of a point, and points of a moon by which its density is summed
ANGLES = np.pi * (np.arange(STEPS) + 0.5) / STEPS


def moon(angle, label):
    """The point without noise at angles of the moon `label`, (..., 2)."""
    angle = angle + np.pi * label
    return np.stack([np.cos(angle) + label - 0.5, np.sin(angle) + label / 2 - 0.25], axis=-1)


def prior(n, rng):
    """Points of both moons: {"point": (n, 2)}."""
    points = moon(np.pi * rng.random(n), rng.integers(0, 2, n))
    return {"point": points + NOISE * rng.standard_normal((n, 2))}


def density(point, label):
    """Density of points (N, 2) of one moon, (N,), up to what both share."""
    squares = np.square(point[:, None] - moon(ANGLES, np.full(STEPS, label))).sum(-1)
    return np.exp(-0.5 * squares / NOISE**2).mean(1) + 1e-300


def simulate(point, *, rng):
    """point: array (N, 2). Returns {"label": (N,)}, 0. or 1."""
    first, second = density(point, 0), density(point, 1)
    return {"label": (rng.random(len(point)) < second / (first + second)).astype(float)}
