"""Tasks that workers import: what may go right and wrong in another process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from sbiwb.errors import DataError


def double(task: dict[str, Any]) -> int:
    return 2 * task["n"]


def odd_fail(task: dict[str, Any]) -> int:
    if task["n"] % 2:
        raise DataError(f"{task['n']} is odd", where="here", todo="Use even ones.")
    return task["n"]


def bug(task: dict[str, Any]) -> int:
    raise ZeroDivisionError("ours")


def die_once(task: dict[str, Any]) -> int:
    mark = Path(task["folder"]) / str(task["n"])
    if task["n"] == 1 and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return task["n"]


def die_always(task: dict[str, Any]) -> int:
    if task["n"] == 1:
        os.kill(os.getpid(), task.get("signal", signal.SIGKILL))
    return task["n"]


def leave(task: dict[str, Any]) -> int:
    os._exit(3)


def mark_and_wait(task: dict[str, Any]) -> int:
    (Path(task["folder"]) / f"{os.getpid()}.pid").write_text("")
    time.sleep(60)
    return 0


def threads(task: dict[str, Any]) -> str:
    return os.environ["OMP_NUM_THREADS"]


def leave_quietly(task: dict[str, Any]) -> int:
    if task["n"] == 1:
        os._exit(0)
    return task["n"]


def shout_and_litter(task: dict[str, Any]) -> int:
    os.write(1, b"x" * 1_000_000)
    os.write(2, b"y" * 1_000_000)
    return subprocess.Popen(["sleep", "1000"]).pid


def hang_in_compiled_code(task: dict[str, Any]) -> int:
    from sbiwb.simulation.guards import alarm

    if task["n"] == 1:
        with alarm(0.2):
            sum(itertools.repeat(0))
    return task["n"]
