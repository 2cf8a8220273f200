"""Worker processes on this machine, started fresh (spawn) and gone with their parent."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sbiwb.errors import SbiwbError
from sbiwb.executors._death import death
from sbiwb.families import Count, Part

TRIES = 2  # of a task whose process died under it
LOOK_S = 0.5  # between two looks for processes that ended without a word
SURE_S = 1.0  # after which such a process is not just about to be reported
_PR_SET_PDEATHSIG = 1


class Config(Part):
    """How many processes."""

    kind: Literal["pool"] = Field("pool", description="Worker processes on this machine.")
    workers: Count | Literal["auto"] = Field(
        "auto", description="Processes; auto: as many as this process may use cores."
    )

    def build(self) -> PoolExecutor:
        return PoolExecutor(usable_cores() if self.workers == "auto" else self.workers)


def usable_cores() -> int:
    """Cores this process may run on (a batch system may have bound it to few)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class PoolExecutor:
    """Runs tasks in `workers` spawned processes; a dead process costs one retry of its task, a second death comes back as `WorkerDied`.

    Spawned, not forked: fork is unsafe beside the threads of BLAS, torch and HDF5. What a worker prints is dropped, and what it leaves
    running ends with the pool.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(
        self, work: Callable[[dict[str, Any]], Any], tasks: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """(task, result) as they complete; a failure a user can mend comes back as the result."""
        if not tasks:
            return
        crew = WorkerPool(min(self.workers, len(tasks)), work)
        try:
            yield from _completed(crew, deque(PendingTask(task) for task in tasks))
        finally:
            crew.shutdown()

    def stream(
        self, work: Callable[[dict[str, Any]], Any], tasks: Iterator[dict[str, Any]], *, ahead: int
    ) -> Stream:
        """Goes on until it is closed, with `ahead` tasks begun before they are asked for."""
        return Stream(self.workers, work, tasks, ahead=ahead)


@dataclass(eq=False)
class PendingTask:
    """A task, waiting or on its way.

    Args:
        task: What was asked for.
        future: Its result to come.
        mark: A file that holds the number of the process which is at it.
        deaths: Processes that ended under it.
        silent_since: When the process was first seen to be gone without a result.
    """

    task: dict[str, Any]
    future: Future[Any] = field(default_factory=Future)
    mark: Path = Path()
    deaths: int = 0
    silent_since: float | None = None


class WorkerPool:
    """Processes that are replaced one by one as they die, and all at once where a death has broken the pool over them."""

    def __init__(self, workers: int, work: Callable[[dict[str, Any]], Any]) -> None:
        self.workers, self._work = workers, work
        self._marks = tempfile.TemporaryDirectory(prefix="sbiwb-pool-")
        self._numbers = itertools.count()
        self._pool = _processes(workers)

    def send(self, flight: PendingTask) -> None:
        flight.mark, flight.silent_since = Path(self._marks.name) / str(next(self._numbers)), None
        try:
            flight.future = self._pool.schedule(
                _called, args=[self._work, flight.task, str(flight.mark)]
            )
        except RuntimeError as error:  # the pool broke a moment ago
            flight.future = _failed(BrokenProcessPool(str(error)))

    def look(self, flights: Sequence[PendingTask]) -> None:
        """Notices the processes that ended with exit code 0 in the middle of a task, which pebble takes for a quiet end."""
        from pebble import ProcessExpired

        for flight in flights:
            pid = None if flight.future.done() else _process_of(flight.mark)
            if pid is None or _lives(pid):
                continue
            flight.silent_since = flight.silent_since or time.monotonic()
            if time.monotonic() - flight.silent_since > SURE_S:
                flight.future.cancel()
                flight.future = _failed(ProcessExpired("ended without a word", code=0, pid=pid))

    def renew(self) -> None:
        """Other processes; what the old ones were at is lost."""
        self._end_processes()
        self._pool = _processes(self.workers)

    def shutdown(self) -> None:
        """Ends the processes, whatever they do, and what they have left running."""
        self._end_processes()
        self._marks.cleanup()

    def _end_processes(self) -> None:
        before = {process.pid for process in multiprocessing.active_children()}
        self._pool.stop()
        self._pool.join()
        for pid in before - {process.pid for process in multiprocessing.active_children()}:
            _end_group(pid)


def _completed(
    crew: WorkerPool, waiting: deque[PendingTask]
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Keeps two tasks a worker in flight, so that stopping wastes little."""
    flying: list[PendingTask] = []
    while waiting or flying:
        while waiting and len(flying) < 2 * crew.workers:
            flying.append(waiting.popleft())
            crew.send(flying[-1])
        wait([flight.future for flight in flying], LOOK_S, FIRST_COMPLETED)
        crew.look(flying)
        if any(_broke(flight.future) for flight in flying):
            _mend(crew, flying)
        landed = [flight for flight in flying if flight.future.done()]
        flying = [flight for flight in flying if flight not in landed]
        for flight in landed:
            if not _died(flight.future):
                yield flight.task, _result(flight.future)
            elif _is_last(flight):
                yield flight.task, death(flight.future.exception(), flight.task, TRIES)
            else:
                waiting.appendleft(flight)


def _mend(crew: WorkerPool, flying: Sequence[PendingTask]) -> None:
    """Another pool after one that broke: what had begun counts a death, or all where nothing had; the others are sent again."""
    lost = [
        flight
        for flight in flying
        if not flight.future.done() or flight.future.cancelled() or _broke(flight.future)
    ]
    begun = [flight for flight in lost if _process_of(flight.mark) is not None] or lost
    crew.renew()
    for flight in lost:
        if flight in begun:
            flight.future = _failed(BrokenProcessPool("it ended at once"))
        else:
            crew.send(flight)


def _is_last(flight: PendingTask) -> bool:
    """Counts a death, and says whether it was one too many."""
    _end_group(getattr(flight.future.exception(), "pid", None))
    flight.deaths += 1
    return flight.deaths == TRIES


class Stream:
    """Results of tasks without an end, in the order of the tasks; a dead process costs one retry of its task.

    After a death all processes are replaced: the dead one may have held the lock of a pipe, or have written half a result.

    Args:
        workers: Processes, which live until `close`.
        work: Importable function of a task.
        tasks: Never ends.
        ahead: Tasks given to the processes before their results are asked for.
    """

    def __init__(
        self,
        workers: int,
        work: Callable[[dict[str, Any]], Any],
        tasks: Iterator[dict[str, Any]],
        *,
        ahead: int,
    ) -> None:
        self._tasks, self._ahead = tasks, ahead
        self._crew = WorkerPool(workers, work)
        self._flying: deque[PendingTask] = deque()
        self._fill()

    def get(self, timeout_s: float) -> tuple[dict[str, Any], Any] | None:
        """The next task and its result, where that comes in time; a failure a user can mend comes back as the result."""
        if timeout_s > 0:
            wait([self._flying[0].future], timeout_s)
        self._crew.look(self._flying)
        if any(_died(flight.future) for flight in self._flying):
            self._restart()
        if not self._flying[0].future.done():
            return None
        first = self._flying.popleft()
        self._fill()
        return first.task, _result(first.future)

    def close(self) -> None:
        """Ends the processes, whatever they do."""
        self._crew.shutdown()

    def _fill(self) -> None:
        while len(self._flying) < self._ahead:
            self._flying.append(PendingTask(next(self._tasks)))
            self._crew.send(self._flying[-1])

    def _restart(self) -> None:
        landed = [flight.future.done() and not _died(flight.future) for flight in self._flying]
        self._crew.renew()
        for flight, done in zip(self._flying, landed, strict=True):
            if _died(flight.future) and _is_last(flight):
                flight.future = _failed(death(flight.future.exception(), flight.task, TRIES))
            elif not done:
                self._crew.send(flight)


def _broke(future: Future[Any]) -> bool:
    return (
        future.done()
        and not future.cancelled()
        and isinstance(future.exception(), BrokenProcessPool)
    )


def _died(future: Future[Any]) -> bool:
    """Whether its process died, or the pool over it."""
    from pebble import ProcessExpired

    return _broke(future) or (
        future.done() and not future.cancelled() and isinstance(future.exception(), ProcessExpired)
    )


def _failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _result(future: Future[Any]) -> Any:
    """The task's value or its mendable error; anything else is our bug and rises."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, SbiwbError):
        return error
    raise error


def _process_of(mark: Path) -> int | None:
    """The process that is at a task; None before it has begun."""
    try:
        return int(mark.read_text())
    except (OSError, ValueError):
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end_group(pid: int | None) -> None:
    """Kills what a worker has started and left; its group has its own number and outlives it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if pid is not None:
            os.killpg(pid, signal.SIGKILL)


def _processes(workers: int) -> Any:
    from pebble import ProcessPool

    context = multiprocessing.get_context("spawn")
    return ProcessPool(
        max_workers=workers, context=context, initializer=_begin, initargs=[os.getpid()]
    )


def _called(work: Callable[[dict[str, Any]], Any], task: dict[str, Any], mark: str) -> Any:
    """In a worker: the task, marked as begun; of a process that ends in the middle the mark stays."""
    Path(mark).write_text(str(os.getpid()))
    try:
        return work(task)
    finally:
        Path(mark).unlink(missing_ok=True)


def _begin(parent: int) -> None:
    """In a fresh child: one thread of arithmetic, no voice, Ctrl-C is the parent's business, death of the parent is ours."""
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ):
        os.environ[name] = "1"
    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM, signal.SIG_DFL
    )  # pebble's own handler waits for the simulator to come back from compiled code
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before we could ask
