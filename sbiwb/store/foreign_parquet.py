"""Parquet files of simulations, read a batch at a time; needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.errors import DataError, DiskError
from sbiwb.extras import imported
from sbiwb.records import Ragged, Variable
from sbiwb.store.foreign_file import Chunk, Foreign, rows_at_once

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile


class Parquet(Foreign):
    """Columns of numbers, or of lists of numbers."""

    is_table = True

    def _columns(self) -> list[str]:
        return list(self._open().schema_arrow.names)

    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        file = self._open()
        row_bytes = 1.0
        if file.num_row_groups:
            group = file.metadata.row_group(0)
            row_bytes = group.total_byte_size / max(1, group.num_rows)
        for batch in file.iter_batches(batch_size=rows_at_once(row_bytes), columns=list(names)):
            yield {name: self._variable(name, batch.column(name)) for name in names}

    def _variable(self, name: str, column: pyarrow.Array) -> Variable:
        if not self._is_list(column):
            return self._flat(name, column)
        if column.null_count:
            what = f"column '{name}' has empty rows"
            raise DataError(what, where=self.path, todo="Give each row a list.")
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))])
        return Ragged(self._flat(name, column.flatten()), offsets)

    def _is_list(self, column: pyarrow.Array) -> bool:
        types = imported("pyarrow", extra="parquet", where=str(self.path)).types
        kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list)
        return any(is_kind(column.type) for is_kind in kinds)

    def _flat(self, name: str, column: pyarrow.Array) -> np.ndarray:
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype.kind not in "fiub":
            what = f"column '{name}' has type {column.type}"
            todo = "Only numbers and lists of numbers are read."
            raise DataError(what, where=self.path, todo=todo)
        return np.asarray(values)

    def _open(self) -> ParquetFile:
        parquet = imported("pyarrow.parquet", extra="parquet", where=str(self.path))
        try:
            return parquet.ParquetFile(self.path)
        except OSError as error:
            raise DiskError.of(error, self.path) from error
        except Exception as error:  # pyarrow has errors of its own
            what = f"cannot be read as Parquet: {error}"
            raise DataError(what, where=self.path, todo="Make the file again.") from error
