"""How data sets are drawn: by the simulator file's own `show`, or panel by panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sbiwb import report
from sbiwb.config.model import Input
from sbiwb.errors import SbiwbError, SimulatorError
from sbiwb.records import Columns, take
from sbiwb.simulation.source import SimulatorSource

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 5  # simulations that the file's own `show` draws beside the data

DataSet = Mapping[str, np.ndarray]  # by observable


@dataclass(frozen=True)
class ObservablePictures:
    """Draws data sets of one problem.

    Args:
        kinds: What each observable is to the network: vector, set, series or grid.
        show: `show(x, ax)` of the simulator file, where it has one.
        path: The simulator file.
    """

    kinds: Mapping[str, str]
    show: Callable[[DataSet, Axes], object] | None
    path: Path | None

    @classmethod
    def of(cls, source: SimulatorSource, inputs: Mapping[str, Input]) -> ObservablePictures:
        """For a simulator and the network's inputs."""
        kinds: dict[str, str] = {}
        for name, section in inputs.items():
            kind = section.as_ or "vector"
            if kind == "grid" and section.axes == 1:
                kind = "series"  # cells of a line are drawn as steps are
            kinds |= dict.fromkeys(section.sources(name), kind)
        return cls(kinds, source.optional("show"), source.path)

    def predictive(self, observed: DataSet, simulated: Columns, title: str) -> Figure:
        """Data simulated from the posterior over one real data set.

        Args:
            observed: The data.
            simulated: (R, ...) by observable.
            title: Of the picture.
        """
        if self.show is None:
            many = _listed(simulated)
            return report.predictive_picture(observed, many, self.kinds, title=title)
        first = _first(simulated, SHOWN)
        return report.shown_picture(self._show, observed, first, title=title)

    def prior(self, simulated: Columns, title: str) -> Figure:
        """Data simulated from the prior, (R, ...) by observable."""
        if self.show is None:
            return report.simulated_picture(_listed(simulated), self.kinds, title=title)
        return report.shown_simulations(self._show, _first(simulated, SHOWN + 1), title=title)

    def _show(self, x: DataSet, axes: Axes) -> None:
        """The user's own function.

        Raises:
            SimulatorError: It fails.
        """
        assert self.show is not None
        try:
            self.show(x, axes)
        except SbiwbError:
            raise
        except Exception as error:
            raise SimulatorError(
                f"show() failed: {type(error).__name__}: {error}",
                where=self.path,
                todo="It is called with one data set, a dict of arrays, and matplotlib's axes.",
            ) from error


def _listed(columns: Columns) -> dict[str, list[np.ndarray]]:
    """Each simulation of an observable by itself."""
    listed = {}
    for name, values in columns.items():
        listed[name] = [values[i] for i in range(len(values))]
    return listed


def _first(columns: Columns, count: int) -> list[dict[str, np.ndarray]]:
    """The first data sets of many, one dict each."""
    n = min(count, len(next(iter(columns.values()))))
    first: list[dict[str, np.ndarray]] = [{} for _ in range(n)]
    for name, values in columns.items():
        taken = take(values, np.arange(n))
        for i, data_set in enumerate(first):
            data_set[name] = taken[i]
    return first
