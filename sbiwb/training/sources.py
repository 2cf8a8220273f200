"""Training pairs as tensors, and where the pairs of a step come from; here: from memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sbiwb.errors import ConfigError
from sbiwb.seeds import generator

Inputs = dict[str, tuple[Tensor, Tensor | None]]
"""Values and mask by input."""
ArrayInputs = Mapping[str, tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class TensorPairs:
    """N pairs ready for the network.

    Args:
        z: Unconstrained parameters, (N, D) float32.
        inputs: Values (N, C) or (N, M, C) float32 and mask (N, M), by input.
    """

    z: Tensor
    inputs: Inputs

    @classmethod
    def of(cls, z: np.ndarray, inputs: ArrayInputs, device: str) -> TensorPairs:
        """From the adapter's arrays."""
        return cls(_tensor(z.astype(np.float32), device), to_tensors(inputs, device))

    def __len__(self) -> int:
        return len(self.z)

    def take(self, rows: Tensor) -> TensorPairs:
        """The pairs at `rows` (B,)."""
        return self.reshaped(lambda tensor: tensor.index_select(0, rows))

    def __getitem__(self, piece: slice) -> TensorPairs:
        """A slice of the pairs, without copying."""
        return self.reshaped(lambda tensor: tensor[piece])

    def to(self, device: str | torch.device) -> TensorPairs:
        """The pairs on a device."""
        return self.reshaped(lambda tensor: tensor.to(device))

    def reshaped(self, change: Callable[[Tensor], Tensor]) -> TensorPairs:
        """The pairs with every tensor changed."""
        inputs: Inputs = {}
        for name, (values, mask) in self.inputs.items():
            if mask is not None:
                mask = change(mask)
            inputs[name] = change(values), mask
        return TensorPairs(change(self.z), inputs)

    def chunks(self, size: int) -> Iterator[TensorPairs]:
        """All pairs in order, `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))


def to_tensors(arrays: ArrayInputs, device: str) -> Inputs:
    """The adapter's arrays on a device."""
    inputs: Inputs = {}
    for name, (values, mask) in arrays.items():
        tensor = None
        if mask is not None:
            tensor = _tensor(mask, device)
        inputs[name] = _tensor(values, device), tensor
    return inputs


def _tensor(array: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


SourceState = dict[str, Any]
"""What a resumed run needs of a source: plain values and tensors."""


class BatchSource(ABC):
    """Where the pairs of a step come from.

    As it stands here, one whose batches depend on (seed, step) alone.

    Args:
        pairs: Training pairs of an epoch; None where there is no end of them.
        batch_size: Pairs a step, those of all ranks together.
        steps_per_epoch: Steps in which each pair is seen once at most.
    """

    pairs: int | None
    batch_size: int
    steps_per_epoch: int

    @abstractmethod
    def batch(self, step: int) -> TensorPairs:
        """This rank's share of the pairs of a step, on its device.

        Steps are asked for in order, from any first one.
        """

    def facts(self) -> dict[str, object]:
        """For the progress line."""
        return {}

    def state(self) -> SourceState:
        """What a resumed run needs, plain values and tensors."""
        return {}

    def load(self, state: SourceState) -> None:  # noqa: B027 (nothing to go back to is the rule)
        """Goes back to a saved state."""

    def close(self) -> None:  # noqa: B027 (nor anything to end)
        """Ends threads and processes."""


class MemoryPairs(BatchSource):
    """All pairs on the device.

    Each epoch is a permutation from (seed, epoch), so that no sampler state is saved.

    Args:
        data: The pairs, the same in every rank.
        batch_size: Rows a step; all where there are fewer. The rest of an epoch that fills no batch
            is left out, another one each time.
        seed: `train.seed`.
        rows: Which of the pairs there are, (N,); None for all of them, each once.
        rank: Which of `world` processes this is; it takes every `world`-th row of a batch.
        world: Processes that train together.

    Raises:
        ConfigError: The batch cannot be shared equally.
    """

    def __init__(
        self,
        data: TensorPairs,
        batch_size: int,
        seed: int,
        *,
        rows: np.ndarray | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.pairs: int | None = len(data)
        self.data, self.batch_size, self.seed = data, min(batch_size, len(data)), seed
        self.rank, self.world = rank, world
        if self.batch_size % world:
            equal = max(world, self.batch_size - self.batch_size % world)
            raise ConfigError(
                f"{self.batch_size} pairs cannot be shared equally by {world} processes",
                where="train.batch_size",
                todo=f"Take {equal}, of at most {len(data)} pairs.",
            )
        self.steps_per_epoch = len(data) // self.batch_size
        if rows is None:
            rows = np.arange(len(data))
        self._rows = rows
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def batch(self, step: int) -> TensorPairs:
        return self.data.take(self.rows(step))

    def rows(self, step: int) -> Tensor:
        """This rank's rows of a step, on the device."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = self._rows[generator(self.seed, "epoch", epoch).permutation(len(self._rows))]
            self._epoch, self._order = epoch, torch.from_numpy(order).to(self.data.z.device)
        rows = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        if self.world == 1:
            return rows
        return rows[self.rank :: self.world]


class MemberPairs(BatchSource):
    """Batches of M networks that train together, side by side.

    z is (M, B, D), and inputs have M in front likewise.

    Args:
        sources: One for each network, on the same data.
    """

    def __init__(self, sources: Sequence[MemoryPairs]) -> None:
        self._sources, first = tuple(sources), sources[0]
        self.pairs: int | None = first.pairs
        self.batch_size, self.steps_per_epoch = first.batch_size, first.steps_per_epoch

    def batch(self, step: int) -> TensorPairs:
        rows = torch.cat([source.rows(step) for source in self._sources])
        pairs = self._sources[0].data.take(rows)
        return pairs.reshaped(lambda tensor: tensor.unflatten(0, (len(self._sources), -1)))


class SharedPairs(BatchSource):
    """The batches of another source, the same for each of M networks that train together.

    Args:
        source: Whose batches.
        members: M.
    """

    def __init__(self, source: BatchSource, members: int) -> None:
        self.source, self.members = source, members
        self.pairs: int | None = source.pairs
        self.batch_size, self.steps_per_epoch = source.batch_size, source.steps_per_epoch

    def batch(self, step: int) -> TensorPairs:
        pairs = self.source.batch(step)
        return pairs.reshaped(lambda tensor: tensor.expand(self.members, *tensor.shape))

    def facts(self) -> dict[str, object]:
        return self.source.facts()

    def state(self) -> SourceState:
        return self.source.state()

    def load(self, state: SourceState) -> None:
        self.source.load(state)

    def close(self) -> None:
        self.source.close()
