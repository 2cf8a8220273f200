"""Draws and summaries as files for other programs: CSV for spreadsheets, HDF5 for everything else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sbiwb.report.summary import Row

MOST_ROWS = 1_000_000
MOST_NUMBERS = 20_000_000  # 400 MB as text

Keys = Mapping[str, Sequence[Any]]


def flat(draws: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(N, S) columns by name: vector-valued quantities (N, S, K) as K columns NAME[0], NAME[1], ..."""
    found: dict[str, np.ndarray] = {}
    for name, values in draws.items():
        found |= (
            {name: values}
            if values.ndim == 2
            else {f"{name}[{k}]": values[..., k] for k in range(values.shape[2])}
        )
    return found


def too_long_for_csv(draws: Mapping[str, np.ndarray]) -> str:
    """Why draws (N, S) or (N, S, K) are better not written as CSV, in words; empty where they may be."""
    n, s = next(iter(draws.values())).shape[:2]
    numbers = sum(values.size for values in draws.values())
    if n * s <= MOST_ROWS and numbers <= MOST_NUMBERS:
        return ""
    return (
        f"draws.csv is left out: {n:,} data sets of {s:,} draws are {n * s:,} rows with {numbers:,} numbers "
        f"(at most {MOST_ROWS:,} rows and {MOST_NUMBERS:,} numbers); draws.h5 holds them"
    )


def draws_csv(
    draws: Mapping[str, np.ndarray], *, labels: Sequence[str], keys: Keys | None = None
) -> str:
    """Draws as CSV: one row a data set and draw, one column a quantity; every number with all its digits.

    Args:
        draws: Parameters and derived quantities by name, (N, S) or (N, S, K).
        labels: Of the N data sets.
        keys: Grouping columns, N values each.
    """
    columns = flat(draws)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["data_set", *(keys or {}), "draw", *columns])
    for i, label in enumerate(labels):
        where = [label, *(values[i] for values in (keys or {}).values())]
        rows = zip(*(values[i].tolist() for values in columns.values()), strict=True)
        writer.writerows([*where, draw, *numbers] for draw, numbers in enumerate(rows))
    return buffer.getvalue()


def draws_hdf5(
    theta: Mapping[str, np.ndarray],
    derived: Mapping[str, np.ndarray],
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
        The file, with `theta/NAME`, `derived/NAME`, `labels` (N,) and `keys/NAME` (N,); units are attributes.

    Example:
        >>> with h5py.File("sample/people/draws.h5") as file:  # doctest: +SKIP
        ...     v, labels = file["theta/v"][:], file["labels"].asstr()[:]
    """
    import h5py

    texts = {
        "labels": labels,
        **{
            f"keys/{name}": [str(value) for value in values]
            for name, values in (keys or {}).items()
        },
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:
        for name, values in _placed(theta, derived):
            file.create_dataset(name, data=values, track_times=False).attrs["units"] = (
                units or {}
            ).get(name.partition("/")[2], "")
        for name, words in texts.items():
            file.create_dataset(
                name, data=list(words), dtype=h5py.string_dtype(), track_times=False
            )
        file.attrs.update(attributes)
    return buffer.getvalue()


def _placed(
    theta: Mapping[str, np.ndarray], derived: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    for group, columns in (("theta", theta), ("derived", derived)):
        yield from ((f"{group}/{name}", values) for name, values in columns.items())


def summary_csv(rows: Sequence[Row], *, labels: Sequence[str], keys: Keys | None = None) -> str:
    """The summary as CSV, with the grouping columns; empty where a number is not known.

    Args:
        rows: Of all data sets.
        labels: Of the N data sets.
        keys: Grouping columns, N values each.
    """
    place = {label: i for i, label in enumerate(labels)}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["data_set", *(keys or {}), "quantity", *rows[0].columns])
    for row in rows:
        where = [row.data_set, *(values[place[row.data_set]] for values in (keys or {}).values())]
        numbers = ["" if value is None else f"{value:.6g}" for value in row.columns.values()]
        writer.writerow([*where, row.name, *numbers])
    return buffer.getvalue()
