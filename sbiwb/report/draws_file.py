"""Draws as an HDF5 file of plain arrays, for any other program."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.csv_tables import Draws, Keys

if TYPE_CHECKING:
    import h5py


def draws_hdf5(
    theta: Draws,
    derived: Draws,
    *,
    labels: Sequence[str],
    attributes: Mapping[str, str],
    keys: Keys | None = None,
    units: Mapping[str, str] | None = None,
) -> bytes:
    """Draws as the bytes of an HDF5 file of plain arrays.

    Args:
        theta: Parameters by name, (N, S) or (N, S, K).
        derived: Derived quantities by name, (N, S).
        labels: Of the N data sets.
        attributes: Provenance.
        keys: Grouping columns, N values each.
        units: Of parameters, by name.

    Returns:
        The file, with `theta/NAME`, `derived/NAME`, `labels` (N,) and `keys/NAME` (N,); units are
        attributes.

    Example:
        >>> with h5py.File("sample/people/draws.h5") as file:  # doctest: +SKIP
        ...     v, labels = file["theta/v"][:], file["labels"].asstr()[:]
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:
        for group, columns in (("theta", theta), ("derived", derived)):
            for name, values in columns.items():
                _put_numbers(file, f"{group}/{name}", values, (units or {}).get(name, ""))
        _put_words(file, "labels", labels)
        for name, groups in (keys or {}).items():
            _put_words(file, f"keys/{name}", map(str, groups))
        file.attrs.update(attributes)
    return buffer.getvalue()


def _put_numbers(file: h5py.File, name: str, values: np.ndarray, unit: str) -> None:
    file.create_dataset(name, data=values, track_times=False).attrs["units"] = unit


def _put_words(file: h5py.File, name: str, words: Iterable[str]) -> None:
    import h5py

    file.create_dataset(name, data=list(words), dtype=h5py.string_dtype(), track_times=False)
