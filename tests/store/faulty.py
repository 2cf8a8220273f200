"""A disk that crashes at the n-th operation, and then forgets whatever was not synced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from sbiwb.errors import CorruptFile
from sbiwb.files import Disk
from sbiwb.store import manifest
from sbiwb.store.shard_record import read_record
from sbiwb.store.shards import read_bytes


class Crash(BaseException):
    """The machine stops here."""


class CrashDisk(Disk):
    """Crashes at operation `at`; `power_cut` then does the worst that POSIX allows.

    Args:
        at: Number of the operation, from 1.
        skip: `file` or `folder`: a mutant that leaves out that sync, to prove that the campaign
            would notice.
    """

    def __init__(self, at: int, skip: str = "") -> None:
        self.at, self.skip, self.count = at, skip, 0
        self.torn: set[Path] = set()
        self.renames: list[tuple[Path, bytes | None]] = []
        self.folders: list[Path] = []

    def _tick(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Crash

    def write(self, path: Path, data: bytes) -> None:
        self._tick()
        self.torn.add(path)
        path.write_bytes(data[: len(data) // 2])
        self._tick()
        path.write_bytes(data)
        self._tick()
        if self.skip != "file":
            self.torn.discard(path)
        self._tick()

    def replace(self, source: Path, target: Path) -> None:
        self.renames.append((target, target.read_bytes() if target.exists() else None))
        os.replace(source, target)
        if source in self.torn:
            self.torn = (self.torn - {source}) | {target}
        self._tick()

    def sync_folder(self, folder: Path) -> None:
        if self.skip != "folder":
            self.renames = [one for one in self.renames if one[0].parent != folder]
            self.folders = [one for one in self.folders if one.parent != folder]
        self._tick()

    def make_folder(self, folder: Path) -> None:
        there = {one for one in (folder, *folder.parents) if one.exists()}
        made = [one for one in (folder, *folder.parents) if one not in there]
        self.folders += made
        super().make_folder(folder)

    def power_cut(self, undo: bool) -> None:
        """Tears unsynced data; with `undo`, unsynced renames and new folders never happened
        either."""
        import shutil

        for path in self.torn:
            if path.exists():
                path.write_bytes(b"\0" * (path.stat().st_size // 3))
        if not undo:
            return
        for target, old in reversed(self.renames):
            target.unlink(missing_ok=True)
            if old is not None:
                target.write_bytes(old)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


class RefusingDisk(Disk):
    """Raises an error of the operating system at the n-th call of one operation."""

    def __init__(self, operation: str, number: int, at: int = 1) -> None:
        self.operation, self.number, self.left = operation, number, at
        real: Callable = getattr(self, operation)

        def refuse(*arguments):
            self.left -= 1
            if self.left == 0:
                if operation == "write":
                    arguments[0].write_bytes(arguments[1][:7])
                raise OSError(number, os.strerror(number))
            return real(*arguments)

        setattr(self, operation, refuse)


MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO)


def damaged_shards(folder: Path) -> list[tuple[Path, CorruptFile]]:
    """The shards whose record cannot be read or differs from their bytes, each with what is
    wrong."""
    bad = []
    for path in manifest.shard_files(folder):
        try:
            record = read_record(path)
            assert record is not None
            read_bytes(path, record)
        except CorruptFile as error:
            bad.append((path, error))
    return bad
