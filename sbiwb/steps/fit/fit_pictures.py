"""Pictures of a training that has ended: its losses and, of a Bayesian network, its variances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sbiwb.files import put
from sbiwb.networks.uncertainty.bayesian import Bayesian
from sbiwb.report import log_variances_picture, loss_picture, to_png
from sbiwb.report.saving import put_picture
from sbiwb.rundir import RunDir
from sbiwb.training.loop import Trainer


def put_pictures(run: RunDir, trainer: Trainer) -> None:
    """Draws them into the training folder."""
    progress, module = trainer.progress, trainer.module
    put(run.loss_picture, to_png(loss_picture(progress.losses, progress.best_step)))
    if isinstance(module, Bayesian):
        module.load_state_dict(trainer.best)
        picture = log_variances_picture(_by_part(module), module.initial)
        put_picture(run.train / "log_variances", picture)


def _by_part(module: Bayesian) -> dict[str, np.ndarray]:
    """Learned log-variances of the weights of each summary network and each transform."""
    parts: dict[str, list[np.ndarray]] = {}
    for name, values in module.log_variances().items():
        part = part_of(name, module.base.names)
        parts.setdefault(part, []).append(values.cpu().numpy())
    return {part: np.concatenate(values) for part, values in parts.items()}


def part_of(name: str, inputs: Sequence[str]) -> str:
    """What a parameter belongs to.

    Example:
        >>> part_of("summaries.0.layers.weight", ["x"]), part_of("fusion.bias", ["x"])
        ('summary of x', 'fusion')
        >>> part_of("inference.transforms.2.weight", ["x"])
        'inference.transforms.2'
    """
    kind, *rest = name.split(".")
    if kind == "summaries":
        return f"summary of {inputs[int(rest[0])]}"
    if rest[0] == "transforms":
        return f"{kind}.transforms.{rest[1]}"
    return kind
