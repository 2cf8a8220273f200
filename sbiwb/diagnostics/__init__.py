"""Diagnostics: evidence in, numbers out; and a picture of the numbers.

One file per check, its name is the `kind`. A check is a module with `Config`, `compute(evidence,
config) -> Result` and `plot(result) -> Figure`; `Config.takes` names the kind of evidence,
posterior draws where it does not say. `judge` turns the results of all checks together into
verdicts, and `advise` says what they look like and what to change.
"""

from sbiwb.contracts import DiagnosticPart
from sbiwb.diagnostics._advice import Advice, advise
from sbiwb.diagnostics._advice_likelihood import advise_likelihood
from sbiwb.diagnostics._advice_training import Training
from sbiwb.diagnostics._ecdf import uniformity
from sbiwb.diagnostics._inputs import LOG_Q, WITH_DATA, moments, prior_variance
from sbiwb.diagnostics._judge import (
    NETWORK,
    STRATUM,
    Judgment,
    holm,
    judge,
    overall,
    to_json,
)
from sbiwb.diagnostics._space_distances import Distances, distances
from sbiwb.diagnostics._statistics import statistics, tail
from sbiwb.diagnostics._strata import checks_by_strata, plot_strata
from sbiwb.families import Family

__all__ = [
    "LOG_Q",
    "NETWORK",
    "STRATUM",
    "WITH_DATA",
    "Advice",
    "Distances",
    "Judgment",
    "Training",
    "advise",
    "advise_likelihood",
    "checks_by_strata",
    "distances",
    "family",
    "holm",
    "judge",
    "moments",
    "overall",
    "plot_strata",
    "prior_variance",
    "statistics",
    "tail",
    "to_json",
    "uniformity",
]

family = Family(
    "sbiwb.diagnostics",
    "diagnostic",
    DiagnosticPart,
    functions=("compute(evidence, config)", "plot(result)"),
)
