"""Summary of draws: one row a quantity and data set, with the columns of ArviZ's summaries under
their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

QUANTILES = {
    "q2.5": 2.5,
    "q5": 5.0,
    "q25": 25.0,
    "median": 50.0,
    "q75": 75.0,
    "q95": 95.0,
    "q97.5": 97.5,
}
MAX_LEVELS = 20  # of a discrete parameter whose levels get a column each
HDI = 0.94  # ArviZ's own choice: columns hdi_3% and hdi_97%

LevelNames = Mapping[float, str]  # of the values of a discrete quantity


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of one quantity under the prior."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Row:
    """Posterior of one quantity for one data set.

    Args:
        data_set: Its label.
        name: Parameter column or derived quantity.
        mean: Mean of the draws.
        sd: Standard deviation, ddof 1.
        quantiles: By name: q2.5, q5, q25, median, q75, q95, q97.5.
        mad: Median absolute deviation from the median, unscaled.
        hdi: The shortest interval that holds 94 % of the draws.
        mcse_mean: Monte-Carlo standard error of the mean, sd / sqrt(S): the draws are independent.
        contraction: 1 - variance / prior variance; None where that variance is not known.
        prior: Mean and sd under the prior, where they are known.
        masses: Share of the draws at each level, by its name, that a discrete parameter of the run
            can have; None where this quantity cannot have it.
        epistemic: Share of the variance that comes from uncertain weights of the network; None
            where that is not known.
        conformal: The 90 % interval that holds whatever the network is worth; None where simulated
            pairs do not say.
    """

    data_set: str
    name: str
    mean: float
    sd: float
    quantiles: dict[str, float]
    mad: float
    hdi: tuple[float, float]
    mcse_mean: float
    contraction: float | None
    prior: Moments | None
    masses: dict[str, float | None] = field(default_factory=dict)
    epistemic: float | None = None
    conformal: tuple[float, float] | None = None

    @property
    def columns(self) -> dict[str, float | None]:
        """Every number under the name of its column; hdi_3% and hdi_97% as in ArviZ."""
        others = dict(self.quantiles)
        del others["median"]
        numbers: dict[str, float | None] = {
            "mean": self.mean,
            "sd": self.sd,
            "median": self.quantiles["median"],
            "mad": self.mad,
            "hdi_3%": self.hdi[0],
            "hdi_97%": self.hdi[1],
            "mcse_mean": self.mcse_mean,
            **others,
            "contraction": self.contraction,
            **_prior_columns(self.prior),
        }
        if self.conformal is not None:
            numbers["conformal_5%"], numbers["conformal_95%"] = self.conformal
        if self.epistemic is not None:
            numbers["epistemic_share"] = self.epistemic
        for level, mass in self.masses.items():
            numbers[f"p({level})"] = mass
        return numbers

    @property
    def levels(self) -> dict[str, float]:
        """Share of the draws at each level of a discrete quantity; none of a continuous one."""
        return {level: mass for level, mass in self.masses.items() if mass is not None}


def _prior_columns(prior: Moments | None) -> dict[str, float | None]:
    if prior is None:
        return {"prior_mean": None, "prior_sd": None}
    return {"prior_mean": prior.mean, "prior_sd": prior.sd}


def summarise(
    label: str,
    draws: Mapping[str, np.ndarray],
    prior: Mapping[str, Moments] | None = None,
    levels: Mapping[str, LevelNames] | None = None,
) -> list[Row]:
    """Rows for one data set.

    Args:
        label: Of the data set.
        draws: Draws (S,) of each quantity.
        prior: Of those quantities whose prior variance is known.
        levels: Names of the values of each discrete quantity; where they are 20 at most, each has a
            column `p(NAME)`, the same in all rows.
    """
    few: dict[str, LevelNames] = {}
    for name, own in (levels or {}).items():
        if len(own) <= MAX_LEVELS:
            few[name] = own
    columns = _level_columns(few)
    priors = prior or {}
    rows = []
    for name, values in draws.items():
        masses = columns | _shares(values, few.get(name, {}))
        rows.append(_row(label, name, values, priors.get(name), masses))
    return rows


def _level_columns(levels: Mapping[str, LevelNames]) -> dict[str, float | None]:
    """All levels of all quantities, in the order of their values."""
    values: dict[str, float] = {}
    for own in levels.values():
        values |= zip(own.values(), own, strict=True)
    return dict.fromkeys(sorted(values, key=values.__getitem__))


def _shares(draws: np.ndarray, levels: LevelNames) -> dict[str, float | None]:
    """The share of the draws at each level of its own."""
    return {name: float((draws == value).mean()) for value, name in levels.items()}


def moments(
    names: Sequence[str], prior_draws: np.ndarray, variance: np.ndarray
) -> dict[str, Moments]:
    """Mean and sd under the prior of those columns of theta whose variance is known.

    Args:
        names: Columns of theta, D names.
        prior_draws: Draws from the prior (R, D), for the means alone.
        variance: The prior's own variance, (D,); NaN or infinite where there is none.
    """
    means, sds = prior_draws.mean(axis=0).tolist(), np.sqrt(variance).tolist()
    by_column = {}
    for name, mean, sd in zip(names, means, sds, strict=True):
        if 0 < sd < math.inf:
            by_column[name] = Moments(mean, sd)
    return by_column


def hdi(values: np.ndarray, probability: float = HDI) -> tuple[float, float]:
    """The shortest interval that holds this share of the draws (S,); one interval also where there
    are several modes.

    Example:
        >>> hdi(np.array([0.0, 1.0, 1.1, 1.2, 5.0]), 0.5)
        (1.0, 1.2)
    """
    ordered = np.sort(values)
    inside = int(probability * len(ordered))
    first = int(np.argmin(ordered[inside:] - ordered[: len(ordered) - inside]))
    return float(ordered[first]), float(ordered[first + inside])


def _row(
    label: str,
    name: str,
    values: np.ndarray,
    prior: Moments | None,
    masses: dict[str, float | None],
) -> Row:
    percentiles = np.percentile(values, list(QUANTILES.values())).tolist()
    quantiles = dict(zip(QUANTILES, percentiles, strict=True))
    sd = float(values.std(ddof=1))
    return Row(
        data_set=label,
        name=name,
        mean=float(values.mean()),
        sd=sd,
        quantiles=quantiles,
        mad=float(np.median(np.abs(values - quantiles["median"]))),
        hdi=hdi(values),
        mcse_mean=sd / math.sqrt(len(values)),
        contraction=_contraction(sd, prior),
        prior=prior,
        masses=masses,
    )


def _contraction(sd: float, prior: Moments | None) -> float | None:
    if prior is None:
        return None
    return 1 - (sd / prior.sd) ** 2
