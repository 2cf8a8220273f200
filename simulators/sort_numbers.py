"""Five normal numbers, shuffled: a network that gives them back in order has learned to sort.

No units.

A simulator without noise: the parameters are the sorted numbers, the data the same numbers in an
order drawn at random.

References:
    The Bayesian network of zuko's guide to Bayesian flows,
    https://zuko.readthedocs.io/stable/tutorials/bayesian_flows.html
"""

import numpy as np


def prior(n, rng):
    """Five standard normal numbers in rising order: {"numbers": (n, 5)}."""
    return {"numbers": np.sort(rng.standard_normal((n, 5)), axis=1)}


def simulate(numbers, *, rng):
    """numbers: array (N, 5), rising. Returns {"x": (N, 5)}, the same numbers shuffled."""
    return {"x": rng.permuted(numbers, axis=1)}
