"""What surrounds a call of the user's function: its time, its memory, and what it forks."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sbiwb.simulation.failures import SimulatorTimeout

GIGABYTE = 1e9
_STATM = Path("/proc/self/statm")


@contextmanager
def guarded(timeout_s: float | None, memory_gb: float | None) -> Iterator[None]:
    """A call with a time limit and a memory limit, None for either where there is none."""
    with end_forks(), alarm(timeout_s), memory_limit(memory_gb):
        yield


def hard_timeout_s(timeout_s: float) -> float:
    """Seconds after which a call is given up from outside.

    Compiled code does not heed the alarm; Python code has had its chance by then.
    """
    return 1.5 * timeout_s + 1


@contextmanager
def end_forks() -> Iterator[None]:
    """A simulator that forks comes back twice: the copy ends here, before it does our work."""
    here = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != here:
            os._exit(0)


@contextmanager
def alarm(seconds: float | None) -> Iterator[None]:
    """Raises `SimulatorTimeout` inside the user's Python code; needs the main thread.

    Compiled code does not hear it. In a worker process, which can be replaced, a watchdog outside
    of Python then ends the process.

    Args:
        seconds: After which it rings; None never.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise SimulatorTimeout(seconds)

    is_worker = multiprocessing.parent_process() is not None
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if is_worker:
        faulthandler.dump_traceback_later(hard_timeout_s(seconds), exit=True, file=2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if is_worker:
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def memory_limit(gigabytes: float | None) -> Iterator[None]:
    """Lets the address space of this process grow by `gigabytes` at most.

    What asks for more gets a MemoryError, compiled code a null pointer.
    """
    if gigabytes is None or not _STATM.exists():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    hard = before[1]
    limit = _address_space() + int(gigabytes * GIGABYTE)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    """Bytes of address space that this process has taken."""
    pages = _STATM.read_text().split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
