"""Work in chunks of bounded size, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

CHUNK_DRAWS = 4096  # a flat call over hundreds of thousands of draws leaves the cache and is slower
CHUNK_ROWS = 512
Piece = TypeVar("Piece")


def pieces(total: int, size: int) -> Sequence[slice]:
    """Slices of `size` that cover `total`.

    Example:
        >>> pieces(5, 3)
        [slice(0, 3, None), slice(3, 5, None)]
    """
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def draw_blocks(data_sets: int, draws: int) -> Iterator[tuple[slice, slice]]:
    """Data sets and draws of each chunk: many data sets with all draws, or some draws of one."""
    for rows in pieces(data_sets, max(1, CHUNK_DRAWS // max(1, draws))):
        for columns in pieces(draws, CHUNK_DRAWS):
            yield rows, columns


def for_each(work: Callable[[Piece], None], chunks: Iterable[Piece], threads: int) -> None:
    """Works on all chunks, `threads` at a time.

    Torch and the kernels let other threads run; each computes on one core.
    """
    if threads == 1:
        for chunk in chunks:
            work(chunk)
        return
    before = torch.get_num_threads()  # setting it in one thread may set it in all
    try:
        _work_in_threads(work, chunks, threads)
    finally:
        torch.set_num_threads(before)


def _work_in_threads(work: Callable[[Piece], None], chunks: Iterable[Piece], threads: int) -> None:
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = deque[Future[None]]()
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > 2 * threads:
                waiting.popleft().result()
        for future in waiting:
            future.result()
