"""Workers of Dask: here, under a running scheduler, or as jobs of SLURM, PBS, LSF or SGE.

Jobs of a batch system are submitted by dask-jobqueue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from sbiwb.contracts import ExecutorPart
from sbiwb.errors import RunError, SbiwbError
from sbiwb.executors._batch import Cluster
from sbiwb.executors._tasks import R, Results, Task, Work, worker_died
from sbiwb.extras import imported
from sbiwb.families import WHOLE
from sbiwb.processes import usable_cores

if TYPE_CHECKING:
    from distributed import Client, Future

WHERE = "machine.executor (dask)"
MAX_WORKERS = 100_000
RETRIES = 2  # of a task that raised what no user can mend
DEFAULT_MEMORY_GB = 4.0  # of a job, without machine.cluster.memory_gb; dask-jobqueue wants a number
ALLOWED_FAILURES = 2  # workers that may die under a task before it is given up
DASHBOARD = "127.0.0.1:0"
"""A free port on loopback: for None distributed listens on 8787, and warns where another user has
it.
"""

CONNECT_S = 30.0
LOST_S = 30.0
JOBQUEUE = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster"}
Where = Literal["local", "slurm", "pbs", "lsf", "sge"]
JobqueueOption = str | int | list[str] | dict[str, str]


class Config(ExecutorPart):
    """Where the workers come from."""

    kind: Literal["dask"] = Field("dask", description="Workers of Dask.")
    scheduler: str | None = Field(
        None,
        description="Address of a running scheduler, such as tcp://10.0.0.1:8786; "
        "null: one of our own.",
    )
    cluster: Where = Field(
        "local",
        description="Where workers of our own run: processes here, or jobs that ask for what "
        "machine.cluster says.",
    )
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS), WHOLE] | Literal["auto"] = Field(
        "auto", description="Workers of our own; auto: cores here, or machine.cluster.array jobs."
    )

    interface: str | None = Field(
        None, description="Network interface through which jobs reach this machine, such as ib0."
    )

    def build(self, cluster: Cluster | None = None) -> DaskExecutor:
        cluster = cluster or Cluster()
        workers = self.workers
        if workers == "auto":
            workers = usable_cores() if self.cluster == "local" else cluster.array
        return DaskExecutor(
            self.scheduler, self.cluster, workers, cluster=cluster, interface=self.interface
        )


class DaskExecutor:
    """Runs tasks on Dask's workers.

    A dead worker's tasks are run again by another, and a task that kills them all is given up.

    A scheduler of Dask runs whatever is sent to its port. Ours listens on loopback; that of batch
    jobs must be reached from their nodes, so where users of a cluster do not trust one another the
    executor `slurm` is the better one.

    Args:
        scheduler: Address of a running one, or None.
        where: Where workers of our own run.
        workers: How many.
        cluster: What their jobs ask for.
        interface: Through which they reach this machine; None: dask chooses.
    """

    def __init__(
        self,
        scheduler: str | None,
        where: Where,
        workers: int,
        *,
        cluster: Cluster,
        interface: str | None,
    ) -> None:
        self.scheduler = scheduler
        self.where = where
        self.workers = workers
        self.cluster = cluster
        self.interface = interface

    def run(self, work: Work[R], tasks: Sequence[Task]) -> Results[R]:
        """(task, result) as they complete; a failure a user can mend comes back as the result.

        Raises:
            ConfigError: A package is missing.
            RunError: The scheduler cannot be reached, or is lost; what is finished stays, and
                running again continues.
        """
        if not tasks:
            return
        distributed = imported("distributed", extra="dask", where=WHERE)
        with (
            _settings(),
            self._scheduler(distributed) as scheduler,
            _client(distributed, scheduler) as client,
        ):
            yield from _completed(distributed, client, _submit(client, work, tasks))

    def _scheduler(self, distributed: ModuleType) -> AbstractContextManager[object]:
        """The scheduler's address, or workers of our own, which end when it is left."""
        if self.scheduler is not None:
            return nullcontext(self.scheduler)
        if self.where == "local":
            return distributed.LocalCluster(
                n_workers=self.workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=DASHBOARD,
                silence_logs="ERROR",
            )
        jobqueue = imported("dask_jobqueue", extra="dask", where=WHERE)
        kind = getattr(jobqueue, JOBQUEUE[self.where])
        cluster = kind(**jobqueue_options(self.where, self.cluster), interface=self.interface)
        # not `scale`: a job that reached its time limit is replaced
        cluster.adapt(minimum_jobs=self.workers, maximum_jobs=self.workers)
        return cluster


def jobqueue_options(where: Where, cluster: Cluster) -> dict[str, JobqueueOption]:
    """Arguments of a dask-jobqueue cluster whose jobs are one worker of one thread each, which
    leaves before the time limit.
    """
    asked = cluster.of("simulate")
    memory_gb = asked.memory_gb or DEFAULT_MEMORY_GB
    lifetime_s = 60 * asked.time_min - cluster.signal_s
    options: dict[str, JobqueueOption] = {
        "cores": 1,
        "processes": 1,
        "memory": f"{memory_gb:g}GiB",
        "walltime": "{:02d}:{:02d}:00".format(*divmod(asked.time_min, 60)),
        "job_script_prologue": list(cluster.environment),
        "job_extra_directives": [],
        "worker_extra_args": ["--lifetime", f"{lifetime_s}s"],
        "scheduler_options": {"dashboard_address": DASHBOARD},
    }
    if asked.partition is not None:
        options["queue"] = asked.partition
    if cluster.account is not None:
        options["project" if where in ("lsf", "sge") else "account"] = cluster.account
    if where == "slurm":
        qos = [f"--qos={asked.qos}"] if asked.qos else []
        options["job_cpu"] = asked.cpus
        options["job_extra_directives"] = [*qos, *asked.extra]
    if where == "lsf":
        options["ncpus"] = asked.cpus
        options["walltime"] = "{:02d}:{:02d}".format(*divmod(asked.time_min, 60))
    if where == "pbs":
        options["resource_spec"] = f"select=1:ncpus={asked.cpus}:mem={round(1024 * memory_gb)}mb"
    return options


def _settings() -> AbstractContextManager[object]:
    dask = imported("dask", extra="dask", where=WHERE)
    return dask.config.set(
        {
            "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
            # one task a worker: those that wait on one that dies would be blamed with its own
            "distributed.scheduler.worker-saturation": 1.0,
            "distributed.comm.timeouts.connect": f"{CONNECT_S:g}s",
            "distributed.comm.timeouts.tcp": f"{LOST_S:g}s",
        }
    )


@contextmanager
def _client(distributed: ModuleType, scheduler: object) -> Iterator[Client]:
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise RunError(
            f"no scheduler answers at {scheduler}",
            where=WHERE,
            todo="Start `dask scheduler`, or correct the address.",
        ) from error
    with client:
        yield client


def _submit(client: Client, work: Work[R], tasks: Sequence[Task]) -> dict[Future, Task]:
    """The tasks by their future, each under a key that no earlier run has used."""
    run = time.time_ns()
    pending = {}
    for number, task in enumerate(tasks):
        key = f"sbiwb-{run}-{number}"
        future = client.submit(_guarded, work, task, key=key, pure=False, retries=RETRIES)
        pending[future] = task
    return pending


def _completed(
    distributed: ModuleType, client: Client, pending: Mapping[Future, Task]
) -> Results[Any]:
    """Results as they come.

    Raises:
        RunError: The scheduler is gone, and its tasks with it.
    """
    for future in distributed.as_completed(pending, loop=client.loop):
        task = pending[future]
        try:
            result = future.result()
        except distributed.KilledWorker:
            result = worker_died(task, times=ALLOWED_FAILURES + 1, cause="one after the other")
        except CancelledError as error:
            raise RunError(
                "the scheduler of Dask is lost",
                where=WHERE,
                todo="Run the same command again: what is finished is kept.",
            ) from error
        yield task, result
        future.release()


def _guarded(work: Work[R], task: Task) -> R | SbiwbError:
    """The result, or the failure a user can mend, which is not tried again: it would come again."""
    try:
        return work(task)
    except SbiwbError as error:
        return error
