"""A thread that makes the next window of a stream while this one is trained on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread, current_thread

from sbiwb.training.sources import TensorPairs
from sbiwb.training.window_order import Window

CHECK_S = 0.1  # between two looks at whether to go on waiting


CLOSE_S = 2.0  # for the thread to end what it is in; then it is left alone: it reads only


class Prefetcher:
    """One daemon thread that makes a window before it is needed.

    Not an executor: its threads are waited for at exit, and one that hangs on a lost network disk
    would hang the command.
    """

    def __init__(self, make: Callable[[Window, Callable[[], bool]], TensorPairs | None]) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._job: _Job | None = None
        self._thread = Thread(
            target=_work, args=(self._jobs, make), name="sbiwb-stream", daemon=True
        )
        self._thread.start()

    def ask(self, window: Window) -> _Job:
        """Begins to make a window; what was asked for before and not taken is given up."""
        self._drop()
        self._job = _Job(window, Future())
        self._jobs.put(self._job)
        return self._job

    def take(self, window: Window, check: Callable[[], None]) -> TensorPairs:
        """The window, as soon as it is made."""
        job = self._job
        if job is None or job.window != window:
            job = self.ask(window)
        try:
            while not wait([job.result], CHECK_S).done:
                check()
            return job.result.result()
        finally:
            self._drop()

    def close(self) -> None:
        """Gives up what is being made and ends the thread."""
        self._drop()
        self._jobs.put(None)
        if self._thread is not current_thread():  # where the garbage collector runs does not matter
            self._thread.join(CLOSE_S)

    def _drop(self) -> None:
        if self._job:
            self._job.result.cancel()
            self._job = None


@dataclass(frozen=True)
class _Job:
    """A window that is wanted; a cancelled result is wanted no more."""

    window: Window
    result: Future[TensorPairs]


def _work(
    jobs: SimpleQueue[_Job | None], make: Callable[[Window, Callable[[], bool]], TensorPairs | None]
) -> None:
    """The thread: makes what is asked for, until None."""
    while (job := jobs.get()) is not None:
        _serve(job, make)


def _serve(job: _Job, make: Callable[[Window, Callable[[], bool]], TensorPairs | None]) -> None:
    with suppress(InvalidStateError):  # cancelled meanwhile
        try:
            pairs = make(job.window, job.result.cancelled)
        except BaseException as error:
            job.result.set_exception(error)
        else:
            if pairs is not None:
                job.result.set_result(pairs)
