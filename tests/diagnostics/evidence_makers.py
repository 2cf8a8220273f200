"""A small, valid piece of evidence of every kind, for the promises that all checks make; a wrong
one is its own test's business."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sbiwb.evidence import (
    Budget,
    Draws,
    FeatureSpace,
    LC2STData,
    LogEvidences,
    PredictiveReplicates,
    Summaries,
    WeightDraws,
)
from tests.diagnostics.conjugate import full, names_of


def draws(seed: int = 1) -> Draws:
    """Of an exact posterior, with everything that draws may carry."""
    return full(60, 99, 2, seed)


def replicas(seed: int = 1) -> PredictiveReplicates:
    """Of a posterior that reproduces all statistics."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((60, 1, 3))
    cloud = centre + rng.standard_normal((60, 51, 3))
    return PredictiveReplicates(("mean rt", "in_bed[3]", "count"), cloud[:, 0], cloud[:, 1:])


def summaries(seed: int = 1) -> Summaries:
    """Three real data sets like the simulated ones, two of them of one observation."""
    rng = np.random.default_rng(seed)
    spaces = {name: _space(rng, columns) for name, columns in (("network", 4), ("statistics", 3))}
    return Summaries(("mine 1", "mine 2", "yours"), ("mine", "mine", "yours"), spaces, seed)


def _space(rng: np.random.Generator, columns: int) -> FeatureSpace:
    train, test, observed = (rng.standard_normal((rows, columns)) for rows in (300, 100, 3))
    return FeatureSpace(tuple(f"column {k}" for k in range(columns)), train, test, observed)


def local(seed: int = 1) -> LC2STData:
    """Of an exact posterior at two real data sets."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, 2))
    z, cloud = (x + 0.5 * rng.standard_normal((200, 2)) for _ in range(2))
    observed = rng.standard_normal((2, 2))
    at_observed = observed[:, None] + 0.5 * rng.standard_normal((2, 100, 2))
    return LC2STData(names_of(2), z, cloud, x, ("mine", "yours"), observed, at_observed, seed)


def budget(seed: int = 1) -> Budget:
    """Losses that fall with the number of pairs, on the same 60 validation pairs."""
    rng = np.random.default_rng(seed)
    pairs = np.array([500, 1000, 2000])
    return Budget(
        pairs,
        1
        + 100 / pairs[:, None]
        + 0.5 * rng.standard_normal(60)
        + 0.05 * rng.standard_normal((3, 60)),
    )


def weight_draws(seed: int = 1) -> WeightDraws:
    """Of five weight draws that agree but for chance."""
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal((40, 1, 2)) + rng.standard_normal((40, 5, 2)) / np.sqrt(50)
    return WeightDraws(names_of(2), mean, rng.chisquare(49, (40, 5, 2)) / 49, 50)


def log_evidences(seed: int = 1) -> LogEvidences:
    """Of an exact posterior, and a likelihood that is nearly right."""
    cloud = np.random.default_rng(seed).standard_normal((60, 100))
    return LogEvidences(cloud[:, 0], cloud[:, 1:], seed)


MAKERS: dict[str, Callable[..., Any]] = {
    "draws": draws,
    "replicas": replicas,
    "summaries": summaries,
    "local": local,
    "budget": budget,
    "weight_draws": weight_draws,
    "log_evidences": log_evidences,
}

QUICK: dict[str, dict[str, Any]] = {"lc2st": {"nulls": 20, "steps": 20}}
"""Options by check, where its own would take many seconds; what the numbers say is that check's own
test's business."""
