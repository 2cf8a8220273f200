"""An ensemble of sbi 0.27's own networks: `NPE` with `nsf`, each trained by `NPE.train()` as it
stands, then `EnsemblePosterior.sample`.

argv: a JSON object with `data` (.npz: theta (N, D), x (N, C), observations (O, C), and support:
`low` and `high` (D,), infinite where the prior has no bound), `save` (.npz of draws (O, S, D)),
`members`, `draws`, `seed`, `threads`. The prior is only used by sbi to reject draws outside of its
support.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np
import torch
from sbi.inference import NPE, EnsemblePosterior
from sbi.utils import MultipleIndependent
from torch.distributions import Distribution, LogNormal, Normal, Uniform


def prior_of(low: torch.Tensor, high: torch.Tensor) -> MultipleIndependent:
    """One with these bounds: sbi uses its support, to reject draws outside, and no density."""
    parts: list[Distribution] = []
    for left, right in zip(low, high, strict=True):
        if right.isfinite():
            parts.append(Uniform(left[None], right[None]))
        elif left == 0:
            parts.append(LogNormal(torch.zeros(1), torch.ones(1)))
        else:
            parts.append(Normal(torch.zeros(1), torch.ones(1)))
    return MultipleIndependent(parts)


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    with np.load(job["data"]) as file:
        arrays = {name: torch.from_numpy(file[name]).float() for name in file.files}
    prior = prior_of(arrays["low"], arrays["high"])
    begin, posteriors, epochs = time.perf_counter(), [], []
    for member in range(job["members"]):
        torch.manual_seed(1000 * job["seed"] + member)
        trainer = NPE(prior, density_estimator="nsf", show_progress_bars=False)
        trainer.append_simulations(arrays["theta"], arrays["x"])
        posteriors.append(trainer.build_posterior(trainer.train()))
        epochs.append(trainer.summary["epochs_trained"][-1])
    training_s = time.perf_counter() - begin
    ensemble, begin, draws = EnsemblePosterior(posteriors), time.perf_counter(), []
    for x in arrays["observations"]:
        drawn = ensemble.sample((job["draws"],), x=x[None], show_progress_bars=False)
        draws.append(drawn.numpy())
    sampling_s = time.perf_counter() - begin
    np.savez(job["save"], draws=np.stack(draws))
    print()  # sbi ends its own line without a break
    print(json.dumps({"training_s": training_s, "sampling_s": sampling_s, "epochs": epochs}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
