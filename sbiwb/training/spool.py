"""Shards as the network reads them, written once to a scratch folder.

Reading a shard checks its sha256, unpacks HDF5 and adapts every value in float64; with three epochs
and more, doing so once and keeping the float32 result pays. The files are of this process alone,
and go when it ends.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sbiwb.errors import DiskError
from sbiwb.training.sources import Inputs, TensorPairs

RESERVE = 2 << 30  # bytes of the disk that are left free


class DecodedShardCache:
    """A loader that remembers on disk what another loader gave.

    Args:
        load: Shard number to its pairs, on the CPU.
        folder: Scratch folder; what an earlier process left there is removed.
        device: Where the pairs go.
    """

    def __init__(
        self, load: Callable[[int], TensorPairs], folder: Path, device: str = "cpu"
    ) -> None:
        self._load, self._folder, self._device = load, folder, device
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise DiskError.of(error, folder) from error

    def __call__(self, number: int) -> TensorPairs:
        path = self._folder / f"{number}.npz"
        if path.is_file():
            pairs = _read(path)
        else:
            pairs = self._load(number)
            if shutil.disk_usage(self._folder).free > RESERVE:  # checkpoints come first
                _write(path, pairs)
        if self._device == "cpu":
            return pairs
        return pairs.to(self._device)

    def close(self) -> None:
        """Removes the files."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _write(path: Path, pairs: TensorPairs) -> None:
    """One file, whole or absent.

    A full scratch disk is no reason to stop, as the shard can be read again.
    """
    arrays = {"z": pairs.z.numpy()}
    for name, (values, mask) in pairs.inputs.items():
        arrays[f"values {name}"] = values.numpy()
        if mask is not None:
            arrays[f"mask {name}"] = mask.numpy()
    fresh = path.with_suffix(".part")
    try:
        with open(fresh, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)


def _read(path: Path) -> TensorPairs:
    """Pairs of a cached shard; the archive's own checksums are compared."""
    with np.load(path, allow_pickle=False) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    inputs: Inputs = {}
    for key, values in tensors.items():
        kind, _, name = key.partition(" ")
        if kind == "values":
            inputs[name] = values, tensors.get(f"mask {name}")
    return TensorPairs(tensors["z"], inputs)
