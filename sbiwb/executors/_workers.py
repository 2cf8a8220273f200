"""Worker processes on this machine: started fresh, watched, replaced as they die, ended with all
they started.

Spawned, not forked: fork is unsafe beside the threads of BLAS, torch and HDF5.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

from pebble import ProcessExpired, ProcessPool

from sbiwb.errors import SbiwbError
from sbiwb.executors._tasks import R, Task, Work, worker_died
from sbiwb.processes import ONE_THREAD, describe_exit, die_with_parent, end_group, is_alive

MAX_DEATHS = 2  # processes that may end under a task before it is given up
SILENT_DEATH_S = 1.0  # a process gone for so long is not just about to be reported


@dataclass(eq=False)
class PendingTask(Generic[R]):
    """A task, waiting or with a worker.

    Args:
        task: What was asked for.
        future: Its result to come.
        mark: A file that holds the number of the process that works on it.
        deaths: Processes that ended under it.
        gone_since: When that process was first seen to be gone without a result.
    """

    task: Task
    future: Future[R] = field(default_factory=Future)
    mark: Path = Path()
    deaths: int = 0
    gone_since: float | None = None

    @property
    def is_done(self) -> bool:
        """Whether there is a result, a failure, or a death."""
        return self.future.done()

    @property
    def error(self) -> BaseException | None:
        """What its work raised, or what its process died of; None as long as there is neither."""
        if not self.future.done() or self.future.cancelled():
            return None
        return self.future.exception()

    @property
    def has_died(self) -> bool:
        """Whether its process died, or the pool over it."""
        return isinstance(self.error, ProcessExpired | BrokenProcessPool)

    @property
    def broke_pool(self) -> bool:
        """Whether the pool over it broke."""
        return isinstance(self.error, BrokenProcessPool)

    @property
    def pid(self) -> int | None:
        """The process that works on it; None before it has begun."""
        try:
            return int(self.mark.read_text())
        except (OSError, ValueError):
            return None

    def fail(self, error: Exception) -> None:
        """Gives it this failure instead of what was to come."""
        self.future.cancel()
        self.future = Future()
        self.future.set_exception(error)

    def count_death(self) -> bool:
        """Counts a death, ends what the process left running; whether it was one too many."""
        if isinstance(self.error, ProcessExpired) and self.error.pid is not None:
            end_group(self.error.pid)
        self.deaths += 1
        return self.deaths >= MAX_DEATHS

    def death(self) -> SbiwbError:
        """Why it is given up."""
        cause = str(self.error)
        if isinstance(self.error, ProcessExpired):
            cause = describe_exit(self.error.exitcode)
        return worker_died(self.task, times=MAX_DEATHS, cause=cause)

    def result(self) -> R | SbiwbError:
        """Its value or its failure that a user can mend; anything else is our bug and rises."""
        error = self.future.exception()
        if isinstance(error, SbiwbError):
            return error
        return self.future.result()


class WorkerPool(Generic[R]):
    """Processes that are replaced one by one as they die, and all at once where a death has broken
    the pool over them.

    Args:
        workers: Processes.
        work: Importable function of a task.
    """

    def __init__(self, workers: int, work: Work[R]) -> None:
        self.workers, self._work = workers, work
        self._marks = tempfile.TemporaryDirectory(prefix="sbiwb-pool-")
        self._numbers = itertools.count()
        self._pool = _start(workers)

    def send(self, pending: PendingTask[R]) -> None:
        """Gives a task to the next worker that is free."""
        pending.mark = Path(self._marks.name) / str(next(self._numbers))
        pending.gone_since = None
        arguments = [self._work, pending.task, str(pending.mark)]
        try:
            pending.future = self._pool.schedule(_work_on, args=arguments)
        except RuntimeError as error:  # the pool broke a moment ago
            pending.fail(BrokenProcessPool(str(error)))

    def find_silent_deaths(self, tasks: Sequence[PendingTask[R]]) -> None:
        """Fails the tasks whose process ended with exit code 0 in the middle, which pebble takes
        for a quiet end.
        """
        for pending in tasks:
            pid = pending.pid
            if pending.is_done or pid is None or is_alive(pid):
                continue
            now = time.monotonic()
            pending.gone_since = pending.gone_since or now
            if now - pending.gone_since > SILENT_DEATH_S:
                pending.fail(ProcessExpired("ended without a word", code=0, pid=pid))

    def restart(self) -> None:
        """Other processes; what the old ones were at is lost."""
        self._end_processes()
        self._pool = _start(self.workers)

    def restart_broken(self, tasks: Sequence[PendingTask[R]]) -> None:
        """Other processes after the pool broke.

        Tasks that had begun count a death, or all of them where none had; the others are sent
        again.
        """
        lost = [pending for pending in tasks if _is_lost(pending)]
        begun = [pending for pending in lost if pending.pid is not None] or lost
        self.restart()
        for pending in lost:
            if pending in begun:
                pending.fail(BrokenProcessPool("it ended at once"))
            else:
                self.send(pending)

    def shutdown(self) -> None:
        """Ends the processes, whatever they do, and what they have left running."""
        self._end_processes()
        self._marks.cleanup()

    def _end_processes(self) -> None:
        before = _children()
        self._pool.stop()
        self._pool.join()
        for pid in before - _children():
            end_group(pid)


def _is_lost(pending: PendingTask[R]) -> bool:
    """Whether a task that was with a broken pool has no result."""
    return not pending.is_done or pending.future.cancelled() or pending.broke_pool


def _children() -> set[int]:
    pids = (process.pid for process in multiprocessing.active_children())
    return {pid for pid in pids if pid is not None}


def _start(workers: int) -> ProcessPool:
    context = multiprocessing.get_context("spawn")
    arguments = [os.getpid()]
    return ProcessPool(workers, context=context, initializer=_prepare, initargs=arguments)


def _prepare(parent: int) -> None:
    """In a fresh worker: one thread, a group of its own, silence; it ends with its parent.

    Ctrl-C is the parent's business, and TERM ends it at once: pebble's own handler would wait for
    the simulator to come back from compiled code.
    """
    os.environ.update(ONE_THREAD)
    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(parent)


def _work_on(work: Work[R], task: Task, mark: str) -> R:
    """In a worker: the task, marked as begun; where its process ends, the mark stays."""
    path = Path(mark)
    path.write_text(str(os.getpid()))
    try:
        return work(task)
    finally:
        path.unlink(missing_ok=True)
