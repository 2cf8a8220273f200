"""Simulations in files of the user's own, by the end of the name; larger ones than memory, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sbiwb.errors import DataError
from sbiwb.store.foreign_csv import Csv
from sbiwb.store.foreign_file import Chunk, Foreign
from sbiwb.store.foreign_hdf5 import Hdf5
from sbiwb.store.foreign_npz import Npz
from sbiwb.store.foreign_parquet import Parquet

__all__ = ["Chunk", "Foreign", "foreign"]

KINDS: Mapping[str, type[Foreign]] = {
    ".csv": Csv,
    ".tsv": Csv,
    ".npz": Npz,
    ".h5": Hdf5,
    ".hdf5": Hdf5,
    ".parquet": Parquet,
}


def foreign(path: Path) -> Foreign:
    """A file by the end of its name.

    Raises:
        DataError: Missing, or of a kind that is not read.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        what = f"is no file of simulations ('{path.suffix}')"
        raise DataError(what, where=path, todo=f"Use one of: {', '.join(KINDS)}.")
    if not path.is_file():
        raise DataError("no such file", where=path, todo="Check the path.")
    return kind(path)
