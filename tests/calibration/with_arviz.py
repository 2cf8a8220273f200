"""arviz-stats' numbers for given draws: argv[1] is the .npz of `peers.py`, the last line of stdout
is JSON.

Test pairs take the place of observations, and their posteriors that of predictive distributions.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import arviz_stats
import numpy as np
import xarray as xr
from arviz_stats.ecdf_utils import (
    difference_ecdf_pit,
    get_pointwise_confidence_band,
    simulate_confidence_bands,
)

SIMULATIONS = 1000


def numbers(data: dict[str, np.ndarray]) -> dict[str, Any]:
    draws, theta = data["draws"].astype(float), data["theta"].astype(float)
    predictive = xr.Dataset(
        {"theta": (("chain", "draw", "pair"), draws[None, :, :, 0].transpose(0, 2, 1))}
    )
    observed = xr.Dataset({"theta": (("pair",), theta[:, 0])})
    found = {}
    for name, coverage in (("pit", False), ("coverage", True)):
        curve = difference_ecdf_pit(
            predictive, observed, ci_prob=0.95, coverage=coverage, n_simulations=SIMULATIONS
        )["theta"]
        x, y = (curve.sel(plot_axis=axis).values for axis in ("x", "y"))
        found |= {f"{name}_points": x.tolist(), f"{name}_ecdf": (x + y).tolist()}
    return {**found, "eti": arviz_stats.eti(draws, prob=0.95, axis=1).tolist()}


def false_alarms(ranks: np.ndarray, s: int) -> dict[str, float]:
    """Share of rank sets (R, N) whose PIT values, rank / S, leave the simultaneous 95 % band."""
    n = ranks.shape[1]
    points = np.arange(1, n) / n
    prob = simulate_confidence_bands(n, 1, points, 0.95, SIMULATIONS, np.random.default_rng(214))
    lower, upper = get_pointwise_confidence_band(prob, n, points)
    curves = np.stack(
        [np.searchsorted(np.sort(one / s), points, side="right") / n for one in ranks]
    )
    outside, middle = (curves < lower) | (curves > upper), (points >= 0.01) & (points <= 0.99)
    return {
        "band of ecdf_pit": float(outside.any(axis=1).mean()),
        "the same between 0.01 and 0.99": float(outside[:, middle].any(axis=1).mean()),
    }


if __name__ == "__main__":
    with np.load(sys.argv[1]) as file:
        arrays = {name: file[name] for name in file.files}
    alarms = {
        name[6:]: false_alarms(ranks, int(name[6:]))
        for name, ranks in arrays.items()
        if name.startswith("exact_")
    }
    print("\n" + json.dumps({"numbers": numbers(arrays), "false_alarms": alarms}))
