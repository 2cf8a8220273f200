"""For the growth of cost with D and with the size of the context: C linear mixtures of D normal
parameters, with noise. No units."""

import numpy as np


def simulate(theta, *, rng, size):
    """theta: array (N, D). Returns {"x": (N, size)}, each number a fixed mixture of theta plus
    noise of its sd."""
    mixture = np.random.default_rng(0).standard_normal((theta.shape[1], size)) / np.sqrt(
        theta.shape[1]
    )
    return {"x": theta @ mixture + rng.standard_normal((len(theta), size))}
