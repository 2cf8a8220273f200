"""Arrays to HDF5 bytes and back, the image in memory; files are read with suspicion."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import h5py
import numpy as np

from sbiwb.errors import CorruptFile
from sbiwb.files import FORMAT

CHUNK_BYTES = 1 << 18  # what a core keeps near while it makes the checksum of a chunk
MAX_BYTES = 64 << 30
KINDS = "fiubS"


# what h5py raises, beside its own OSError and RuntimeError, at bytes that are no HDF5 file of ours
DAMAGED = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, AttributeError)
AGAIN = "Run `sbiwb simulate` on the config to make it again."


def image(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, object]) -> bytes:
    """The bytes of an HDF5 file, the same in every process: row chunks, Fletcher-32, no times."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:
        for name, array in arrays.items():
            chunks = _chunks(array)
            dataset = file.create_dataset(
                name, data=array, chunks=chunks, fletcher32=chunks is not None, track_times=False
            )
            # rows are placed when a data set closes: a profiler that still held it would move them
            dataset.id.close()
        file.attrs.update({"format": FORMAT, **attributes})
    return buffer.getvalue()


def _chunks(array: np.ndarray) -> tuple[int, ...] | None:
    """Shape of a chunk: some rows; None for an array without values."""
    if not array.size:
        return None
    rows = max(1, CHUNK_BYTES * len(array) // array.nbytes)
    return (min(len(array), rows), *array.shape[1:])


def read(data: bytes, where: object, *, foreign: bool = False) -> dict[str, np.ndarray]:
    """All arrays of an HDF5 image, by full name.

    Args:
        data: The image.
        where: The file, for messages.
        foreign: Whether it carries no format number of ours, and may be compressed.

    Raises:
        CorruptFile: Not HDF5, another format, or anything but plain numeric arrays inside.
    """
    arrays: dict[str, np.ndarray] = {}
    with opened(data, where) as file:
        if foreign:
            _collect(file, where, arrays, MAX_BYTES)
        else:
            _check_format(file.attrs.get("format"), where)
            _collect(file, where, arrays, len(data))
    return arrays


@contextmanager
def opened(data: bytes, where: object) -> Iterator[h5py.File]:
    """An HDF5 image as a file; whatever goes wrong while it is read means that it is damaged.

    Raises:
        CorruptFile: Not a whole HDF5 file.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except DAMAGED as error:
        what = f"is not a whole HDF5 file ({error})"
        raise CorruptFile(what, where=where, todo=AGAIN) from error


def _check_format(number: object, where: object) -> None:
    if number != FORMAT:
        what = f"has format {number}, not {FORMAT}"
        raise CorruptFile(what, where=where, todo="Install the sbiwb that wrote it.")


def _collect(
    group: h5py.Group, where: object, arrays: dict[str, np.ndarray], max_bytes: int
) -> None:
    """Follows plain groups only: no links, no other files, no objects, nothing beyond `max_bytes`.

    Our own files are never compressed, so that no array of theirs is larger than the file.
    """
    for name in group:
        refuse_link(group, name, where)
        item = group[name]
        if isinstance(item, h5py.Group):
            _collect(item, where, arrays, max_bytes)
            continue
        refuse_odd(item, where, max_bytes)
        arrays[item.name.lstrip("/")] = item[...]


def refuse_link(group: h5py.Group, name: str, where: object) -> None:
    """Refuses what leads elsewhere.

    Raises:
        CorruptFile: It is a soft or an external link.
    """
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        what = f"{group.name}/{name} is a link"
        raise CorruptFile(what, where=where, todo="Only plain arrays are read.")


def refuse_odd(item: object, where: object, max_bytes: int = MAX_BYTES) -> None:
    """Refuses what points outside its file, is no plain number, or claims more than `max_bytes`.

    Raises:
        CorruptFile: It is one of these.
    """
    if not isinstance(item, h5py.Dataset):
        raise CorruptFile("holds a named type", where=where, todo="Only plain arrays are read.")
    if item.external or item.is_virtual:
        what = f"{item.name} points outside the file"
        raise CorruptFile(what, where=where, todo="Only plain arrays are read.")
    if item.dtype.kind not in KINDS:
        what = f"{item.name} has type {item.dtype}"
        raise CorruptFile(what, where=where, todo="Only numbers are read.")
    if item.size * item.dtype.itemsize > max_bytes:
        what = f"{item.name} claims shape {item.shape}"
        raise CorruptFile(what, where=where, todo="Split it into smaller files.")


def attributes(data: bytes, where: object) -> dict[str, object]:
    """Attributes of the root, as plain Python.

    Raises:
        CorruptFile: Not HDF5.
    """
    plain: dict[str, object] = {}
    with opened(data, where) as file:
        for name, value in file.attrs.items():
            plain[name] = value.item() if isinstance(value, np.generic) else value
    return plain
