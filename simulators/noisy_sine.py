"""A sine with noise, seen at random places between -2 and 2: what is y elsewhere? No units.

A regression told as inference: the parameters are y and its place, the data the place.
"""

import numpy as np

NOISE, REACH = 0.1, 2.0


def prior(n, rng):
    """y = sin(place) + noise at uniform places: {"y": (n,), "place": (n,)}."""
    place = rng.uniform(-REACH, REACH, n)
    return {"y": np.sin(place) + NOISE * rng.standard_normal(n), "place": place}


def simulate(y, place, *, rng):
    """y, place: arrays (N,). Returns {"x": (N,)}, the place."""
    return {"x": place}
