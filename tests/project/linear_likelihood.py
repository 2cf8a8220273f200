"""A likelihood in closed form in the place of a learned one: a line through noisy points.

y_i ~ N(a + b z_i + c z_i^2, sd), where sd is the context `noise` of each data set and (b, c) the
parameter `slopes`. Under standard normal priors the posterior of theta is normal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sbiwb.priors import Prior, family
from sbiwb.records import Columns

Z = np.linspace(-1.0, 1.0, 6)
DESIGN = np.stack([np.ones(6), Z, Z**2], axis=1)  # (M, D)
TRUTH = np.array([0.5, -1.0, 0.3])


def data_sets(count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Observables and context of N data sets."""
    rng, noise = np.random.default_rng(4), 0.5 + np.arange(count) / 4
    y = DESIGN @ TRUTH + noise[:, None] * rng.standard_normal((count, 6))
    return {"y": y}, {"noise": noise}


def normal_prior(kind: str = "normal", **options: float) -> Prior:
    a = family.parse({"kind": kind, **options}).build()
    return Prior({"a": a, "slopes": family.parse({"kind": "normal", "shape": [2]}).build()})


@dataclass(frozen=True)
class LinearLikelihood:
    """What of a `LearnedLikelihood` other models ask for."""

    prior: Prior

    def log_prob_torch(self, theta: Tensor, x: Columns, context: Columns, which: int) -> Tensor:
        sd = float(context["noise"][which])
        error = torch.from_numpy(x["y"][which]) - theta @ torch.from_numpy(DESIGN).T
        return (-0.5 * (error / sd) ** 2 - math.log(sd) - 0.5 * math.log(2 * math.pi)).sum(1)


def log_l(theta: np.ndarray, x: Columns, context: Columns) -> np.ndarray:
    """log l of N data sets at theta (N, D), (N,), without torch."""
    sd = context["noise"][:, None]
    error = x["y"] - theta @ DESIGN.T
    return (-0.5 * (error / sd) ** 2 - np.log(sd) - 0.5 * math.log(2 * math.pi)).sum(1)


def gradient(theta: np.ndarray, x: Columns, context: Columns) -> np.ndarray:
    """Its gradient, (N, D)."""
    sd = context["noise"][:, None]
    return ((x["y"] - theta @ DESIGN.T) / sd**2) @ DESIGN


def posterior(x: Columns, context: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd (D,) of one theta of all data sets, a priori standard normal."""
    precision, pulled = np.eye(3), np.zeros(3)
    for y, sd in zip(x["y"], context["noise"], strict=True):
        precision += DESIGN.T @ DESIGN / sd**2
        pulled += DESIGN.T @ y / sd**2
    covariance = np.linalg.inv(precision)
    return covariance @ pulled, np.sqrt(np.diag(covariance))


def check_moments(draws: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> None:
    """Draws (S, D) of a normal posterior, worth at least half as many independent ones."""
    worth = len(draws) / 2
    assert (np.abs(draws.mean(0) - mean) < 4.5 * sd / np.sqrt(worth)).all()
    assert (np.abs(np.log(draws.std(0) / sd)) < 4.5 / np.sqrt(2 * worth)).all()
