"""`load_posterior`: a trained run, or its best.pt alone, as an object that samples."""

from __future__ import annotations

import json
from pathlib import Path

from sbiwb.config import RunConfig
from sbiwb.errors import CorruptFile, RunError
from sbiwb.posterior import Posterior
from sbiwb.priors import Prior
from sbiwb.training.checkpoint import read_checkpoint
from sbiwb.workflow.estimator import build_estimator, device_of, restore_adapter


def load_posterior(run: Path | str, device: str = "auto") -> Posterior:
    """The posterior of a trained run.

    Args:
        run: A run folder, or a checkpoint `best.pt` by itself, on any machine.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        RunError: Nothing is trained there.
        CorruptFile: The checkpoint is cut or altered, or its weights are not finite.

    Example:
        >>> posterior = load_posterior("runs/influenza")            # doctest: +SKIP
        >>> posterior.sample({"in_bed": counts[None]}, 1000).shape  # doctest: +SKIP
        (1, 1000, 3)
    """
    path = Path(run)
    path = path / "train" / "best.pt" if path.is_dir() else path
    if not path.is_file():
        raise RunError("no trained network", where=path, todo="Run `sbiwb train` on the config first.")
    place = device_of(device)
    state = read_checkpoint(path, place)
    if "weights" not in state:
        raise CorruptFile("is a checkpoint to go on from, not a posterior", where=path, todo="Load train/best.pt.")
    about = state["about"]
    config = RunConfig.model_validate(json.loads(about["config"]))
    prior = Prior({name: part.build() for name, part in config.problem.parameters.items()})  # type: ignore[attr-defined]
    adapter = restore_adapter(config.model, prior, json.loads(about["adapter"]))
    shapes = {name: one.shape for name, one in adapter.inputs.items()}
    network = build_estimator(config.model, prior.size, shapes, seed=0).to(place)
    network.load_state_dict(state["weights"])
    if not all(value.isfinite().all() for value in state["weights"].values() if value.is_floating_point()):
        raise CorruptFile("holds weights that are not finite", where=path, todo="Train again with a lower train.learning_rate.")
    return Posterior(prior.columns, adapter.theta_map, adapter.inputs, network, place)
