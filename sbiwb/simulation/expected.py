"""What the rows of a simulator must look like, and which of them do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sbiwb.errors import SimulatorError
from sbiwb.records import Columns, Variable, join
from sbiwb.simulation.layout import Layout, Misfit, Observable, layout_of
from sbiwb.simulation.simulator import Row, Rows, row_of, take_columns
from sbiwb.simulation.source import SimulatorSource

Reason = tuple[str, str]  # kind and message of a failure
Reasons = dict[int, Reason]  # by row


@dataclass(frozen=True)
class RowOutcome:
    """What came of n simulations.

    Args:
        x: Observables of the valid rows by name, in order of the rows; empty where there are none.
        reasons: Why each other row failed.
        seconds: What a failed row took.
        layout: What the rows were compared with.
    """

    x: Columns
    reasons: Reasons
    seconds: Mapping[int, float]
    layout: Layout | None


@dataclass
class RowResults:
    """Rows that were not simulated in one call: what came back of each, or why nothing did."""

    rows: dict[int, Row] = field(default_factory=dict)
    reasons: Reasons = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of_call(cls, x: Mapping[str, Rows], places: range, seconds: float) -> RowResults:
        """The rows of one call for many.

        Args:
            x: What it returned.
            places: Of its rows.
            seconds: What it took.
        """
        rows = {place: row_of(x, i) for i, place in enumerate(places)}
        return cls(rows, {}, dict.fromkeys(places, seconds / max(1, len(places))))

    def update(self, other: RowResults) -> None:
        """Takes the rows of another."""
        self.rows |= other.rows
        self.reasons |= other.reasons
        self.seconds |= other.seconds


@dataclass(frozen=True)
class Expected:
    """What every row must look like.

    Args:
        layout: Its form; None as long as no row has come out.
        missing: Observables in which NaN is a value.
        source: The simulator file, which is named where it returns other names than before.
    """

    layout: Layout | None
    missing: Collection[str]
    source: SimulatorSource

    def after(self, outcome: RowOutcome) -> Expected:
        """The same once rows have come out: later ones may differ from them in length alone."""
        if self.layout is not None or outcome.layout is None:
            return self
        layout = {name: observable.any_length() for name, observable in outcome.layout.items()}
        return replace(self, layout=layout)

    def check_batch(self, x: Mapping[str, Rows], n: int, seconds: float) -> RowOutcome:
        """Sorts the rows of one call.

        Args:
            x: What it returned.
            n: Rows that were asked for.
            seconds: What it took.

        Raises:
            SimulatorError: Other observables than before.
        """
        variables: dict[str, Variable] = {}
        for name, rows in x.items():
            if isinstance(rows, list):
                return self.check_rows(RowResults.of_call(x, range(n), seconds))
            variables[name] = rows
        layout = self.layout or layout_of(variables, self.missing)
        self._check_names(layout, set(x))
        reasons = batch_problems(variables, layout)
        valid: Columns = variables
        if reasons:
            valid = take_columns(variables, np.setdiff1d(np.arange(n), list(reasons)))
        return RowOutcome(valid, reasons, dict.fromkeys(reasons, seconds / max(1, n)), layout)

    def check_rows(self, results: RowResults) -> RowOutcome:
        """Sorts rows that came one by one.

        Raises:
            SimulatorError: An observable that is returned only sometimes.
        """
        if not results.rows:
            return RowOutcome({}, results.reasons, results.seconds, self.layout)
        layout = self.layout or self._layout_of_rows(list(results.rows.values()))
        reasons, valid = dict(results.reasons), list[Row]()
        for place, row in results.rows.items():
            reason = self._row_problem(row, layout)
            if reason is None:
                valid.append(row)
            else:
                reasons[place] = reason
        return RowOutcome(_stack(valid, layout), reasons, results.seconds, layout)

    def _row_problem(self, row: Row, layout: Layout) -> Reason | None:
        if layout.keys() - row.keys():
            return "shape", f"returned {', '.join(row)}; expected {', '.join(layout)}"
        if len(row) > len(layout):
            raise self._only_sometimes(row.keys() - layout.keys())
        for name, value in row.items():
            misfit = layout[name].problem(layout[name].reshaped(value))
            if misfit is not None:
                return _reason(name, misfit)
        return None

    def _layout_of_rows(self, rows: list[Row]) -> Layout:
        layout: Layout = {}
        for name in self._common_names(rows):
            values = [row[name] for row in rows if name in row]
            layout[name] = Observable.of_rows(values, missing=name in self.missing)
        return layout

    def _common_names(self, rows: list[Row]) -> tuple[str, ...]:
        """Names of what rows return; the most common ones where some have no name in common."""
        always = set.intersection(*map(set, rows))
        sometimes = set[str]().union(*rows) - always
        if always and sometimes:
            raise self._only_sometimes(sometimes)
        names, _ = Counter(map(tuple, rows)).most_common(1)[0]
        return names

    def _check_names(self, layout: Layout, names: set[str]) -> None:
        if names != set(layout):
            what = f"returned {_listed(names)} where it returned {_listed(layout)} before"
            raise self._refusal(what, names ^ set(layout))

    def _only_sometimes(self, names: Collection[str]) -> SimulatorError:
        return self._refusal(f"returns {_listed(map(repr, names))} only sometimes", names)

    def _refusal(self, what: str, names: Collection[str]) -> SimulatorError:
        return SimulatorError(
            what,
            where=self.source.line(),
            todo="Return the same observables every time; where there is no value, return NaN and "
            f"write in the YAML problem.missing: [{_listed(names)}].",
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _reason(name: str, misfit: Misfit) -> Reason:
    return misfit.kind, f"'{name}' {misfit.text}"


def batch_problems(variables: Mapping[str, Variable], layout: Layout) -> Reasons:
    """Why rows of a call do not fit; quick where all do."""
    reasons: Reasons = {}
    for name, variable in variables.items():
        if not layout[name].accepts(variable):
            reasons = {**_problems(name, variable, layout[name]), **reasons}
    return reasons


def _problems(name: str, variable: Variable, observable: Observable) -> Reasons:
    reasons: Reasons = {}
    for row in range(len(variable)):
        misfit = observable.problem(variable[row])
        if misfit is not None:
            reasons[row] = _reason(name, misfit)
    return reasons


def _stack(rows: list[Row], layout: Layout) -> dict[str, Variable]:
    """Valid rows by name, end to end; ragged where their lengths differ."""
    x: dict[str, Variable] = {}
    if not rows:
        return x
    for name in rows[0]:
        x[name] = join([layout[name].reshaped(row[name])[None] for row in rows])
    return x
