r"""Five parameters seen through ten linear features with normal noise; the posterior is known.

No units.

x = A theta + s e,  e ~ N(0, I),  theta ~ N(0, I):  theta | x ~ N(C A' x / s^2, C),
C = (I + A' A / s^2)^-1
"""

import numpy as np

NOISE = 1.0
FEATURES = np.random.default_rng(5).normal(size=(10, 5)) / np.sqrt(5)  # A
COVARIANCE = np.linalg.inv(np.eye(5) + FEATURES.T @ FEATURES / NOISE**2)


def simulate(theta, *, rng):
    """theta: array (N, 5). Returns {"x": (N, 10)}."""
    return {"x": theta @ FEATURES.T + NOISE * rng.standard_normal((len(theta), 10))}


def posterior(x, n, rng):
    """Exact draws (n, 5) given one data set, under a standard normal prior."""
    return rng.multivariate_normal(COVARIANCE @ FEATURES.T @ x["x"] / NOISE**2, COVARIANCE, size=n)
