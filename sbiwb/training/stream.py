"""Training pairs larger than memory: whole shards read ahead by a thread and shuffled in windows.

An epoch is one permutation of the shards. Neighbours in it form windows of a bounded number of
pairs, and the pairs of a window are permuted. All of this follows from (seed, epoch) and the sizes
of the shards, so that step k is known without the steps before it. A pair meets only those of its
window in a batch: no loss, for the pairs of a shard are independent draws in no order.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter

import torch
from torch import Tensor

from sbiwb.errors import ConfigError, DataError
from sbiwb.training.prefetch import Prefetcher
from sbiwb.training.sources import BatchSource, Inputs, TensorPairs
from sbiwb.training.window_order import Window, WindowOrder

Load = Callable[[int], TensorPairs]


class StreamedPairs(BatchSource):
    """A `BatchSource` of training pairs that are read from shards while they are used.

    Two windows are in memory at most, the one in use and the one on its way, besides the shard that
    is being loaded. Each pair is seen once an epoch, but for the rest that fills no batch. With
    several ranks an epoch has as many steps as the rank with the fewest pairs could ever take
    (`WindowOrder.min_rows_per_rank`), so that no rank waits for another one that has ended. What
    others hold beyond that is left out, other shards each time: at most one shard a rank, plus the
    difference of the shard sizes. Make shards many, or their number a multiple of `world`.

    Args:
        load: Shard number to its pairs, on the device that trains; called from another thread, one
            shard at a time.
        rows: Pairs of each shard.
        batch_size: Pairs a step, of all ranks together; fewer where the ranks hold fewer.
        seed: `train.seed`.
        window: Pairs of a window at most, but one shard at least.
        rank: Which process this is.
        world: Processes in all.
        check: Called again and again while waiting; may raise.
        done: Called by `close`, once the thread has ended.

    Raises:
        ConfigError: `batch_size` is no multiple of `world`, or there are fewer shards than ranks.

    Warning:
        The padded length M of a batch is that of its window's longest pair, so it may change from
        batch to batch; a module that is compiled for one length wants `load` to pad to it.

    Example:
        >>> part = TensorPairs(torch.arange(6.0)[:, None], {})
        >>> source = StreamedPairs(lambda shard: part, [6, 6], batch_size=4, seed=0, window=6)
        >>> source.steps_per_epoch, source.batch(2).z.shape
        (3, torch.Size([4, 1]))
        >>> source.close()
    """

    def __init__(
        self,
        load: Load,
        rows: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        window: int,
        rank: int = 0,
        world: int = 1,
        check: Callable[[], None] = lambda: None,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        _check(len(rows), batch_size, world)
        self._order = WindowOrder(tuple(rows), window, seed, rank, world)
        self._share = min(batch_size // world, self._order.min_rows_per_rank)
        self.pairs: int | None = sum(rows)
        self.batch_size = self._share * world
        self.steps_per_epoch = self._order.min_rows_per_rank // self._share
        self.check, self._done = check, done
        self._epoch, self._windows = -1, list[Window]()
        self._held: tuple[Window, TensorPairs] | None = None
        self._ahead = Prefetcher(partial(_fill, load, self._order))
        self._close = weakref.finalize(
            self, self._ahead.close
        )  # also when forgotten, and before the interpreter ends

    def batch(self, step: int) -> TensorPairs:
        """This rank's pairs of a step, (batch_size / world, ...).

        Raises:
            SbiwbError: What `load` raised for a shard of this step's windows, such as CorruptFile.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._windows = epoch, self._order.windows(epoch)
        start, stop = place * self._share, (place + 1) * self._share
        index = bisect_right(self._windows, start, key=attrgetter("start")) - 1
        pieces = []
        while start < stop:
            window = self._windows[index]
            end = min(stop, window.start + window.rows)
            pieces.append(_cut(self._pairs(window), start - window.start, end - window.start))
            start, index = end, index + 1
        if len(pieces) == 1:
            return pieces[0]
        return _join(pieces)

    def close(self) -> None:
        """Ends the thread, without waiting for the rest of the window it is loading."""
        self._held = None
        self._close()
        self._done()

    def _pairs(self, window: Window) -> TensorPairs:
        """The shuffled pairs of a window.

        Those of the one before are let go, and the one after is asked for.
        """
        if self._held is None or self._held[0] != window:
            if not self._close.alive:
                raise RuntimeError("batch() after close()")
            self._held = None  # before the wait: its memory is the next window's
            self._held = window, self._ahead.take(window, self.check)
            self._ahead.ask(self._following(window))
        return self._held[1]

    def _following(self, window: Window) -> Window:
        """The next window that has a pair some step uses."""
        after = self._windows[window.index + 1 : window.index + 2]
        if after and after[0].start < self.steps_per_epoch * self._share:
            return after[0]
        return self._order.windows(window.epoch + 1)[0]


def _check(shards: int, batch_size: int, world: int) -> None:
    if batch_size % world:
        below = batch_size - batch_size % world
        raise ConfigError(
            f"{batch_size} cannot be shared equally by {world} processes",
            where="train.batch_size",
            todo=f"Take {below or world} or {below + world}.",
        )
    if shards < world:
        raise ConfigError(
            f"{shards} shards cannot be shared by {world} processes",
            where="train.regime",
            todo=f"Use {shards} processes at most, or simulate with a smaller simulate.shard_size.",
        )


def _fill(
    load: Load, order: WindowOrder, window: Window, unwanted: Callable[[], bool]
) -> TensorPairs | None:
    """The shuffled pairs of a window; None once it is unwanted.

    Each shard's rows go straight to their places.
    """
    slots, whole, start = order.slots(window), None, 0
    for shard in window.shards:
        if unwanted():
            return None
        part = load(shard)
        if len(part) != order.rows[shard]:
            raise DataError(
                f"has {len(part)} pairs and should have {order.rows[shard]}",
                where=f"training shard {shard}",
                todo="Run `sbiwb simulate` on the config.",
            )
        whole = _put(whole, part, slots[start : start + len(part)].to(part.z.device), window.rows)
        start += len(part)
        del part  # before the next one is read
    return whole


def _cut(pairs: TensorPairs, start: int, stop: int) -> TensorPairs:
    """A copy of some neighbours: a view would keep their window in memory."""
    return pairs[start:stop].reshaped(torch.clone)


def _join(parts: Sequence[TensorPairs]) -> TensorPairs:
    """Pairs end to end."""
    rows = sum(len(part) for part in parts)
    whole, slots = None, torch.arange(rows, device=parts[0].z.device)
    for part in parts:
        whole, slots = _put(whole, part, slots[: len(part)], rows), slots[len(part) :]
    assert whole is not None
    return whole


def _put(whole: TensorPairs | None, part: TensorPairs, slots: Tensor, rows: int) -> TensorPairs:
    """Puts some pairs at their places among others.

    Args:
        whole: (rows, ...); begun where it is None, and padded where the part is longer.
        part: B pairs.
        slots: Their places, (B,).
        rows: Pairs of the whole.
    """
    if whole is None:
        whole = part.reshaped(lambda tensor: tensor.new_zeros(rows, *tensor.shape[1:]))
    inputs: Inputs = {}
    for name, (values, mask) in part.inputs.items():
        old, old_mask = whole.inputs[name]
        if mask is not None and old_mask is not None:
            mask = _scatter(old_mask, mask, slots)
        inputs[name] = _scatter(old, values, slots), mask
    return TensorPairs(_scatter(whole.z, part.z, slots), inputs)


def _scatter(whole: Tensor, part: Tensor, slots: Tensor) -> Tensor:
    """One tensor of `_put`; the second axis may be padded, by zero or False."""
    if part.shape[1] > whole.shape[1]:
        shorter, whole = whole, part.new_zeros(len(whole), *part.shape[1:])
        whole[:, : shorter.shape[1]] = shorter
    whole[:, : part.shape[1]].index_copy_(0, slots, part)
    return whole
