"""The simulator as one call: columns in, checked numbers out, whatever the user's style."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from sbiwb.errors import SimulatorError
from sbiwb.naming import storable_name, unstorable_because
from sbiwb.records import Columns, Ragged, Variable, take
from sbiwb.seeds import torch_seed
from sbiwb.simulation.guards import guarded
from sbiwb.simulation.source import SimulatorSource

DOUBLE_BYTES = 8

Row = dict[str, np.ndarray]  # observables of one simulation, without a leading axis
Rows = Variable | list[np.ndarray]  # one observable of many: a list where their forms differ


class Simulates(Protocol):
    """A simulator, in this process or in one of its own."""

    @property
    def source(self) -> SimulatorSource: ...
    @property
    def batched(self) -> bool: ...
    def __call__(
        self, theta: Columns, context: Columns, rng: np.random.Generator
    ) -> dict[str, Rows]: ...
    def simulate_row(
        self, theta: Columns, context: Columns, row: int, rng: np.random.Generator
    ) -> Row: ...


@runtime_checkable
class TensorLike(Protocol):
    """What torch returns."""

    def detach(self) -> TensorLike: ...
    def cpu(self) -> TensorLike: ...
    def numpy(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Simulator:
    """A user's function behind one interface.

    Args:
        source: The loaded file, or an external program.
        batched: Whether the function takes N rows at once.
        injected: Which of `rng` and `generator` it asks for.
        constants: Passed as they are.
        timeout_s: Seconds per call of the user's function; None also where the source keeps its
            time itself.
        memory_gb: Memory that a call may take beyond what this process holds, in GB.
    """

    source: SimulatorSource
    batched: bool
    injected: tuple[str, ...]
    constants: Mapping[str, object]
    timeout_s: float | None = None
    memory_gb: float | None = None

    def __call__(
        self, theta: Columns, context: Columns, rng: np.random.Generator
    ) -> dict[str, Rows]:
        """Simulates every row of theta in one call of a batched function.

        Raises:
            SimulatorError: The result is no dict of arrays, or has the wrong number of rows.
            Exception: Whatever the user's function raises.
        """
        n = len(next(iter(theta.values())))
        result = self._call({**theta, **context}, rng)
        return {name: self._rows(name, value, n) for name, value in result.items()}

    def simulate_row(
        self, theta: Columns, context: Columns, row: int, rng: np.random.Generator
    ) -> Row:
        """Simulates one row, as arrays without a leading axis.

        Raises:
            SimulatorError: As above.
            Exception: Whatever the user's function raises.
        """
        if self.batched:
            here = np.array([row])
            batch = self(take_columns(theta, here), take_columns(context, here), rng)
            return row_of(batch, 0)
        columns = {**theta, **context}
        result = self._call({name: _scalar(column[row]) for name, column in columns.items()}, rng)
        return {name: self._numbers(name, _array(value)) for name, value in result.items()}

    def _call(
        self, arguments: Mapping[str, object], rng: np.random.Generator
    ) -> Mapping[str, object]:
        with guarded(self.timeout_s, self.memory_gb):
            result = self.source.simulate(**arguments, **self.constants, **self._random(rng))
        if not isinstance(result, dict):
            result = {"x": result}
        self._check(result)
        return result

    def _check(self, result: Mapping[str, object]) -> None:
        if not result:
            raise self._refusal("returned an empty dict", "Return {name: array} or one array.")
        for name, value in result.items():
            self._check_name(name)
            if value is None:
                raise self._refusal(
                    f"returned nothing for '{name}'",
                    "Is `return` missing? Return {name: array}.",
                )

    def _random(self, rng: np.random.Generator) -> dict[str, object]:
        streams: dict[str, object] = {}
        if "rng" in self.injected:
            streams["rng"] = rng
        if "generator" in self.injected:
            import torch

            streams["generator"] = torch.Generator().manual_seed(torch_seed(rng))
        return streams

    def _check_name(self, name: object) -> None:
        reason = unstorable_because(name)
        if reason is not None:
            raise self._refusal(
                f"returned an observable named {name!r}, which {reason}",
                f"Rename it here and in the YAML, for example {storable_name(name)!r}.",
            )

    def _rows(self, name: str, value: object, n: int) -> Rows:
        """One observable of a batched call.

        Args:
            name: Its name.
            value: (N, ...), a list of N arrays, or a pair: padded (N, M, ...) and lengths (N,).
            n: Rows of theta.
        """
        if isinstance(value, tuple) and len(value) == 2:
            value = _unpadded(*value)
        if isinstance(value, list) and len(value) == n and not all(map(np.isscalar, value)):
            return _joined([self._numbers(name, _array(item)) for item in value])
        array = self._numbers(name, _array(value))
        if array.ndim and len(array) == n:
            return array
        raise self._refusal(
            f"'{name}' has shape {array.shape}; for {n} parameter rows its first axis must be {n}",
            "Return one row per theta, or write `batched: false` for a function of one theta.",
        )

    def _numbers(self, name: str, array: np.ndarray) -> np.ndarray:
        """The array in a type that shards hold: booleans are 0 and 1."""
        if array.dtype.kind not in "fiub":
            raise self._refusal(
                f"'{name}' has type {array.dtype}, not numbers",
                "Return float, integer or boolean arrays.",
            )
        return _storable(array)

    def _refusal(self, what: str, todo: str) -> SimulatorError:
        return SimulatorError(what, where=self.source.line(), todo=todo)


def _storable(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    if array.dtype.itemsize > DOUBLE_BYTES:
        return array.astype(np.float64)
    return array


def take_columns(columns: Columns, rows: np.ndarray) -> Columns:
    """Rows of each column."""
    return {name: take(column, rows) for name, column in columns.items()}


def row_of(batch: Mapping[str, Rows], i: int) -> Row:
    """One row of each observable."""
    return {name: rows[i] for name, rows in batch.items()}


def _unpadded(padded: object, lengths: object) -> list[np.ndarray]:
    rows, sizes = _array(padded), _array(lengths).astype(int)
    return [row[:size] for row, size in zip(rows, sizes, strict=True)]


def _joined(rows: list[np.ndarray]) -> Rows:
    """Arrays end to end where they differ in length alone; else the list as it is."""
    forms = {(row.ndim, row.shape[1:]) for row in rows}
    if len(forms) == 1 and rows[0].ndim:
        return Ragged.of(rows)
    return rows


def _array(value: object) -> np.ndarray:
    if isinstance(value, TensorLike):
        return value.detach().cpu().numpy()
    return np.asarray(value)


def _scalar(value: np.ndarray) -> object:
    if np.ndim(value) == 0:
        return value.item()
    return value
