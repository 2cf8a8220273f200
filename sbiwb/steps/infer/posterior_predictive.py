"""Data simulated from posterior draws, and the picture of them over the real data."""

from __future__ import annotations

from typing import Any

import numpy as np

from sbiwb import report
from sbiwb.contracts import Reporter
from sbiwb.errors import SimulatorError
from sbiwb.project.adapter import sources_of
from sbiwb.project.observe import DataSets
from sbiwb.project.project import Project
from sbiwb.project.simulations import Simulations
from sbiwb.records import Columns

PREDICTED = 200  # simulations from the posterior of one data set


PREDICTED_MANY = 20  # and of each of several


SHOWN = 5  # simulations that the simulator file's own `show` draws beside the data


def predicted_of(
    project: Project, data: DataSets, theta: np.ndarray, seed: int, reporter: Reporter
) -> tuple[Simulations | None, tuple[str, ...]]:
    """Data simulated from the first posterior draws theta (N, S, D) of each data set, and sentences on what failed; None where all did."""
    count = min(PREDICTED if len(data) == 1 else PREDICTED_MANY, theta.shape[1])
    try:
        found = project.forward.simulate(
            theta[:, :count], data.context, seed, reporter, name=data.name
        )
    except SimulatorError as error:
        return None, (f"nothing could be simulated from the posterior: {error.what}",)
    return found, tuple(found.warnings)


def predictive_picture(
    project: Project, data: DataSets, data_set: int, x: Columns, *, title: str
) -> Any:
    """Data simulated from the posterior over one real data set: by the simulator file's own `show`, where it has one.

    Args:
        project: Whose simulator it is.
        data: The observation.
        data_set: Which of its data sets.
        x: What was simulated for it, (R, ...) by observable.
        title: Of the picture.
    """
    observed = {name: np.asarray(values[data_set]) for name, values in data.x.items()}
    show = project.source.optional("show")
    if show is not None:
        return report.shown_picture(show, observed, _some(x, SHOWN), title=title)
    return report.predictive_picture(observed, _listed(x), _kinds(project), title=title)


def _kinds(project: Project) -> dict[str, str]:
    """What each observable is to the network."""
    return {
        source: one.as_
        for name, one in project.config.model.inputs.items()
        for source in sources_of(name, one)
    }


def _listed(x: Columns) -> dict[str, list[np.ndarray]]:
    return {name: [values[i] for i in range(len(values))] for name, values in x.items()}


def _some(x: Columns, count: int) -> list[dict[str, np.ndarray]]:
    """The first data sets of many, one dict each."""
    n = min(count, len(next(iter(x.values()))))
    return [{name: values[i] for name, values in x.items()} for i in range(n)]
