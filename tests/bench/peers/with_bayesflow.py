"""BayesFlow 2.0 by its `BasicWorkflow`: `CouplingFlow(transform="spline")`, all else as it comes;
contender torch or jax, the backend.

As it comes: 6 layers of dual coupling, 128 × 128, 16 bins, dropout 0.05, actnorm; AdamW 5e-4 with
warm-up and cosine, clip 1.5, no early stopping. Theta and x are standardized by the workflow
(`standardize="all"`). step:  `fit_offline` for a few epochs without validation, timed from begin to
end of an epoch. fit:   `fit_offline` of 100 epochs (its default) with batch 64 (its tutorials'; the
default of 32 takes twice the time). draws: `sample` and `log_prob` for all observations in one
call. Weights of either backend serve both.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from typing import Any

import numpy as np
from protocol import Job, Result, draw_rates, epochs_of, limit_threads, main, timed

THREADS = limit_threads()
os.environ["KERAS_BACKEND"] = json.loads(sys.argv[1])["contender"]

import bayesflow as bf  # noqa: E402
import keras  # noqa: E402

BATCH, EPOCHS = 64, 100


def workflow_of(job: Job) -> Any:
    keras.utils.set_random_seed(job.seed)
    network = bf.networks.CouplingFlow(transform="spline")
    return bf.BasicWorkflow(
        inference_network=network,
        inference_variables=["theta"],
        inference_conditions=["x"],
        standardize="all",
    )


def pairs_of(data: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    return {name: data[name][rows].astype(np.float32) for name in ("theta", "x")}


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def step(job: Job) -> Result:
    data, workflow, clock = job.arrays(), workflow_of(job), Clock()
    pairs = pairs_of(data, slice(None))
    workflow.fit_offline(
        pairs, epochs=1 + job.epochs, batch_size=job.batch_size, verbose=0, callbacks=[clock]
    )
    return epochs_of(len(pairs["x"]), clock.seconds) | {"parameters": count(workflow)}


def count(workflow: Any) -> int:
    return int(sum(np.prod(one.shape) for one in workflow.approximator.trainable_variables))


def fit(job: Job) -> Result:
    data = job.arrays()
    n = len(data["theta"]) - int(data["validation"])
    epochs = 2 if job.quick else EPOCHS

    def train() -> Any:
        workflow = workflow_of(job)
        validation = pairs_of(data, slice(n, None))
        workflow.fit_offline(
            pairs_of(data, slice(n)),
            epochs=epochs,
            batch_size=BATCH,
            validation_data=validation,
            verbose=0,
        )
        return workflow

    workflow, seconds = timed(train)
    if job.save:
        workflow.approximator.save_weights(job.save)
    nll = float(workflow.history.history["val_loss"][-1])
    return {
        "seconds": seconds,
        "epochs": epochs,
        "validation_loss_standardized": nll,
        "test_nll": test_nll(workflow, data),
        "parameters": count(workflow),
    }


def test_nll(workflow: Any, data: dict[str, np.ndarray]) -> float:
    pairs = {"theta": data["test_theta"].astype(np.float32), "x": data["test_x"].astype(np.float32)}
    return -float(np.asarray(workflow.log_prob(pairs), np.float64).mean())


def draws(job: Job) -> Result:
    data, workflow = job.arrays(), workflow_of(job)
    workflow.fit_offline(
        pairs_of(data, slice(64)), epochs=1, batch_size=64, verbose=0
    )  # builds every layer
    workflow.approximator.load_weights(job.save)
    x = data["observations"].astype(np.float32)
    repeated = np.repeat(x, job.draws, axis=0)
    result = draw_rates(
        x,
        job.draws,
        lambda n: workflow.sample(num_samples=n, conditions={"x": x})["theta"],
        lambda theta: workflow.log_prob({"theta": theta.reshape(len(repeated), -1), "x": repeated}),
    )
    return result | {"test_nll": test_nll(workflow, data), "parameters": count(workflow)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(THREADS)
    main(
        {"step": step, "fit": fit, "draws": draws}, ("bayesflow", "keras", "torch", "jax", "numpy")
    )
