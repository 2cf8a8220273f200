"""What the user asks an import for, as words of the command line and as values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sbiwb.errors import ConfigError, DataError
from sbiwb.project.imported import file_hash
from sbiwb.project.plan import ImportFacts
from sbiwb.rundir import SPLITS
from sbiwb.steps.intake.columns import WHERE
from sbiwb.store.foreign import foreign

SHARES = "0.8,0.1,0.1"


@dataclass(frozen=True)
class ImportRequest:
    """What the user asks for.

    Args:
        paths: CSV, NPZ, HDF5 or Parquet files, one after the other.
        columns: Columns by variable, where names differ.
        shares: Of train, validation and test.
        by: Column that numbers the data sets, where a table has one row a member or step.
    """

    paths: tuple[Path, ...]
    columns: dict[str, list[str]]
    shares: list[float]
    by: str = ""

    @classmethod
    def parse(
        cls, paths: Sequence[Path], columns: Sequence[str], shares: str, by: str
    ) -> ImportRequest:
        """Reads the options of the command line.

        Args:
            paths: The files.
            columns: `VARIABLE=COLUMN` or `VARIABLE=A,B,C`.
            shares: Three numbers that sum to 1, with commas.
            by: As it is.

        Raises:
            ConfigError: An option cannot be read.
            DataError: A file is named twice.
        """
        resolved: set[Path] = set()
        for path in paths:
            if path.resolve() in resolved:
                raise DataError("is named twice", where=path, todo="Name each file once.")
            resolved.add(path.resolve())
        return cls(tuple(paths), _parse_columns(columns), _parse_shares(shares), by)

    def facts(self) -> ImportFacts:
        """What is imported, with the content of the files."""
        files = {str(path.resolve()): file_hash(foreign(path).path) for path in self.paths}
        return ImportFacts(files, self.columns, self.shares, self.by)


def _parse_columns(columns: Sequence[str]) -> dict[str, list[str]]:
    """Columns by variable, of `y=signal` and `y=a,b,c`."""
    chosen: dict[str, list[str]] = {}
    for text in columns:
        name, _, names = text.partition("=")
        if not name or not names:
            todo = "Write --column VARIABLE=COLUMN, such as y=signal."
            raise ConfigError(f"cannot read '{text}'", where=f"{WHERE} --column", todo=todo)
        chosen[name.strip()] = [column.strip() for column in names.split(",")]
    return chosen


def _parse_shares(text: str) -> list[float]:
    """Shares of train, validation and test, which sum to 1."""
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    is_split = len(shares) == len(SPLITS) and min(shares) > 0
    if not is_split or not math.isclose(sum(shares), 1, abs_tol=1e-9):
        todo = f"Give train, validation and test, summing to 1, such as {SHARES}."
        raise ConfigError(f"cannot read '{text}'", where=f"{WHERE} --shares", todo=todo)
    return shares
