"""sbi's numbers for given draws, by its public functions: argv[1] is the .npz of `peers.py`, the
last line of stdout is JSON."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
import torch
from sbi.diagnostics import LC2ST, run_sbc, run_tarp
from sbi.diagnostics.sbc import check_uniformity_frequentist, get_nltp
from sbi.diagnostics.tarp import check_tarp
from torch import Tensor

NULLS = 50  # trainings of a classifier under the null: each takes a second


class Given:
    """What sbi asks of a posterior: Normal(mean(x), sd² I), whose draws were made elsewhere."""

    def __init__(self, data: dict[str, np.ndarray]) -> None:
        self.draws = torch.from_numpy(data["draws"]).transpose(0, 1)
        self.x, self.mean = torch.from_numpy(data["x"]), torch.from_numpy(data["mean"])
        self.sd = torch.from_numpy(data["sd"])

    def sample_batched(self, shape: tuple[int, ...], x: Tensor, **options: Any) -> Tensor:
        assert shape[0] == len(self.draws) and torch.equal(x, self.x)
        return self.draws

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        row = int((self.x == x).all(dim=1).nonzero()[0, 0])
        return torch.distributions.Normal(self.mean[row], self.sd[row]).log_prob(theta).sum(dim=-1)

    potential = log_prob


def numbers(data: dict[str, np.ndarray]) -> dict[str, Any]:
    theta, x, posterior = torch.from_numpy(data["theta"]), torch.from_numpy(data["x"]), Given(data)
    s = len(posterior.draws)
    ranks, _ = run_sbc(theta, x, posterior, s, show_progress_bar=False)
    density, _ = run_sbc(
        theta, x, posterior, s, reduce_fns=posterior.log_prob, show_progress_bar=False
    )
    options = {"num_posterior_samples": s, "show_progress_bar": False, "z_score_theta": False}
    ecp, alpha = run_tarp(theta, x, posterior, torch.from_numpy(data["references"]), **options)
    return {
        "ranks": ranks.tolist(),
        "log_q_ranks": density[:, 0].tolist(),
        "ks_p": check_uniformity_frequentist(ranks, s).tolist(),
        "nlpd": get_nltp(theta, x, posterior).double().mean().item(),
        "tarp_ecp": ecp.tolist(),
        "tarp_alpha": alpha.tolist(),
        "tarp_ks_p": float(check_tarp(ecp, alpha)[1]),
        "lc2st_p": [local_p(data, name) for name in ("exact", "wrong")],
    }


def local_p(data: dict[str, np.ndarray], name: str) -> float:
    """L-C2ST at one observation, its defaults but for the number of nulls."""
    theta, x, one, observed, draws = (
        torch.from_numpy(data[key]).float()
        for key in ("local_theta", "local_x", f"local_{name}", "observed_x", f"observed_{name}")
    )
    test = (
        LC2ST(theta, x, one, seed=1, num_trials_null=NULLS)
        .train_on_observed_data(verbosity=0)
        .train_under_null_hypothesis(verbosity=0)
    )
    return test.p_value(theta_o=draws, x_o=observed)


def false_alarms(ranks: np.ndarray, s: int) -> dict[str, float]:
    """Share of rank sets (R, N) that the KS test of `check_sbc` rejects at 5 %."""
    return {
        "KS test of check_sbc": float(
            (check_uniformity_frequentist(torch.from_numpy(ranks.T).float(), s) < 0.05)
            .float()
            .mean()
        )
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with np.load(sys.argv[1]) as file:
        arrays = {name: file[name] for name in file.files}
    alarms = {
        name[6:]: false_alarms(ranks, int(name[6:]))
        for name, ranks in arrays.items()
        if name.startswith("exact_")
    }
    print("\n" + json.dumps({"numbers": numbers(arrays), "false_alarms": alarms}))
