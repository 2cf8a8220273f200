"""What every executor is given and gives back: tasks of JSON, and the death of a worker as a result
that the caller may mend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from sbiwb.errors import SbiwbError, SimulatorError

R = TypeVar("R")
Task = dict[str, Any]
"""Plain data, so that it can go to any process on any machine as JSON."""

Work = Callable[[Task], R]
"""An importable function of a task."""

Results = Iterator[tuple[Task, R | SbiwbError]]
"""A task and its result, or the failure of it that a user can mend."""

NAMED_KEYS = ("run", "split", "first_block", "n")
"""Keys of a task that say which one it is."""


class WorkerDied(SimulatorError):
    """The process that ran a task died of it, more than once; other tasks go on."""


def worker_died(task: Mapping[str, object], *, times: int, cause: str) -> WorkerDied:
    """The failure of a task under which `times` processes ended, the last one by `cause`."""
    names = [f"{key} {task[key]}" for key in NAMED_KEYS if key in task]
    return WorkerDied(
        f"a worker process died {times} times ({cause})",
        where="task " + ", ".join(names),
        todo="Run `sbiwb check` on the config with --set machine.executor=serial "
        "to see where the simulator crashes.",
    )
