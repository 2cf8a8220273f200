"""Worker processes on this machine, started fresh and gone with their parent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Annotated, Generic, Literal

from pydantic import Field

from sbiwb.contracts import ExecutorPart
from sbiwb.errors import SbiwbError
from sbiwb.executors._batch import Cluster
from sbiwb.executors._tasks import R, Results, Task, Work
from sbiwb.executors._workers import PendingTask, WorkerPool
from sbiwb.families import WHOLE
from sbiwb.processes import usable_cores

MAX_WORKERS = 4096
LOOK_S = 0.5  # between two looks for processes that ended without a word
TASKS_PER_WORKER = 2  # with the workers at once: none is idle, and stopping wastes little


class Config(ExecutorPart):
    """How many processes."""

    kind: Literal["pool"] = Field("pool", description="Worker processes on this machine.")
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS), WHOLE] | Literal["auto"] = Field(
        "auto", description="Processes; auto: as many as this process may use cores."
    )

    def build(self, cluster: Cluster) -> PoolExecutor:
        return PoolExecutor(usable_cores() if self.workers == "auto" else self.workers)


class PoolExecutor:
    """Runs tasks in `workers` spawned processes.

    A dead process costs one retry of its task; a second death comes back as `WorkerDied`. What a
    worker prints is dropped, and what it leaves running ends with the pool.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, work: Work[R], tasks: Sequence[Task]) -> Results[R]:
        """(task, result) as they complete; a failure a user can mend comes back as the result."""
        if not tasks:
            return
        pool = WorkerPool(min(self.workers, len(tasks)), work)
        waiting: deque[PendingTask[R]] = deque(map(PendingTask, tasks))
        try:
            yield from _completed(pool, waiting)
        finally:
            pool.shutdown()

    def stream(self, work: Work[R], tasks: Iterator[Task], *, ahead: int) -> Stream[R]:
        """Goes on until it is closed, with `ahead` tasks begun before they are asked for."""
        return Stream(self.workers, work, tasks, ahead=ahead)


def _completed(pool: WorkerPool[R], waiting: deque[PendingTask[R]]) -> Results[R]:
    sent: list[PendingTask[R]] = []
    while waiting or sent:
        while waiting and len(sent) < TASKS_PER_WORKER * pool.workers:
            sent.append(waiting.popleft())
            pool.send(sent[-1])
        wait([pending.future for pending in sent], LOOK_S, FIRST_COMPLETED)
        pool.find_silent_deaths(sent)
        if any(pending.broke_pool for pending in sent):
            pool.restart_broken(sent)
        done = [pending for pending in sent if pending.is_done]
        sent = [pending for pending in sent if pending not in done]
        for pending in done:
            if not pending.has_died:
                yield pending.task, pending.result()
            elif pending.count_death():
                yield pending.task, pending.death()
            else:
                waiting.appendleft(pending)


class Stream(Generic[R]):
    """Results of tasks without an end, in the order of the tasks; a dead process costs one retry of
    its task.

    After a death all processes are replaced: the dead one may have held the lock of a pipe, or
    have written half a result.

    Args:
        workers: Processes, which live until `close`.
        work: Importable function of a task.
        tasks: Never ends.
        ahead: Tasks given to the processes before their results are asked for.
    """

    def __init__(self, workers: int, work: Work[R], tasks: Iterator[Task], *, ahead: int) -> None:
        self._tasks, self._ahead = tasks, ahead
        self._pool = WorkerPool(workers, work)
        self._sent: deque[PendingTask[R]] = deque()
        self._fill()

    def get(self, timeout_s: float) -> tuple[Task, R | SbiwbError] | None:
        """The next task and its result, where that comes in time; a failure a user can mend comes
        back as the result.
        """
        if timeout_s > 0:
            wait([self._sent[0].future], timeout_s)
        self._pool.find_silent_deaths(self._sent)
        if any(pending.has_died for pending in self._sent):
            self._restart()
        if not self._sent[0].is_done:
            return None
        first = self._sent.popleft()
        self._fill()
        return first.task, first.result()

    def close(self) -> None:
        """Ends the processes, whatever they do."""
        self._pool.shutdown()

    def _fill(self) -> None:
        while len(self._sent) < self._ahead:
            self._sent.append(PendingTask(next(self._tasks)))
            self._pool.send(self._sent[-1])

    def _restart(self) -> None:
        landed = [pending.is_done and not pending.has_died for pending in self._sent]
        self._pool.restart()
        for pending, is_landed in zip(self._sent, landed, strict=True):
            if pending.has_died and pending.count_death():
                pending.fail(pending.death())
            elif not is_landed:
                self._pool.send(pending)
