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
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from queue import SimpleQueue
from threading import Thread, current_thread

import torch
from torch import Tensor

from sbiwb.errors import ConfigError, DataError
from sbiwb.seeds import generator
from sbiwb.training.sources import BatchSource, Inputs, TensorPairs

CHECK_S = 0.1  # between two looks at whether to go on waiting
CLOSE_S = 2.0  # for the thread to end what it is in; then it is left alone: it reads only

Load = Callable[[int], TensorPairs]


@dataclass(frozen=True)
class Window:
    """Some shards of an epoch whose pairs are shuffled together.

    Args:
        epoch: Its epoch.
        index: Its place among the windows of this rank's epoch.
        start: Pairs of this rank's epoch before it.
        rows: Pairs in it.
        shards: Numbers of its shards.
    """

    epoch: int
    index: int
    start: int
    rows: int
    shards: tuple[int, ...]


@dataclass(frozen=True)
class WindowOrder:
    """Which windows an epoch has on one rank, from (seed, epoch) and the sizes alone.

    Args:
        rows: Pairs of each shard.
        window: Pairs of a window at most; a larger shard is a window of its own.
        seed: `train.seed`.
        rank: Which process this is.
        world: Processes in all; this one has every world-th shard of the epoch's permutation.
    """

    rows: tuple[int, ...]
    window: int
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def min_rows_per_rank(self) -> int:
        """Pairs that every rank has in every epoch, however the shards fall.

        They are those of the smallest shards, as few as a rank can get.
        """
        return sum(sorted(self.rows)[: len(self.rows) // self.world])

    def windows(self, epoch: int) -> list[Window]:
        """All windows of an epoch, in order."""
        order = generator(self.seed, "epoch", epoch).permutation(len(self.rows))
        windows: list[Window] = []
        start, rows, group = 0, 0, list[int]()
        for shard in order[self.rank :: self.world].tolist():
            if group and rows + self.rows[shard] > self.window:
                windows.append(Window(epoch, len(windows), start, rows, tuple(group)))
                start, rows, group = start + rows, 0, []
            rows += self.rows[shard]
            group.append(shard)
        return [*windows, Window(epoch, len(windows), start, rows, tuple(group))]

    def slots(self, window: Window) -> Tensor:
        """Where each pair of the window's shards, end to end, comes to stand in it, (rows,)."""
        rng = generator(self.seed, "epoch", window.epoch, self.rank, window.index)
        return torch.from_numpy(rng.permutation(window.rows))


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


class Prefetcher:
    """One daemon thread that makes a window before it is needed.

    Not an executor: its threads are waited for at exit, and one that hangs on a lost network disk
    would hang the command.
    """

    def __init__(self, make: Callable[[Window, Callable[[], bool]], TensorPairs | None]) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._job: _Job | None = None
        self._thread = Thread(
            target=_work, args=(self._jobs, make), name="sbiwb-stream", daemon=True
        )
        self._thread.start()

    def ask(self, window: Window) -> _Job:
        """Begins to make a window; what was asked for before and not taken is given up."""
        self._drop()
        self._job = _Job(window, Future())
        self._jobs.put(self._job)
        return self._job

    def take(self, window: Window, check: Callable[[], None]) -> TensorPairs:
        """The window, as soon as it is made."""
        job = self._job
        if job is None or job.window != window:
            job = self.ask(window)
        try:
            while not wait([job.result], CHECK_S).done:
                check()
            return job.result.result()
        finally:
            self._drop()

    def close(self) -> None:
        """Gives up what is being made and ends the thread."""
        self._drop()
        self._jobs.put(None)
        if self._thread is not current_thread():  # where the garbage collector runs does not matter
            self._thread.join(CLOSE_S)

    def _drop(self) -> None:
        if self._job:
            self._job.result.cancel()
            self._job = None


@dataclass(frozen=True)
class _Job:
    """A window that is wanted; a cancelled result is wanted no more."""

    window: Window
    result: Future[TensorPairs]


def _work(
    jobs: SimpleQueue[_Job | None], make: Callable[[Window, Callable[[], bool]], TensorPairs | None]
) -> None:
    """The thread: makes what is asked for, until None."""
    while (job := jobs.get()) is not None:
        _serve(job, make)


def _serve(job: _Job, make: Callable[[Window, Callable[[], bool]], TensorPairs | None]) -> None:
    with suppress(InvalidStateError):  # cancelled meanwhile
        try:
            made = make(job.window, job.result.cancelled)
        except BaseException as error:
            job.result.set_exception(error)
        else:
            if made is not None:
                job.result.set_result(made)


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
