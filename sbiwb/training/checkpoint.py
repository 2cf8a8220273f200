"""Checkpoints: plain values and tensors in one file, with a checksum; the newest valid one wins."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from sbiwb.errors import CorruptFile, DiskError
from sbiwb.files import FORMAT, put, sha256
from sbiwb.rundir import CHECKPOINTS
from sbiwb.training.training_progress import Progress

KEPT = 2
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From the content of a format to that of the next; the tests keep a golden run of each."""

TODO = (
    "Run `sbiwb train` on the config: it goes on from the newest whole checkpoint, or begins again."
)


def put_checkpoint(path: Path, state: Mapping[str, object]) -> None:
    """Writes a state of tensors and plain Python, whole or absent.

    `torch.load` does not notice a flipped bit, so the state is wrapped with the sha256 of its own
    bytes.
    """
    payload = _saved(dict(state))
    wrapped = {
        "format": FORMAT,
        "sha256": sha256(payload),
        "payload": torch.frombuffer(bytearray(payload), dtype=torch.uint8),
    }
    put(path, _saved(wrapped))


def _saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def read_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Reads what `put_checkpoint` wrote.

    Raises:
        CorruptFile: Cut, altered, of another format, or holding anything but tensors and plain
            values by name.
        DiskError: Missing or unreadable.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DiskError.of(error, path) from error
    try:
        wrapped = _loaded(data)
        number, payload = wrapped["format"], wrapped["payload"].numpy().tobytes()
        whole = sha256(payload) == wrapped["sha256"]
    except Exception as error:  # torch raises many kinds for a cut or foreign file
        raise CorruptFile("is not a whole checkpoint", where=path, todo=TODO) from error
    if number != FORMAT and number not in UPGRADES:
        raise CorruptFile(
            f"has format {number!r}, this version reads formats up to {FORMAT}",
            where=path,
            todo="Install the sbiwb that wrote it.",
        )
    if not whole:
        raise CorruptFile("was altered: its checksum differs", where=path, todo=TODO)
    try:
        content = _loaded(payload, device)
        for older in range(number, FORMAT):
            content = UPGRADES[older](content)
    except Exception as error:
        raise CorruptFile("is not a checkpoint of sbiwb", where=path, todo=TODO) from error
    return content


def _loaded(data: bytes, device: str = "cpu") -> dict[str, Any]:
    content = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    if not isinstance(content, dict):
        raise TypeError(f"holds a {type(content).__name__}")
    return content


def checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob(CHECKPOINTS))


def keep_last(folder: Path) -> None:
    """Removes all but the last two."""
    for path in checkpoints(folder)[:-KEPT]:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Checkpoint:
    """A state to go on from.

    Args:
        path: Its file.
        content: What the file holds by name; `trainer` is the state of a `Trainer`.
    """

    path: Path
    content: dict[str, Any]

    @property
    def trainer(self) -> dict[str, Any]:
        return self.content["trainer"]

    @property
    def progress(self) -> Progress:
        return Progress(**self.trainer["progress"])


def newest(folder: Path, device: str = "cpu") -> tuple[Checkpoint | None, list[CorruptFile]]:
    """The newest valid checkpoint of a training, or None; and what was wrong with newer ones."""
    wrong: list[CorruptFile] = []
    for path in reversed(checkpoints(folder)):
        try:
            content = read_checkpoint(path, device)
            check_state(content.get("trainer"), path)
        except CorruptFile as error:
            wrong.append(error)
        else:
            return Checkpoint(path, content), wrong
    return None, wrong


_PROGRESS = TypeAdapter(Progress)
_STATE: dict[str, type | tuple[type, ...]] = {
    "module": dict,
    "averages": Tensor,
    "best": dict,
    "optimizer": dict,
    "good": dict,
    "recent": Tensor,
    "norm": Tensor,
    "source": dict,
    "progress": dict,
    "torch_rng": Tensor,
    "cuda_rng": (Tensor, type(None)),
}


def check_state(state: object, path: Path) -> None:
    """Whether a value is what `Trainer.state` gives, as far as types go.

    Raises:
        CorruptFile: A part is missing or of another type.
    """
    if not isinstance(state, dict):
        raise CorruptFile("holds no training to go on from", where=path, todo=TODO)
    for name, kind in _STATE.items():
        if name not in state or not isinstance(state[name], kind):
            raise CorruptFile(f"holds no valid '{name}'", where=path, todo=TODO)
    try:
        _PROGRESS.validate_json(json.dumps(state["progress"]), strict=True)
    except ValidationError as error:
        field = ".".join(["progress", *map(str, error.errors()[0]["loc"])])
        raise CorruptFile(f"holds no valid '{field}'", where=path, todo=TODO) from error
    except TypeError as error:
        raise CorruptFile("holds no valid 'progress'", where=path, todo=TODO) from error
