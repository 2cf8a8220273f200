"""Pictures of posterior draws: a pair plot and simulations over the data of single data sets, a
forest of many."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sbiwb import report
from sbiwb.project.simulations import Simulations
from sbiwb.report.saving import put_picture
from sbiwb.report.summary import MAX_LEVELS
from sbiwb.steps.infer.observable_pictures import ObservablePictures
from sbiwb.steps.infer.posterior_draws import PosteriorDraws

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OWN_PICTURES = re.compile(r"forest|epistemic|(pairs|predictive)(-\d+)?")
SUFFIXES = (".png", ".svg")
INTERVALS = ("q2.5", "q25", "median", "q75", "q97.5")


@dataclass(frozen=True)
class PosteriorPictures:
    """What is drawn of posteriors.

    Args:
        draws: Of the posteriors.
        rows: Their table.
        observables: How their data are drawn.
        predicted: Data simulated from the posteriors; None where there are none.
        shown: How many of many data sets get pictures of their own, the first ones.
        truths: Of each data set, (N, D), where they are known.
        reference: Draws of another method (N, R, D), where there are any.
    """

    draws: PosteriorDraws
    rows: Sequence[report.Row]
    observables: ObservablePictures
    predicted: Simulations | None
    shown: int
    truths: np.ndarray | None = None
    reference: np.ndarray | None = None

    def write(self, folder: Path) -> None:
        """Writes all pictures; those of earlier draws, perhaps of other data sets, go."""
        remove_pictures(folder)
        for stem, figure in self._figures():
            put_picture(folder / stem, figure)

    def _figures(self) -> Iterator[tuple[str, Figure]]:
        """Each with the stem of its file."""
        n = len(self.draws.data)
        if n == 1:
            yield from self._of_data_set(0, "", self.draws.data.name)
            return
        yield "forest", self._forest()
        for i, label in enumerate(self.draws.data.labels[: self.shown]):
            yield from self._of_data_set(i, f"-{i + 1}", label)

    def _of_data_set(self, i: int, ending: str, label: str) -> Iterator[tuple[str, Figure]]:
        yield f"pairs{ending}", self._pairs(i, label)
        if self.predicted is None:
            return
        simulated = self.predicted.of(i)
        if len(next(iter(simulated.values()))):
            observed = self.draws.data.observed(i)
            title = f"{label}: simulated from the posterior"
            yield f"predictive{ending}", self.observables.predictive(observed, simulated, title)

    def _pairs(self, i: int, label: str) -> Figure:
        draws, columns = self.draws, self.draws.prior.columns
        levels = {}
        for column, names in draws.level_names.items():
            if len(names) <= MAX_LEVELS:
                levels[columns.index(column)] = names
        labels = list(map(draws.label, columns))
        return report.pairs_picture(
            draws.theta[i],
            labels,
            prior=draws.prior_draws,
            levels=levels,
            bounds=draws.prior.support(),
            truth=None if self.truths is None else self.truths[i],
            reference=None if self.reference is None else self.reference[i],
            title=f"{label}: posterior",
        )

    def _forest(self) -> Figure:
        data = self.draws.data
        by_quantity: dict[str, list[report.Row]] = {}
        for row in self.rows:
            by_quantity.setdefault(row.name, []).append(row)
        intervals, shares = {}, {}
        for name, mine in by_quantity.items():
            if mine[0].levels:
                shares[self.draws.label(name)] = _shares(mine)
            else:
                intervals[self.draws.label(name)] = _intervals(mine)
        title = f"{data.name}: {len(data)} data sets (median, 50 % and 95 % intervals)"
        return report.forest_picture(report.Forest(data.labels, intervals, shares), title=title)


def _intervals(rows: Sequence[report.Row]) -> np.ndarray:
    """(N, 5) of one quantity."""
    ends = itemgetter(*INTERVALS)
    return np.array([ends(row.quantiles) for row in rows])


def _shares(rows: Sequence[report.Row]) -> dict[str, np.ndarray]:
    """Probability of each level of one quantity, (N,)."""
    shares = {}
    for level in rows[0].levels:
        shares[level] = np.array([row.levels[level] for row in rows])
    return shares


def remove_pictures(folder: Path) -> None:
    """Those that `sample` and `reference` draw of a posterior."""
    for suffix in SUFFIXES:
        for path in folder.glob(f"*{suffix}"):
            if OWN_PICTURES.fullmatch(path.stem):
                path.unlink()
