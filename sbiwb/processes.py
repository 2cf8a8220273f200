"""Control of processes: they die with their parent, end with all they started, and say in words how
they ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
"""Environment of a process that computes with one thread."""

_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be imported
_PR_SET_PDEATHSIG = 1


def usable_cores() -> int:
    """Cores this process may run on; a batch system may have bound it to few."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def die_with_parent(parent: int | None = None) -> None:
    """In a child: asks the kernel to kill it when its parent ends. Linux only; elsewhere nothing
    happens.

    Args:
        parent: Number of the parent, where the child knows it. A parent that ended before the child
            could ask sends no signal any more, so the child ends at once.
    """
    if hasattr(_LIBC, "prctl"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def end_group(pid: int) -> None:
    """Kills every process of the group that `pid` leads; the group outlives its leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether this machine has a process of that number, our own or another user's.

    Example:
        >>> is_alive(os.getpid())
        True
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def describe_exit(code: int) -> str:
    """How a process ended.

    Args:
        code: Exit code as `subprocess` gives it: -N for a process that signal N killed.

    Example:
        >>> describe_exit(3), describe_exit(-11), describe_exit(-77)
        ('exit code 3', 'killed by SIGSEGV', 'killed by signal 77')
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
