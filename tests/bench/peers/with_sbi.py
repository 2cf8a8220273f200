"""sbi 0.27 by its own public interface and its own defaults: NPE with `nsf` (nflows, coupling) or
`zuko_nsf` (autoregressive).

step:  `NPE.train` (Adam 5e-4, clip 5, a DataLoader over 98 % of the pairs) for a few epochs; timed
is `_train_epoch`, the loop over the
       batches, without its validation.
fit:   `NPE.train()` as it stands: batch 200, 10 % for validation, until 20 epochs bring nothing;
the best weights are kept. draws: `sample_batched` (draws outside the prior are rejected) and
`log_prob_batched` without the correction for leakage.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

from protocol import Job, Result, draw_rates, epochs_of, limit_threads, main, timed

limit_threads()

import torch  # noqa: E402
from sbi.inference import NPE  # noqa: E402
from sbi.utils import BoxUniform  # noqa: E402


def prior_of(data: dict[str, Any]) -> Any:
    a, b = torch.from_numpy(data["prior_a"]).float(), torch.from_numpy(data["prior_b"]).float()
    if data["prior_kind"] == "uniform":
        return BoxUniform(a, b)
    return torch.distributions.MultivariateNormal(a, torch.diag(b**2))


def trainer_of(job: Job, data: dict[str, Any]) -> Any:
    """The trainer with its simulations."""
    torch.manual_seed(job.seed)
    trainer = NPE(
        prior_of(data), density_estimator=job.contender, show_progress_bars=False, tracker=Silent()
    )
    return trainer.append_simulations(
        torch.from_numpy(data["theta"]).float(), torch.from_numpy(data["x"]).float()
    )


class Silent:
    """A tracker that keeps nothing: the default one writes TensorBoard files."""

    log_dir = None

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **named: None


def count(network: Any) -> int:
    return sum(one.numel() for one in network.parameters())


def step(job: Job) -> Result:
    data = job.arrays()
    trainer = trainer_of(job, data)
    seconds, inner = [], trainer._train_epoch

    def epoch(*values: Any) -> float:
        loss, spent = timed(lambda: inner(*values))
        seconds.append(spent)
        return loss

    trainer._train_epoch = epoch
    network = trainer.train(
        training_batch_size=job.batch_size,
        validation_fraction=0.02,
        max_num_epochs=job.epochs,
        stop_after_epochs=10**6,
    )
    batches = int(0.98 * len(data["theta"])) // job.batch_size
    return epochs_of(batches * job.batch_size, seconds) | {"parameters": count(network)}


def fit(job: Job) -> Result:
    data = job.arrays()
    options = {"max_num_epochs": 3} if job.quick else {}

    def train() -> Any:
        trainer = trainer_of(job, data)
        return trainer, trainer.train(**options)

    (trainer, network), seconds = timed(train)
    losses, durations = trainer.summary["validation_loss"], trainer.summary["epoch_durations_sec"]
    best = min(range(len(losses)), key=losses.__getitem__)
    if job.save:
        Path(job.save).write_bytes(pickle.dumps((network, trainer.build_posterior(network))))
    return {
        "seconds": seconds,
        "seconds_to_best": sum(durations[: best + 1]) + max(0.0, seconds - sum(durations)),
        "epochs": len(losses),
        "validation_nll": losses[best],
        "test_nll": test_nll(network, data),
        "parameters": count(network),
    }


@torch.no_grad()
def test_nll(network: Any, data: dict[str, Any]) -> float:
    theta, x = (
        torch.from_numpy(data["test_theta"]).float(),
        torch.from_numpy(data["test_x"]).float(),
    )
    return -network.eval().log_prob(theta[None], x)[0].double().mean().item()


def draws(job: Job) -> Result:
    data = job.arrays()
    network, posterior = pickle.loads(Path(job.save).read_bytes())
    network.eval()
    x = torch.from_numpy(data["observations"]).float()
    result = draw_rates(
        data["observations"],
        job.draws,
        lambda n: posterior.sample_batched((n,), x=x, show_progress_bars=False),
        lambda theta: posterior.log_prob_batched(theta, x, norm_posterior=False),
    )
    with torch.no_grad():
        _, raw = timed(lambda: network.sample((job.draws,), condition=x))
    return result | {
        "raw_draws_per_s": len(x) * job.draws / raw,
        "test_nll": test_nll(network, data),
        "parameters": count(network),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(limit_threads())
    main({"step": step, "fit": fit, "draws": draws}, ("sbi", "torch", "nflows", "zuko", "numpy"))
