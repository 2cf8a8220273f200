r"""A first-order autoregression of 60 steps, of which about 30 % were not recorded. No units.

y_t = phi y_(t-1) + sigma e_t,  y_1 ~ N(0, sigma^2 / (1 - phi^2)),  e_t ~ N(0, 1);  a step that is
missing is NaN
"""

import numpy as np

STEPS, MISSING = 60, 0.3


def simulate(phi, sigma, *, rng):
    """phi, sigma: arrays (N,). Returns {"y": (N, 60)} with NaN where nothing was recorded."""
    noise = rng.standard_normal((len(phi), STEPS)) * sigma[:, None]
    y = np.empty_like(noise)
    y[:, 0] = noise[:, 0] / np.sqrt(1 - phi**2)
    for t in range(1, STEPS):
        y[:, t] = phi * y[:, t - 1] + noise[:, t]
    return {"y": np.where(rng.random(y.shape) < MISSING, np.nan, y)}
