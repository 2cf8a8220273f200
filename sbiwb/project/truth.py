"""True parameters of data sets, where they are known: of data that one has simulated oneself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sbiwb.errors import DataError
from sbiwb.store.tables import read_table


def load_truths(path: Path, columns: Sequence[str], data_sets: int) -> np.ndarray:
    """Theta of N data sets, (N, D).

    Args:
        path: CSV, NPZ, JSON, HDF5 or Parquet with a column for each column of theta, and a row for
            each data set in their order.
        columns: Names of theta's columns, D of them.
        data_sets: N.

    Raises:
        DataError: A column is missing or no number, or there are not N rows.
    """
    table = read_table(path)
    truths = [np.atleast_1d(table.numbers(name)) for name in columns]
    for name, values in zip(columns, truths, strict=True):
        if values.shape != (data_sets,):
            raise DataError(
                f"{name} has shape {values.shape}, and there are {data_sets} data sets",
                where=path,
                todo="Write one row a data set, in the order of the table that `sample` prints.",
            )
    return np.stack(truths, axis=1)
