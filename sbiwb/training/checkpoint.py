"""Checkpoints: plain values and tensors in one file with its own checksum; read with `weights_only`, the newest valid one wins."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from sbiwb.errors import CorruptFile, DiskError
from sbiwb.files import FORMAT, put, sha256

KEPT = 2


def put_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a state of tensors and plain Python, whole or absent.

    `torch.load` does not notice a flipped bit, so the state is wrapped with the sha256 of its own bytes.
    """
    payload = _saved(state)
    wrapped = {
        "format": FORMAT,
        "sha256": sha256(payload),
        "payload": torch.frombuffer(bytearray(payload), dtype=torch.uint8),
    }
    put(path, _saved(wrapped))


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def read_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Reads what `put_checkpoint` wrote.

    Raises:
        CorruptFile: Cut, altered, of another format, or holding anything but tensors and plain values.
        DiskError: Missing or unreadable.
    """
    todo = "Run `sbiwb train` on the config: it goes on from the newest whole checkpoint, or begins again."
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DiskError.of(error, path) from error
    try:
        wrapped = torch.load(io.BytesIO(data), weights_only=True)
        found, payload = wrapped["format"], wrapped["payload"].numpy().tobytes()
        whole = sha256(payload) == wrapped["sha256"]
    except Exception as error:  # torch raises many kinds for a cut or foreign file
        raise CorruptFile("is not a whole checkpoint", where=path, todo=todo) from error
    if found != FORMAT:
        raise CorruptFile(
            f"has format {found!r}, this version reads format {FORMAT}",
            where=path,
            todo="Install the sbiwb that wrote it.",
        )
    if not whole:
        raise CorruptFile("was altered: its checksum differs", where=path, todo=todo)
    return torch.load(io.BytesIO(payload), map_location=device, weights_only=True)


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step:09d}.pt"


def checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def keep_last(folder: Path) -> None:
    """Removes all but the last two."""
    for path in checkpoints(folder)[:-KEPT]:
        path.unlink(missing_ok=True)


def newest(folder: Path, device: str = "cpu") -> tuple[dict[str, Any] | None, list[CorruptFile]]:
    """The newest valid state, or None; and what was wrong with newer ones."""
    wrong: list[CorruptFile] = []
    for path in reversed(checkpoints(folder)):
        try:
            return read_checkpoint(path, device), wrong
        except CorruptFile as error:
            wrong.append(error)
    return None, wrong
