"""Executors: who runs tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol


class Executor(Protocol):
    """Runs tasks somewhere; resuming is not its business."""

    @property
    def workers(self) -> int:
        """Tasks that run at a time."""
        ...

    def run(
        self, work: Callable[[dict], object], tasks: Sequence[dict]
    ) -> Iterator[tuple[dict, Any]]:
        """(task, result) in order of completion.

        Args:
            work: Importable, so that other processes find it.
            tasks: Plain data, which JSON can carry.

        Returns:
            Each task with its result, or the exception with which it failed.
        """
        ...
