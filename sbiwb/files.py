"""Durable files: whole or absent under their final name, whatever is killed when.

Image in memory, temporary name, fsync, rename, fsync of the folder. Every operation goes through one `Disk`, so that tests can break it.
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sbiwb.errors import CorruptFile, DiskError

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
        """Makes a folder and those above it; each new name is synced, or a power cut would take what lies inside."""
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


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object written by `put_json`.

    Raises:
        CorruptFile: Not JSON, not an object, or of a format this version does not know.
    """
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptFile(
            f"is not JSON ({error})", where=path, todo="Delete it and run the same command again."
        ) from error
    except OSError as error:
        raise DiskError.of(error, path) from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else None
        raise CorruptFile(
            f"has format {found!r}, this version reads format {FORMAT}",
            where=path,
            todo="Install the sbiwb that wrote it.",
        )
    return value


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
