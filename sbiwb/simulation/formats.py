"""Arrays by name as the bytes that an external program reads or writes: CSV, JSON, NPZ and HDF5.

CSV and JSON know no types: all their numbers are read as float64. A missing value is an empty
field, NA, NaN or null, in any case, and is read as NaN; TRUE and FALSE are 1 and 0. A CSV begins
with a line of names; a column is one variable, and columns `name[0]`, `name[1]`, ... are one
variable with a last axis.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping

import numpy as np

from sbiwb.simulation import csv_numbers
from sbiwb.simulation.csv_numbers import BadOutput

Values = Mapping[str, object]
Decoded = dict[str, np.ndarray | list[np.ndarray]]


def encode(kind: str, values: Values, *, batched: bool) -> bytes:
    """Numbers, text and arrays by name in a format.

    Args:
        kind: csv, json, npz or hdf5. A CSV has one line for each row, and what is the same for all
            rows repeats.
        values: Arrays have rows along their first axis if `batched`; anything else is the same for
            all rows.
        batched: Whether these are many rows or one.

    Raises:
        ValueError: A value that a table cannot hold.
    """
    if kind == "csv":
        return csv_numbers.to_csv(values, batched=batched)
    return _ENCODERS[kind](values)


def decode(kind: str, data: bytes) -> Decoded:
    """Arrays by name.

    Args:
        kind: csv, json, npz or hdf5.
        data: What a program wrote.

    Returns:
        From a CSV (M,) or (M, K) for M lines, from JSON also lists of arrays of different length.

    Raises:
        BadOutput: Not of this format, or empty.
        NoHeader: A CSV without names.
    """
    if not data.strip():
        raise BadOutput("is empty")
    try:
        variables = _DECODERS[kind](data)
    except BadOutput:
        raise
    except Exception as error:  # each format has errors of its own
        raise BadOutput(f"is not {kind.upper()}: {error}") from error
    if not variables:
        raise BadOutput("holds no variable")
    return variables


def _plain(value: object) -> object:
    """What JSON has for a numpy value."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"not JSON: {value!r}")


def _to_json(values: Values) -> bytes:
    return json.dumps(values, default=_plain).encode()


def _to_npz(values: Values) -> bytes:
    file = io.BytesIO()
    np.savez(file, **values)  # type: ignore[arg-type]
    return file.getvalue()


def _to_hdf5(values: Values) -> bytes:
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, value in values.items():
            file[name] = value
    return image.getvalue()


def _from_csv(data: bytes) -> Decoded:
    return {**csv_numbers.from_csv(data)}


def _from_json(data: bytes) -> Decoded:
    value = json.loads(data)
    if not isinstance(value, dict):
        value = {"x": value}
    return {name: _json_variable(item) for name, item in value.items()}


def _json_variable(value: object) -> np.ndarray | list[np.ndarray]:
    """Lists of different length become a list of arrays."""
    if isinstance(value, list) and len(set(map(_length, value))) > 1:
        return list(map(_json_array, value))
    return _json_array(value)


def _length(item: object) -> int:
    if isinstance(item, list):
        return len(item)
    return -1


def _json_array(value: object) -> np.ndarray:
    try:
        return np.array(value, float)
    except ValueError:
        return np.array(_without_words(value), float)


def _without_words(value: object) -> object:
    """The same with NaN, 1 and 0 for what says so in words."""
    if isinstance(value, list):
        return list(map(_without_words, value))
    if isinstance(value, str):
        return csv_numbers.number(value)
    return value


def _from_npz(data: bytes) -> Decoded:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return dict(file.items())


def _from_hdf5(data: bytes) -> Decoded:
    import h5py

    arrays: Decoded = {}
    with h5py.File(io.BytesIO(data), "r") as file:
        for name, item in file.items():
            if isinstance(item, h5py.Dataset):
                arrays[name] = item[()]
    return arrays


_ENCODERS: dict[str, Callable[[Values], bytes]] = {
    "json": _to_json,
    "npz": _to_npz,
    "hdf5": _to_hdf5,
}
_DECODERS: dict[str, Callable[[bytes], Decoded]] = {
    "csv": _from_csv,
    "json": _from_json,
    "npz": _from_npz,
    "hdf5": _from_hdf5,
}
