"""Bernoulli GLM: a neuron that fires or not in 100 bins, given white noise filtered over nine bins.

No units.

    y_i ~ Bernoulli(1 / (1 + exp(-psi_i))),   psi = X theta,
    X = (1, stimulus, stimulus one bin later, ..., eight bins later)

with theta = (offset, filter). `simulate` gives X'y, the number of spikes and the spike-triggered
sums, which are sufficient; `raw` gives y. The prior is normal and favours smooth filters: precision
1/2 for the offset and F'F for the filter, where F = D² + diag(sqrt(i / 9)) with first differences
D.

References:
    Gonçalves et al. (2020), https://doi.org/10.7554/eLife.56261
    Lueckmann, Boelts, Greenberg, Gonçalves & Macke (2021), Benchmarking Simulation-Based Inference,
    https://arxiv.org/abs/2101.04653
"""

import numpy as np

BINS, TAPS, SEED = 100, 9, 42


def design():
    """X, (100, 10): ones, and the stimulus at lags of 0 to 8 bins.

    The stimulus is the benchmark's own, float32 from numpy's seed 42.
    """
    stimulus = np.random.RandomState(SEED).randn(BINS).astype(np.float32).astype(np.float64)
    lagged = [np.concatenate([np.zeros(lag), stimulus[: BINS - lag]]) for lag in range(TAPS)]
    return np.stack([np.ones(BINS), *lagged], axis=1)


X = design()


def raw(theta, *, rng):
    """theta: array (N, 10). Returns the spikes {"x": (N, 100)}."""
    return {"x": (rng.random((len(theta), BINS)) < 1 / (1 + np.exp(-theta @ X.T))).astype(float)}


def simulate(theta, *, rng):
    """theta: array (N, 10). Returns the sufficient statistics {"x": (N, 10)}."""
    return {"x": raw(theta, rng=rng)["x"] @ X}


def log_likelihood(x, *, theta):
    """log p(y | theta) by torch, of spikes x {"x": (100,)} or of their statistics (10,), which say
    the same of theta.

    Returns (N,).
    """
    import torch

    known = torch.as_tensor(X)
    statistics = x["x"] @ known if len(x["x"]) == BINS else x["x"]
    return theta @ statistics - torch.nn.functional.softplus(theta @ known.T).sum(-1)


def show(x, ax):
    """Draws the spikes, or the spike-triggered sums."""
    ax.stem(x["x"] if len(x["x"]) == BINS else x["x"][1:])
    ax.set(
        xlabel="bin" if len(x["x"]) == BINS else "lag",
        ylabel="spike" if len(x["x"]) == BINS else "sum of the stimulus at spikes",
    )
