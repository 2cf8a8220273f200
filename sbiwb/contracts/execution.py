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
        self, work: Callable[[dict[str, Any]], Any], tasks: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """(task, result) in order of completion; `result` is an exception where the task failed.
        `work` is importable, tasks JSON.
        """
        ...
