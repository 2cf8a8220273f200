"""The simulator file's own test quantities, at the truth and at the draws of each test pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from sbiwb.diagnostics import LOG_Q, WITH_DATA
from sbiwb.errors import SimulatorError
from sbiwb.evidence import Draws, Quantity
from sbiwb.records import Variable
from sbiwb.steps.judge.judged_run import JudgedRun, TestQuantities

Row = dict[str, np.ndarray]


def quantities_of(run: JudgedRun, draws: Draws) -> dict[str, Quantity]:
    """Test quantities of N test pairs, by name.

    Raises:
        SimulatorError: The function fails, or returns something of another shape.
    """
    if run.quantities is None:
        return {}
    rows = [_of_pair(run, run.quantities, draws, n) for n in range(draws.n)]
    _check_names(run.quantities, draws.names, rows)
    quantities = {}
    for name in rows[0]:
        values = np.stack([row[name] for row in rows])
        quantities[name] = Quantity(values[:, 0], values[:, 1:])
    return quantities


def _of_pair(run: JudgedRun, own: TestQuantities, draws: Draws, n: int) -> Row:
    """Of one test pair, the truth first, each (1 + S,)."""
    theta = np.concatenate([draws.theta[n : n + 1], draws.draws[slice(n, n + 1)][0]])
    x = {name: values[n] for name, values in run.test.variables.items()}
    return _called(own, run.prior.unstack(theta), x, len(theta))


def _called(
    own: TestQuantities, theta: Mapping[str, np.ndarray], x: Mapping[str, Variable], count: int
) -> Row:
    try:
        returned = own.function(theta, x)
        return {name: np.asarray(values, float).reshape(count) for name, values in returned.items()}
    except Exception as error:
        raise SimulatorError(
            f"test_quantities() failed: {type(error).__name__}: {error}",
            where=own.path,
            todo="It is called with theta {name: (n,)} and the x of one data set; return "
            "{name: array (n,)}.",
        ) from error


def _check_names(own: TestQuantities, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Refuses names that come for some data sets only, or mean something else already."""
    trouble = _varying(rows) or _taken(rows[:1], columns)
    if trouble:
        raise SimulatorError(
            f"test_quantities() {trouble}",
            where=own.path,
            todo="Return the same names for every data set, none of them a parameter's, `log q` or "
            "one that ends in `·x`.",
        )


def _varying(rows: Sequence[Row]) -> str | None:
    """What comes for some data sets only."""
    counts = Counter(chain.from_iterable(rows))
    varying = sorted(name for name, count in counts.items() if count < len(rows))
    if varying:
        return f"returns {', '.join(varying)} for some data sets only"
    return None


def _taken(rows: Sequence[Row], columns: Sequence[str]) -> str | None:
    """Which names mean something else already."""
    taken = []
    for name in sorted(chain.from_iterable(rows)):
        if name in (*columns, LOG_Q) or name.endswith(WITH_DATA):
            taken.append(name)
    if taken:
        return f"gives a quantity the name {', '.join(taken)}"
    return None
