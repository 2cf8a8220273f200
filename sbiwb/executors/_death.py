"""The death of a worker process, as a result that whoever gave it the task may mend."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from sbiwb.errors import SimulatorError

TOLD = ("run", "split", "first_block", "n")  # of a task


class WorkerDied(SimulatorError):
    """The process that ran a task died of it, more than once; other tasks go on."""


def death(error: BaseException | None, task: Mapping[str, Any], tries: int) -> WorkerDied:
    """What is told of a task that ended `tries` processes, the last one with this error."""
    return WorkerDied(
        f"a worker process died {tries} times ({_cause(error)})",
        where="task " + ", ".join(f"{name} {task[name]}" for name in TOLD if name in task),
        todo="Run `sbiwb check` on the config with --set machine.executor=serial to see where the simulator crashes.",
    )


def _cause(error: BaseException | None) -> str:
    """`SIGSEGV` or `exit code 3`, where the error says it."""
    code = getattr(error, "exitcode", None)
    if code is None:
        return str(error)
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
