"""Calls of a simulator for the rows of one attempt.

All rows in one call where the simulator is batched. If that call fails as a whole, the guilty rows
are found: those of a Python function one by one, those of an external program, whose calls are
dear, by halving.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sbiwb.errors import SbiwbError
from sbiwb.records import Columns
from sbiwb.simulation.expected import Expected, RowOutcome, RowResults
from sbiwb.simulation.failures import reason_of
from sbiwb.simulation.simulator import Simulates, take_columns

Stream = Callable[[int, int], np.random.Generator]  # of a call for `size` rows from `first` on


@dataclass(frozen=True)
class RowCalls:
    """Calls for some of the rows of an attempt.

    Args:
        simulator: The user's.
        theta: Parameters of all rows.
        context: Design variables of all rows.
        stream: Of each call.
    """

    simulator: Simulates
    theta: Columns
    context: Columns
    stream: Stream

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.theta.values()), ()))

    def after_failed_batch(self) -> RowResults:
        """All rows again, once a call for all of them has failed."""
        if self.simulator.source.is_halved:
            return self.by_halves()
        return self.one_by_one()

    def one_by_one(self) -> RowResults:
        """Each row in a call of its own, from a stream of its own."""
        results = RowResults()
        for place in range(self.count):
            self._add_row(results, place)
        return results

    def by_halves(self) -> RowResults:
        """Parts of a failed batch, halved until they come out or are one row.

        One guilty row costs 2 log2(n) calls. Where many are guilty halving is dearer than it is
        worth: after n / 4 calls what still fails is done row by row.
        """
        results, calls, n = RowResults(), 0, self.count
        parts = _halves(range(n))
        while parts:
            part = parts.pop(0)
            calls += 1
            if self._add_part(results, part):
                continue
            smaller = _halves(part)
            if calls >= n / 4:
                smaller = _pieces(part, 1)
            parts = smaller + parts
        return results

    def _add_part(self, results: RowResults, part: range) -> bool:
        """Whether these rows are done with: they came out, or the one row failed."""
        if len(part) > 1:
            return self._add_call(results, part)
        self._add_row(results, part.start)
        return True

    def _add_call(self, results: RowResults, part: range) -> bool:
        """Adds rows of one call, if it comes out."""
        places, start = np.array(part), time.perf_counter()
        theta, context = take_columns(self.theta, places), take_columns(self.context, places)
        try:
            x = self.simulator(theta, context, self.stream(part.start, len(part)))
        except SbiwbError:
            raise
        except (Exception, SystemExit):
            return False
        results.update(RowResults.of_call(x, part, time.perf_counter() - start))
        return True

    def _add_row(self, results: RowResults, place: int) -> None:
        """Adds one row, or why it failed."""
        rng, start = self.stream(place, 1), time.perf_counter()
        try:
            results.rows[place] = self.simulator.simulate_row(self.theta, self.context, place, rng)
        except SbiwbError:
            raise
        except (Exception, SystemExit) as error:
            results.reasons[place] = reason_of(error, self.simulator.source.path)
        results.seconds[place] = time.perf_counter() - start


def simulate_rows(calls: RowCalls, rng: np.random.Generator, expected: Expected) -> RowOutcome:
    """Observables of the valid rows, and why the others failed.

    Args:
        calls: Of the simulator, at these parameters.
        rng: For a call of all rows.
        expected: What they must look like.

    Raises:
        SimulatorError: The result has the wrong form, and no row is to blame.
    """
    if not calls.simulator.batched:
        return expected.check_rows(calls.one_by_one())
    start = time.perf_counter()
    try:
        x = calls.simulator(calls.theta, calls.context, rng)
    except SbiwbError:  # a result of the wrong form, or a signal that came meanwhile
        raise
    except (Exception, SystemExit):  # the user's code may raise anything
        results = calls.after_failed_batch()
    else:
        return expected.check_batch(x, calls.count, time.perf_counter() - start)
    return expected.check_rows(results)


def _halves(part: range) -> list[range]:
    return _pieces(part, -(-len(part) // 2))


def _pieces(part: range, size: int) -> list[range]:
    return [part[start : start + size] for start in range(0, len(part), size)]
