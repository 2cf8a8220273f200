"""Worker processes on this machine, started fresh (spawn) and gone with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from sbiwb.errors import SbiwbError, SimulatorError
from sbiwb.families import Count, Part

TRIES = 2  # of a task whose process died under it
_PR_SET_PDEATHSIG = 1


class Config(Part):
    """How many processes."""

    kind: Literal["pool"] = Field("pool", description="Worker processes on this machine.")
    workers: Count | Literal["auto"] = Field("auto", description="Processes; auto: as many as this process may use cores.")

    def build(self) -> PoolExecutor:
        return PoolExecutor(usable_cores() if self.workers == "auto" else self.workers)


def usable_cores() -> int:
    """Cores this process may run on (a batch system may have bound it to few)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class PoolExecutor:
    """Runs tasks in `workers` spawned processes; a dead process costs one retry of its task.

    Spawned, not forked: fork is unsafe beside the threads of BLAS, torch and HDF5.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, work: Callable[[dict[str, Any]], Any], tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Any]]:
        """(task, result) as they complete; a failure a user can mend comes back as the result."""
        if not tasks:
            return
        pool = _processes(min(self.workers, len(tasks)))
        try:
            yield from self._completed(pool, work, list(tasks))
        finally:
            pool.stop()
            pool.join()

    def stream(self, work: Callable[[dict[str, Any]], Any], tasks: Iterator[dict[str, Any]], *, ahead: int) -> Stream:
        """Goes on until it is closed, with `ahead` tasks begun before they are asked for."""
        return Stream(self.workers, work, tasks, ahead=ahead)

    def _completed(self, pool: Any, work: Callable[..., Any], waiting: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Any]]:
        """Keeps two tasks a worker in flight, so that stopping wastes little."""
        waiting.reverse()
        tries: dict[int, int] = {}
        flying: dict[Future[Any], dict[str, Any]] = {}
        while waiting or flying:
            while waiting and len(flying) < 2 * self.workers:
                task = waiting.pop()
                flying[pool.schedule(work, args=[task])] = task
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                task = flying.pop(future)
                result = _result(future, task)
                tries[id(task)] = tries.get(id(task), 0) + 1
                if isinstance(result, SbiwbError) or not isinstance(result, Exception):
                    yield task, result
                elif tries[id(task)] < TRIES:
                    waiting.append(task)
                else:
                    yield task, _death(result, task)


@dataclass
class _Flight:
    """A task on its way."""

    task: dict[str, Any]
    future: Future[Any]
    deaths: int = 0


class Stream:
    """Results of tasks without an end, in the order of the tasks; a dead process costs one retry of its task.

    After a death all processes are replaced: the dead one may have held the lock of a pipe, or have written half a result.

    Args:
        workers: Processes, which live until `close`.
        work: Importable function of a task.
        tasks: Never ends.
        ahead: Tasks given to the processes before their results are asked for.
    """

    def __init__(self, workers: int, work: Callable[[dict[str, Any]], Any], tasks: Iterator[dict[str, Any]], *, ahead: int) -> None:
        self._workers, self._work, self._tasks, self._ahead = workers, work, tasks, ahead
        self._pool = _processes(workers)
        self._flying: deque[_Flight] = deque()
        self._fill()

    def get(self, timeout_s: float) -> tuple[dict[str, Any], Any] | None:
        """The next task and its result, where that comes in time; a failure a user can mend comes back as the result."""
        if timeout_s > 0:
            wait([self._flying[0].future], timeout_s)
        if any(_died(flight.future) for flight in self._flying):
            self._restart()
        if not self._flying[0].future.done():
            return None
        first = self._flying.popleft()
        self._fill()
        return first.task, _result(first.future, first.task)

    def close(self) -> None:
        """Ends the processes, whatever they do."""
        self._pool.stop()
        self._pool.join()

    def _fill(self) -> None:
        while len(self._flying) < self._ahead:
            task = next(self._tasks)
            self._flying.append(_Flight(task, self._schedule(task)))

    def _schedule(self, task: dict[str, Any]) -> Future[Any]:
        try:
            return self._pool.schedule(self._work, args=[task])
        except RuntimeError as error:  # the pool broke a moment ago; the next `get` mends it
            return _failed(BrokenProcessPool(str(error)))

    def _restart(self) -> None:
        landed = [flight.future.done() and not _died(flight.future) for flight in self._flying]
        self.close()
        self._pool = _processes(self._workers)
        for flight, done in zip(self._flying, landed, strict=True):
            flight.deaths += _died(flight.future)
            if flight.deaths == TRIES:
                flight.future = _failed(_death(flight.future.exception(), flight.task))
            elif not done:
                flight.future = self._schedule(flight.task)


def _died(future: Future[Any]) -> bool:
    """Whether its process died, or the pool over it."""
    from pebble import ProcessExpired

    return future.done() and not future.cancelled() and isinstance(future.exception(), ProcessExpired | BrokenProcessPool)


def _failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _processes(workers: int) -> Any:
    from pebble import ProcessPool

    context = multiprocessing.get_context("spawn")
    return ProcessPool(max_workers=workers, context=context, initializer=_begin, initargs=[os.getpid()])


def _result(future: Future[Any], task: dict[str, Any]) -> Any:
    """The task's value, its mendable error, or the death of its process; anything else is our bug and rises."""
    from pebble import ProcessExpired

    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, SbiwbError | ProcessExpired):
        return error
    raise error


def _death(error: Any, task: dict[str, Any]) -> SimulatorError:
    code = getattr(error, "exitcode", None)
    cause = str(error) if code is None else signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return SimulatorError(
        f"a worker process died {TRIES} times ({cause})",
        where=f"task {task}",
        todo="Run `sbiwb check` on the config with --set machine.executor=serial to see where the simulator crashes.",
    )


def _begin(parent: int) -> None:
    """In a fresh child: one thread of arithmetic, Ctrl-C is the parent's business, death of the parent is ours."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's own handler waits for the simulator to come back from compiled code
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before we could ask
