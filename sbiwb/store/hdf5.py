"""Arrays to HDF5 bytes and back; the image is made in memory, and files from strangers are read with suspicion."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from sbiwb.errors import CorruptFile
from sbiwb.files import FORMAT

CHUNK_BYTES = 1 << 18  # what a core keeps near while it makes the checksum of a chunk
MAX_BYTES = 64 << 30
KINDS = "fiubS"


def image(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> bytes:
    """The bytes of an HDF5 file with these arrays, the same in every process: row chunks, Fletcher-32, no times."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:
        for name, array in arrays.items():
            chunks = (min(len(array), _chunk_rows(array)), *array.shape[1:]) if array.size else None
            dataset = file.create_dataset(
                name, data=array, chunks=chunks, fletcher32=chunks is not None, track_times=False
            )
            dataset.id.close()  # HDF5 places rows when a data set closes: a profiler that still holds it (Dask's does) would move them
        file.attrs.update({"format": FORMAT, **attributes})
    return buffer.getvalue()


def _chunk_rows(array: np.ndarray) -> int:
    return max(1, CHUNK_BYTES * len(array) // array.nbytes)


def read(data: bytes, where: object, *, foreign: bool = False) -> dict[str, np.ndarray]:
    """All arrays of an HDF5 image, by full name; a foreign one carries no format number of ours.

    Raises:
        CorruptFile: Not HDF5, another format, or anything but plain numeric arrays inside.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            if not foreign and file.attrs.get("format") != FORMAT:
                raise CorruptFile(
                    f"has format {file.attrs.get('format')}, not {FORMAT}",
                    where=where,
                    todo="Install the sbiwb that wrote it.",
                )
            found: dict[str, np.ndarray] = {}
            _collect(file, where, found, MAX_BYTES if foreign else len(data))
            return found
    except (OSError, KeyError, RuntimeError) as error:
        raise CorruptFile(
            f"is not a whole HDF5 file ({error})",
            where=where,
            todo="Run `sbiwb simulate` on the config to make it again.",
        ) from error


def _collect(group: Any, where: object, found: dict[str, np.ndarray], most: int) -> None:
    """Follows plain groups only: no links, no external or virtual storage, no objects, nothing larger than `most` bytes.

    Our own files are never compressed, so that no array of theirs is larger than the file.
    """
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise CorruptFile(
                f"{group.name}/{name} is a link", where=where, todo="Only plain arrays are read."
            )
        item = group[name]
        if isinstance(item, h5py.Group):
            _collect(item, where, found, most)
            continue
        refuse_odd(item, where, most)
        found[item.name.lstrip("/")] = item[...]


def refuse_odd(item: Any, where: object, most: int = MAX_BYTES) -> None:
    """Refuses what points outside its file, what is no plain number, and what claims more than `most` bytes.

    Raises:
        CorruptFile: It is one of these.
    """
    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
        raise CorruptFile(
            f"{item.name} points outside the file", where=where, todo="Only plain arrays are read."
        )
    if item.dtype.kind not in KINDS:
        raise CorruptFile(
            f"{item.name} has type {item.dtype}", where=where, todo="Only numbers are read."
        )
    if item.size * item.dtype.itemsize > most:
        raise CorruptFile(
            f"{item.name} claims shape {item.shape}",
            where=where,
            todo="Split it into smaller files.",
        )


def attributes(data: bytes, where: object) -> dict[str, Any]:
    """Attributes of the root, as plain Python.

    Raises:
        CorruptFile: Not HDF5.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return {
                name: value.item() if hasattr(value, "item") else value
                for name, value in file.attrs.items()
            }
    except (OSError, KeyError, RuntimeError) as error:
        raise CorruptFile(
            f"is not a whole HDF5 file ({error})",
            where=where,
            todo="Delete it and run the same command again.",
        ) from error
