"""What a user knows of posteriors besides, to be drawn over them: true parameters of data that were
simulated, draws by another method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.errors import DataError
from sbiwb.project.named_draws import draws_of
from sbiwb.project.observe import DataSets
from sbiwb.store.tables import read_table


@dataclass(frozen=True)
class Overlays:
    """What is drawn over pictures of posteriors.

    Args:
        columns: Of theta, D.
        truth: CSV, NPZ, JSON, HDF5 or Parquet with a column for each column of theta, and a row for
            each data set in their order.
        reference: A folder of draws that `reference` or `sample` wrote.
    """

    columns: Sequence[str]
    truth: Path | None = None
    reference: Path | None = None

    def truths(self, data: DataSets) -> np.ndarray | None:
        """True theta of the N data sets, (N, D); None where there is no file.

        Raises:
            DataError: A column is missing or no number, or there are not N rows.
        """
        if self.truth is None:
            return None
        table = read_table(self.truth)
        truths = [np.atleast_1d(table.numbers(name)) for name in self.columns]
        for name, values in zip(self.columns, truths, strict=True):
            if values.shape != (len(data),):
                raise DataError(
                    f"{name} has shape {values.shape}, and there are {len(data)} data sets",
                    where=self.truth,
                    todo="Write a row for each data set, in the order of `sample`'s table.",
                )
        return np.stack(truths, axis=1)

    def draws(self, data: DataSets) -> np.ndarray | None:
        """Draws by the other method, (N, S, D); None where there is no folder.

        Raises:
            RunError: It holds none, or those of other parameters or data sets.
            CorruptFile: They cannot be read.
        """
        if self.reference is None:
            return None
        return draws_of(self.reference, self.columns, data.labels)
