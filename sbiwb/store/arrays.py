"""Pairs and ledgers as flat arrays by name, the way a shard holds them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from sbiwb.errors import CorruptFile
from sbiwb.records import Columns, Pairs, Ragged, Variable

MESSAGE_BYTES = 200
GROUPS = ("theta", "context", "x")
LEDGER = "failures/"
RAGGED_PARTS = ("values", "offsets")

Arrays = dict[str, np.ndarray]


class FailedRow(Protocol):
    """What is kept of a failed simulation."""

    @property
    def block(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def row(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def theta(self) -> Mapping[str, np.ndarray]: ...
    @property
    def context(self) -> Mapping[str, np.ndarray]: ...


def flatten(pairs: Pairs) -> Arrays:
    """Arrays by name: theta/NAME, context/NAME, x/NAME; ragged ones as values and offsets."""
    arrays: Arrays = {}
    for group, columns in groups_of(pairs).items():
        for name, column in columns.items():
            if isinstance(column, Ragged):
                arrays[f"{group}/{name}/values"] = column.values
                arrays[f"{group}/{name}/offsets"] = column.offsets
            else:
                arrays[f"{group}/{name}"] = column
    return arrays


def groups_of(pairs: Pairs) -> dict[str, Columns]:
    """The columns of pairs by the name of their group."""
    return {"theta": pairs.theta, "context": pairs.context, "x": pairs.x}


def unflatten(arrays: Mapping[str, np.ndarray], where: object = "") -> Pairs:
    """The pairs of a file's arrays by full name; what belongs to no pair is passed over.

    Raises:
        CorruptFile: A ragged variable without its offsets, or without its values.
    """
    groups: dict[str, dict[str, Variable]] = {group: {} for group in GROUPS}
    for name, array in arrays.items():
        group, _, variable = name.partition("/")
        if group not in GROUPS or not variable:
            continue
        variable, _, part = variable.partition("/")
        if not part:
            groups[group][variable] = array
        elif part == "values":
            groups[group][variable] = _ragged(arrays, f"{group}/{variable}", where)
    return Pairs(**groups)


def _ragged(arrays: Mapping[str, np.ndarray], name: str, where: object) -> Ragged:
    values, offsets = arrays[f"{name}/values"], arrays.get(f"{name}/offsets")
    if offsets is None or not _fits(offsets, len(values)):
        what = f"offsets of '{name}' do not fit its values"
        raise CorruptFile(what, where=where, todo="Make the file again.")
    return Ragged(values, offsets)


def _fits(offsets: np.ndarray, total: int) -> bool:
    """Whether offsets rise from 0 to the number of values."""
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype.kind not in "iu":
        return False
    return bool(offsets[0] == 0 and offsets[-1] == total and (np.diff(offsets) >= 0).all())


def ledger_arrays(failures: Sequence[FailedRow]) -> Arrays:
    """Failed simulations as columns, which come under the same checksum as the rows."""
    if not failures:
        return {}
    columns = {
        "block": np.array([failure.block for failure in failures]),
        "attempt": np.array([failure.attempt for failure in failures]),
        "row": np.array([failure.row for failure in failures]),
        "kind": _texts([failure.kind for failure in failures]),
        "message": _texts([failure.message for failure in failures]),
    }
    for name in failures[0].theta:
        columns[f"theta/{name}"] = np.stack([failure.theta[name] for failure in failures])
    for name in failures[0].context:
        columns[f"context/{name}"] = np.stack([failure.context[name] for failure in failures])
    return {LEDGER + name: np.asarray(column) for name, column in columns.items()}


def _texts(texts: Sequence[str]) -> np.ndarray:
    cut = [text.encode()[:MESSAGE_BYTES] for text in texts]
    return np.array(cut, dtype=f"S{MESSAGE_BYTES}")


def ledger_of(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The columns of the ledger among a shard's arrays, of equal length, text as bytes."""
    ledger: Arrays = {}
    for name, array in arrays.items():
        if name.startswith(LEDGER):
            ledger[name.removeprefix(LEDGER)] = array
    return ledger


def failure_reasons(ledger: Mapping[str, np.ndarray]) -> list[str]:
    """What each failure is counted by: its kind, of an exception the class, which comes first."""
    reasons = []
    for kind, message in zip(ledger.get("kind", ()), ledger.get("message", ()), strict=True):
        reason = kind.decode(errors="replace")
        if reason == "exception":
            reason = message.decode(errors="replace").partition(":")[0]
        reasons.append(reason)
    return reasons
