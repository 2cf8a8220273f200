"""Durable files: whole or absent under their final name, and read with suspicion.

Written as an image in memory, under a temporary name, then fsync, rename, fsync of the folder.
Every operation goes through one `Disk`, so that tests can break it. Whatever is wrong with a JSON
file that is read becomes one `CorruptFile` with the file, the field and the remedy.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import socket
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sbiwb.errors import CorruptFile, DiskError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

FORMAT = 1  # of every file this version writes


class Disk:
    """The four operations that durable writing needs."""

    def write(self, path: Path, data: bytes) -> None:
        """Writes and syncs a file."""
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Makes a rename durable; some network file systems cannot, and need not."""
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(handle)

    def make_folder(self, folder: Path) -> None:
        """Makes a folder and those above it.

        Each new name is synced, or a power cut would take what lies inside.
        """
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        self.sync_folder(folder.parent)


disk = Disk()


def temporary(path: Path) -> Path:
    """A name beside `path` that no other process uses."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")


def put(path: Path, data: bytes) -> None:
    """Writes a file that is whole or absent.

    Raises:
        DiskError: Full disk, missing permission; what stood at `path` is untouched.
    """
    partial = temporary(path)
    try:
        disk.make_folder(path.parent)
        disk.write(partial, data)
        disk.replace(partial, path)
        disk.sync_folder(path.parent)
    except OSError as error:
        _discard(partial)
        raise DiskError.of(error, path) from error


def _discard(path: Path) -> None:
    with contextlib.suppress(
        OSError
    ):  # the folder itself may be what failed; the error on its way up says so
        path.unlink(missing_ok=True)


def put_text(path: Path, text: str) -> None:
    put(path, text.encode("utf-8"))


def put_json(path: Path, value: dict[str, Any]) -> None:
    """Writes a JSON object with its format number; NaN is refused, for JSON has none."""
    put_text(path, json.dumps({"format": FORMAT, **value}, indent=1, allow_nan=False) + "\n")


DELETE = "Delete it and run the same command again."


def read_data(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        DiskError: It cannot be read, or is not there.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DiskError.of(error, path) from error


def read_json(path: Path, *, todo: str = DELETE) -> dict[str, Any]:
    """Reads a JSON object written by `put_json`, whatever its fields; see `read_typed`.

    Args:
        path: The file.
        todo: How to make it again, for the message.

    Raises:
        CorruptFile: Not JSON, not an object, or of a format this version does not know.
        DiskError: It cannot be read, or is not there.
    """
    value = parse_json(read_data(path), where=path, todo=todo)
    if not isinstance(value, dict):
        what = f"is no JSON object but {short_repr(value)}"
        raise CorruptFile(what, where=path, todo=todo)
    _check_format(value.get("format"), path, todo)
    return value


def parse_json(data: bytes | str, *, where: object, todo: str = DELETE) -> object:
    """The value of a JSON text.

    Raises:
        CorruptFile: Not UTF-8, not JSON, nested too deep, or a number of thousands of digits.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"is not JSON ({error})", where=where, todo=todo) from error


def read_typed(kind: type[T], path: Path, *, todo: str = DELETE) -> T:
    """Reads a file of `put_json` as a dataclass, every field of its declared type.

    No number is taken for a text, no text for a number; fields that `kind` does not name are
    passed over, and those with a default may be missing.

    Args:
        kind: A frozen dataclass; nested ones, tuples, dicts and `Annotated` bounds are checked.
        path: The file.
        todo: How to make it again, for the message.

    Raises:
        CorruptFile: With the field that is missing, or of another type than declared.
        DiskError: It cannot be read, or is not there.
    """
    data = read_data(path)
    _check_format(parse_typed(_Formatted, data, where=path, todo=todo).format, path, todo)
    return parse_typed(kind, data, where=path, todo=todo)


def parse_typed(kind: type[T], data: bytes | str, *, where: object, todo: str = DELETE) -> T:
    """A JSON text as a dataclass, such as a line of a file; see `read_typed`.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Start:
        ...     step: int
        >>> parse_typed(Start, '{"step": 3}', where="starts.json")
        Start(step=3)
        >>> parse_typed(Start, '{"step": "3"}', where="starts.json")
        Traceback (most recent call last):
        sbiwb.errors.CorruptFile: starts.json  'step' should be a valid integer, and is '3'  \
Delete it and run the same command again.

    Raises:
        CorruptFile: With the field that is missing, or of another type than declared.
    """
    from pydantic import ValidationError

    try:
        return _adapter(cast(Hashable, kind)).validate_json(data, strict=True)
    except ValidationError as error:
        raise CorruptFile(_first_problem(error), where=where, todo=todo) from error


@dataclass(frozen=True)
class _Formatted:
    format: object = None


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # takes 0.1 s, which --help need not wait for

    return TypeAdapter(kind)


def _first_problem(error: ValidationError) -> str:
    """What is wrong with a file, by the first of pydantic's findings."""
    problem = error.errors(include_url=False)[0]
    reason = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "json_invalid":
        return f"is not JSON ({reason.removeprefix('Invalid JSON: ')})"
    if problem["type"] == "missing":
        return f"lacks '{place}'"
    value = short_repr(problem["input"])
    return f"'{place}' {reason}, and is {value}" if place else f"is no JSON object but {value}"


def _check_format(number: object, path: Path, todo: str) -> None:
    """Refuses the formats of other versions."""
    is_number = type(number) is int  # which True is not
    if is_number and number == FORMAT:
        return
    if is_number:
        todo = "Install the sbiwb that wrote it."
    what = f"has format {short_repr(number)}, this version reads format {FORMAT}"
    raise CorruptFile(what, where=path, todo=todo)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def stable_hash(value: Any) -> str:
    """sha256 of a JSON value, independent of key order."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def remove_orphans(folder: Path, older_than_s: float = 3600) -> int:
    """Removes temporary files that killed processes left behind; says how many."""
    orphans = [
        path for path in folder.glob(".*.tmp") if time.time() - path.stat().st_mtime > older_than_s
    ]
    for path in orphans:
        _discard(path)
    return len(orphans)


def finite(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same, None for floats that are not finite: JSON has no numbers for them."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in facts.items()
    }
