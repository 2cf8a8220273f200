"""BayesFlow's numbers for given draws, by its own functions: argv[1] is the .npz of `peers.py`, the
last line of stdout is JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

from bayesflow.diagnostics import metrics
from bayesflow.diagnostics.metrics.calibration_log_gamma import (
    gamma_discrepancy,
    gamma_null_distribution,
)
from bayesflow.utils.ecdf import fractional_ranks, simultaneous_ecdf_bands
from bayesflow.utils.plot_utils import compute_empirical_coverage

SETS = 100  # rank sets whose log gamma is taken: each costs 0.1 s


def numbers(data: dict[str, np.ndarray]) -> dict[str, Any]:
    draws, theta = data["draws"].astype(float), data["theta"].astype(float)
    n, s, d = draws.shape
    pair = {"estimates": draws, "targets": theta}
    ranks = (fractional_ranks(draws, theta) * s).round().astype(int)
    coverage = compute_empirical_coverage(draws, theta, data["widths"])
    return {
        "ranks": ranks.tolist(),
        "contraction": np.asarray(metrics.posterior_contraction(**pair)["values"]).tolist(),
        "z": np.asarray(metrics.posterior_z_score(**pair, aggregation=None)["values"]).tolist(),
        "rmse": np.asarray(
            metrics.root_mean_squared_error(**pair, normalize=None)["values"]
        ).tolist(),
        "nrmse": np.asarray(metrics.root_mean_squared_error(**pair)["values"]).tolist(),
        "calibration_error": np.asarray(metrics.calibration_error(**pair)["values"]).tolist(),
        "log_gamma": np.asarray(metrics.calibration_log_gamma(**pair)["values"]).tolist(),
        "gamma": [gamma_discrepancy(ranks[:, j], num_post_draws=s) for j in range(d)],
        "null_quantile": float(np.quantile(gamma_null_distribution(n, s, 1000), 0.05)),
        "coverage": coverage["coverage_estimates"].tolist(),
        "coverage_width": coverage["width_represented"][:, 0].tolist(),
    }


def false_alarms(ranks: np.ndarray, s: int) -> dict[str, float]:
    """Share of rank sets (R, N) that leave the band of `calibration_ecdf`, and that have log gamma
    below 0; both at 5 %.

    The band's end points, 1e-5 from 0 and 1, are left out: no picture shows them.
    """
    _, z, lower, upper = simultaneous_ecdf_bands(ranks.shape[1])
    curves = np.stack(
        [np.searchsorted(np.sort(one / s), z, side="right") / len(one) for one in ranks]
    )
    outside, middle = (curves < lower) | (curves > upper), (z >= 0.01) & (z <= 0.99)
    threshold = np.quantile(gamma_null_distribution(ranks.shape[1], s, 1000), 0.05)
    rejected = [gamma_discrepancy(one, num_post_draws=s) < threshold for one in ranks[:SETS]]
    return {
        "band of calibration_ecdf": float(outside[:, 1:-1].any(axis=1).mean()),
        "the same between 0.01 and 0.99": float(outside[:, middle].any(axis=1).mean()),
        f"calibration_log_gamma ({SETS} sets)": float(np.mean(rejected)),
    }


if __name__ == "__main__":
    np.random.seed(0)
    with np.load(sys.argv[1]) as file:
        arrays = {name: file[name] for name in file.files}
    alarms = {
        name[6:]: false_alarms(ranks, int(name[6:]))
        for name, ranks in arrays.items()
        if name.startswith("exact_")
    }
    print("\n" + json.dumps({"numbers": numbers(arrays), "false_alarms": alarms}))
