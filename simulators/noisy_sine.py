r"""A sine with noise, seen at random places between -2 and 2: what is y at other places? No units.

    y = sin(x) + 0.1 e,   x uniform on [-2, 2],  e ~ N(0, 1)

A regression told as inference: the parameter is y, the data its place x, which is drawn given y
from their joint law.
"""

import numpy as np

NOISE, REACH = 0.1, 2.0
PLACES = np.linspace(-REACH, REACH, 2001)


def prior(n, rng):
    """y at uniform places: {"y": (n,)}."""
    return {"y": np.sin(rng.uniform(-REACH, REACH, n)) + NOISE * rng.standard_normal(n)}


def simulate(y, *, rng):
    """y: array (N,). Returns {"x": (N,)}, a place with the density of a place that has this y."""
    density = np.exp(-0.5 * np.square((y[:, None] - np.sin(PLACES)) / NOISE))
    share = np.cumsum(density, axis=1)
    share /= share[:, -1:]
    return {"x": PLACES[(share < rng.random((len(y), 1))).sum(1)]}
