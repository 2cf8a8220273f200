"""LAMPE 0.9 as its NPE tutorial builds it, with zuko's NSF at zuko's defaults (3 transforms, 64 ×
64, 8 bins, autoregressive).

LAMPE has no training loop and scales no data. Here: theta and x standardized,
`JointDataset(shuffle=True)`, `NPELoss`, and `GDStep` with AdamW 1e-3 and clip 1.0 (the tutorial's).
fit:   batch 256 (the tutorial's), a tenth for validation, until 20 epochs bring nothing (sbi's
rule); the best weights are kept. draws: `flow(x).sample` and `.log_prob` for 50 observations at a
time: all in one call take 8 GB, and are slower.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
from protocol import Job, Result, draw_rates, epochs_of, limit_threads, main, timed

limit_threads()

import torch  # noqa: E402
from lampe.data import JointDataset  # noqa: E402
from lampe.inference import NPE, NPELoss  # noqa: E402
from lampe.utils import GDStep  # noqa: E402
from zuko.flows import NSF  # noqa: E402

PATIENCE = 20
TOGETHER = 50  # observations


class Scaled:
    """Standardized pairs, by the mean and sd of the training pairs."""

    def __init__(self, data: dict[str, np.ndarray]) -> None:
        self.scales = {name: (data[name].mean(0), data[name].std(0)) for name in ("theta", "x")}
        self.log_abs_det = -np.log(self.scales["theta"][1]).sum()

    def __call__(self, name: str, values: np.ndarray) -> torch.Tensor:
        mean, sd = self.scales[name]
        return torch.from_numpy(((values - mean) / sd).astype(np.float32))


def estimator_of(job: Job, data: dict[str, Any]) -> NPE:
    torch.manual_seed(job.seed)
    return NPE(data["theta"].shape[1], data["x"].shape[1], build=NSF)


def stepper(estimator: NPE) -> Any:
    """One gradient step on a batch."""
    loss, step = (
        NPELoss(estimator),
        GDStep(torch.optim.AdamW(estimator.parameters(), lr=1e-3), clip=1.0),
    )
    return lambda theta, x: step(loss(theta, x))


def count(network: Any) -> int:
    return sum(one.numel() for one in network.parameters())


def step(job: Job) -> Result:
    data = job.arrays()
    scaled, estimator = Scaled(data), estimator_of(job, data)
    pairs = JointDataset(
        scaled("theta", data["theta"]),
        scaled("x", data["x"]),
        batch_size=job.batch_size,
        shuffle=True,
    )
    train = stepper(estimator)
    seconds = [
        timed(lambda: [train(theta, x) for theta, x in pairs])[1] for _ in range(1 + job.epochs)
    ]
    return epochs_of(len(pairs), seconds) | {"parameters": count(estimator)}


def fit(job: Job) -> Result:
    data = job.arrays()
    (estimator, best, epochs), seconds = timed(lambda: train_to_the_end(job, data))
    estimator.load_state_dict(best[1])
    if job.save:
        torch.save(best[1], job.save)
    return {
        "seconds": seconds,
        "epochs": epochs,
        "validation_nll": best[0] - Scaled(data).log_abs_det,
        "test_nll": test_nll(estimator, data),
        "parameters": count(estimator),
    }


def train_to_the_end(job: Job, data: dict[str, Any]) -> Any:
    """The estimator, its best validation loss and weights, and the number of epochs."""
    scaled, estimator = Scaled(data), estimator_of(job, data)
    theta, x = scaled("theta", data["theta"]), scaled("x", data["x"])
    n = len(theta) - int(data["validation"])
    pairs, train = JointDataset(theta[:n], x[:n], batch_size=256, shuffle=True), stepper(estimator)
    best, waited, epochs = (float("inf"), {}), 0, 0
    while waited < PATIENCE and epochs < (3 if job.quick else 10**6):
        estimator.train()
        for batch in pairs:
            train(*batch)
        estimator.eval()
        with torch.no_grad():
            loss = -estimator(theta[n:], x[n:]).mean().item()
        epochs, waited = epochs + 1, waited + 1
        if loss < best[0]:
            best, waited = (loss, copy.deepcopy(estimator.state_dict())), 0
    return estimator, best, epochs


@torch.no_grad()
def test_nll(estimator: NPE, data: dict[str, Any]) -> float:
    scaled = Scaled(data)
    log_q = estimator.eval()(scaled("theta", data["test_theta"]), scaled("x", data["test_x"]))
    return -log_q.double().mean().item() - scaled.log_abs_det


@torch.no_grad()
def draws(job: Job) -> Result:
    data = job.arrays()
    estimator = estimator_of(job, data).eval()
    estimator.load_state_dict(torch.load(job.save))
    parts = Scaled(data)("x", data["observations"]).split(TOGETHER)
    result = draw_rates(
        data["observations"],
        job.draws,
        lambda n: [estimator.flow(x).sample((n,)) for x in parts],
        lambda theta: [
            estimator.flow(x).log_prob(one) for x, one in zip(parts, theta, strict=True)
        ],
    )
    return result | {"test_nll": test_nll(estimator, data), "parameters": count(estimator)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(limit_threads())
    main({"step": step, "fit": fit, "draws": draws}, ("lampe", "torch", "zuko", "numpy"))
