"""Worker processes on this machine, started fresh (spawn) and gone with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
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
        from pebble import ProcessPool

        if not tasks:
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPool(max_workers=min(self.workers, len(tasks)), context=context, initializer=_begin, initargs=[os.getpid()])
        try:
            yield from self._completed(pool, work, list(tasks))
        finally:
            pool.stop()
            pool.join()

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
    cause = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
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
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before we could ask
