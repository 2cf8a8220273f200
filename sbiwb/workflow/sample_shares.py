"""What `diagnose` knows of a run, and how much of the posterior variance of real data comes from
not knowing the network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from sbiwb import report
from sbiwb.diagnostics import family
from sbiwb.errors import CorruptFile
from sbiwb.numbers import DiagnosisNumbers, read_numbers
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.observe import DataSets
from sbiwb.rundir import Provenance, RunDir, read_provenance
from sbiwb.seeds import generator, place
from sbiwb.steps.judge.measure import weight_draws

EPISTEMIC = "epistemic"


@dataclass(frozen=True)
class EpistemicShares:
    """Share of the posterior variance that comes from uncertain weights, by data set and column."""

    by_data_set: dict[tuple[str, str], float] = field(default_factory=dict)
    by_column: dict[str, np.ndarray] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_column)


def epistemic_shares(posterior: Posterior, data: DataSets, seed: int) -> EpistemicShares:
    """Of each data set; none where the posterior has one set of weights."""
    if len(posterior.networks) == 1:
        return EpistemicShares()
    rng = generator(seed, "components", place(data.name))
    shares = family.module(EPISTEMIC).shares(weight_draws(posterior, data.variables, rng))
    by_column = dict(zip(posterior.columns, shares.T, strict=True))
    by_data_set = {}
    for column, values in by_column.items():
        for label, value in zip(data.labels, values.tolist(), strict=True):
            by_data_set[label, column] = value
    return EpistemicShares(by_data_set, by_column)


def with_share(row: report.Row, shares: EpistemicShares) -> report.Row:
    """A row of the table with its epistemic share; derived quantities have none."""
    share = shares.by_data_set.get((row.data_set, row.name), np.nan)
    return replace(row, epistemic=max(0.0, share)) if np.isfinite(share) else row


def usual_shares(run: RunDir) -> dict[str, np.ndarray]:
    """What `diagnose` found over the test pairs for these weights, 5, 50 and 95 %, by
    parameter; empty where it has not judged them."""
    numbers = current_numbers(run)
    if numbers is None:
        return {}
    return {name: np.array(shares) for name, shares in numbers.epistemic_quantiles.items()}


def current_numbers(run: RunDir) -> DiagnosisNumbers | None:
    """What `diagnose` found for the weights that the run has now; None where it has not judged
    them."""
    try:
        provenance, numbers = read_provenance(run.diagnose, Provenance), read_numbers(run)
    except CorruptFile:
        return None
    if provenance is None or provenance.weights != weights_hash(run):
        return None
    return numbers
