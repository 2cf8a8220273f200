"""Arrays by name as the bytes that an external program reads or writes: CSV, JSON, NPZ and HDF5.

CSV and JSON know no types: all their numbers are read as float64. A CSV column is one variable; columns `name[0]`, `name[1]`, ... are one
variable with a last axis.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

_INDEXED = re.compile(r"^(.+)\[(\d+)\]$")
Values = Mapping[str, Any]


class BadOutput(ValueError):
    """Bytes that are not what they should be."""


def encode(kind: str, values: Values, *, batched: bool) -> bytes:
    """Numbers, text and arrays by name in a format; a CSV has one line for each row, and what is the same for all rows repeats.

    Args:
        kind: csv, json, npz or hdf5.
        values: Arrays have rows along their first axis if `batched`; anything else is the same for all rows.
        batched: Whether these are many rows or one.

    Raises:
        ValueError: A value that a table cannot hold.
    """
    if kind == "csv":
        return _to_csv(
            {
                name: value if batched and isinstance(value, np.ndarray) else np.array([value])
                for name, value in values.items()
            }
        )
    return {"json": _to_json, "npz": _to_npz, "hdf5": _to_hdf5}[kind](values)


def decode(kind: str, data: bytes) -> dict[str, Any]:
    """Arrays by name: from a CSV (M,) or (M, K) for M lines, from JSON also lists of arrays of different length.

    Raises:
        BadOutput: Not of this format, or empty.
    """
    if not data.strip():
        raise BadOutput("is empty")
    try:
        found = {"csv": _from_csv, "json": _from_json, "npz": _from_npz, "hdf5": _from_hdf5}[kind](
            data
        )
    except BadOutput:
        raise
    except Exception as error:  # each format has errors of its own
        raise BadOutput(f"is not {kind.upper()}: {error}") from error
    if not found:
        raise BadOutput("holds no variable")
    return found


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _to_json(values: Values) -> bytes:
    return json.dumps({name: _plain(value) for name, value in values.items()}).encode()


def _to_npz(values: Values) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(value) for name, value in values.items()})  # type: ignore[arg-type]
    return file.getvalue()


def _to_hdf5(values: Values) -> bytes:
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, value in values.items():
            file[name] = value
    return image.getvalue()


def _to_csv(values: Mapping[str, np.ndarray]) -> bytes:
    columns: dict[str, np.ndarray] = {}
    for name, array in values.items():
        if array.ndim > 2:
            raise ValueError(
                f"'{name}' has rows of shape {array.shape[1:]}, which a CSV cannot hold"
            )
        columns |= (
            {name: array}
            if array.ndim == 1
            else {f"{name}[{k}]": array[:, k] for k in range(array.shape[1])}
        )
    rows = max(len(column) for column in columns.values())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        zip(
            *(map(_plain, np.broadcast_to(column, rows)) for column in columns.values()),
            strict=True,
        )
    )
    return text.getvalue().encode()


def _from_csv(data: bytes) -> dict[str, Any]:
    lines = [line for line in csv.reader(io.StringIO(data.decode())) if line]
    names = [name.strip() for name in lines[0]]
    uneven = next((number for number, line in enumerate(lines, 1) if len(line) != len(names)), None)
    if uneven is not None:
        raise BadOutput(
            f"has {len(lines[uneven - 1])} fields in line {uneven}, {len(names)} in the first"
        )
    if len(lines) == 1:
        raise BadOutput("has a header and no line of numbers")
    columns = dict(
        zip(names, np.array([list(map(float, line)) for line in lines[1:]]).T, strict=True)
    )
    found: dict[str, Any] = {}
    for name, column in columns.items():
        part = _INDEXED.match(name)
        found.setdefault(part[1] if part else name, []).append(column)
    return {
        name: np.stack(parts, axis=-1) if f"{name}[0]" in columns else parts[0]
        for name, parts in found.items()
    }


def _from_json(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    return {
        name: _numbers(one)
        for name, one in (value if isinstance(value, dict) else {"x": value}).items()
    }


def _numbers(value: Any) -> Any:
    """null is NaN; lists of different length become a list of arrays."""
    if (
        isinstance(value, list)
        and len({len(item) if isinstance(item, list) else -1 for item in value}) > 1
    ):
        return [np.array(item, float) for item in value]
    return np.array(value, float)


def _from_npz(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _from_hdf5(data: bytes) -> dict[str, Any]:
    import h5py

    with h5py.File(io.BytesIO(data), "r") as file:
        return {name: file[name][()] for name in file if isinstance(file[name], h5py.Dataset)}
