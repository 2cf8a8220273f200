"""Files of the user's own simulations, read a few rows at a time: what every kind does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sbiwb.errors import CorruptFile, DataError, SbiwbError
from sbiwb.records import Variable

CHUNK_BYTES = 8 << 20
MAX_ROWS = 1 << 16  # of a chunk

Chunk = dict[str, Variable]
"""Some rows of some columns, (n, ...) or `Ragged`."""


class Foreign(ABC):
    """One file: names of its columns, and their rows in order.

    Args:
        path: The file.
    """

    is_table = False

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def columns(self) -> list[str]:
        """Names of columns, or of arrays with one entry a simulation.

        Raises:
            DataError: The file is damaged, or not what its name says.
        """
        with _readable(self.path):
            return self._columns()

    def chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """These columns, some rows at a time: (n, ...) or `Ragged`.

        Raises:
            DataError: The file is damaged, or holds anything but numbers.
        """
        with _readable(self.path):
            yield from self._chunks(names)

    @abstractmethod
    def _columns(self) -> list[str]:
        """As `columns`; may raise what its library does."""

    @abstractmethod
    def _chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """As `chunks`; may raise what its library does."""


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Says which file is damaged: numpy, zipfile, h5py and pyarrow raise many kinds for one."""
    try:
        yield
    except SbiwbError:
        raise
    except Exception as error:
        raise CorruptFile(
            f"cannot be read ({type(error).__name__}: {error})",
            where=path,
            todo="Is it cut or altered? Make the file again.",
        ) from error


def rows_at_once(row_bytes: float) -> int:
    """Rows of a chunk: as many as make up a few megabytes."""
    return min(MAX_ROWS, max(1, int(CHUNK_BYTES / max(1, row_bytes))))


def check_same_rows(counts: Mapping[str, int], path: Path) -> int:
    """How many rows all arrays have.

    Raises:
        DataError: They have not the same number.
    """
    if len(set(counts.values())) > 1:
        lengths = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        todo = "Give each one row a simulation."
        raise DataError(f"arrays differ in length: {lengths}", where=path, todo=todo)
    return next(iter(counts.values()), 0)
