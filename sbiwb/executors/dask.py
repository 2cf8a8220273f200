"""Workers of Dask: on this machine, under a running scheduler, or as jobs of SLURM, PBS, LSF or SGE (by dask-jobqueue)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from sbiwb.errors import RunError, SbiwbError
from sbiwb.executors._batch import Cluster
from sbiwb.executors._death import death
from sbiwb.executors.pool import usable_cores
from sbiwb.extras import imported
from sbiwb.families import Count, Part

WHERE = "machine.executor (dask)"
RETRIES = 2  # of a task that raised what no user can mend
MEMORY_GB = (
    4.0  # of a job for which machine.cluster.memory_gb says nothing; dask-jobqueue wants a number
)
ALLOWED_FAILURES = 2  # workers that may die under a task before it is given up
PAGES = "127.0.0.1:0"  # a free port on loopback: for None distributed listens on 8787, and warns where another user has it
CONNECT_S, LOST_S = 30.0, 30.0
JOBQUEUE = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster"}
Where = Literal["local", "slurm", "pbs", "lsf", "sge"]


class Config(Part):
    """Where the workers come from."""

    kind: Literal["dask"] = Field("dask", description="Workers of Dask.")
    scheduler: str | None = Field(
        None,
        description="Address of a running scheduler, such as tcp://10.0.0.1:8786; null: one of our own.",
    )
    cluster: Where = Field(
        "local",
        description="Where workers of our own run: processes here, or jobs that ask for what machine.cluster says.",
    )
    workers: Annotated[Count, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Workers of our own; auto: cores here, or machine.cluster.array jobs."
    )

    interface: str | None = Field(
        None, description="Network interface through which jobs reach this machine, such as ib0."
    )

    ON_CLUSTER: ClassVar[bool] = True

    def build(self, cluster: Cluster | None = None) -> DaskExecutor:
        cluster = cluster or Cluster()
        auto = usable_cores() if self.cluster == "local" else cluster.array
        return DaskExecutor(
            self.scheduler,
            self.cluster,
            auto if self.workers == "auto" else self.workers,
            cluster,
            self.interface,
        )


class DaskExecutor:
    """Runs tasks on Dask's workers; a dead worker's tasks are run again by another, and a task that kills them all is given up.

    A scheduler of Dask runs whatever is sent to its port. Ours listens on loopback; that of batch jobs must be reached from their nodes,
    so where users of a cluster do not trust one another the executor `slurm` is the better one.

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
        cluster: Cluster,
        interface: str | None,
    ) -> None:
        self.scheduler, self.where, self.workers, self.cluster, self.interface = (
            scheduler,
            where,
            workers,
            cluster,
            interface,
        )

    def run(
        self, work: Callable[[dict[str, Any]], Any], tasks: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """(task, result) as they complete; a failure a user can mend comes back as the result.

        Raises:
            ConfigError: A package is missing.
            RunError: The scheduler cannot be reached, or is lost; what is finished stays, and running again continues.
        """
        if not tasks:
            return
        distributed = imported("distributed", extra="dask", where=WHERE)
        with (
            _settings(),
            self._cluster(distributed) as cluster,
            _client(distributed, cluster) as client,
        ):
            run = time.time_ns()
            flying = {
                client.submit(
                    _guarded, work, task, key=f"sbiwb-{run}-{number}", pure=False, retries=RETRIES
                ): task
                for number, task in enumerate(tasks)
            }
            yield from _completed(distributed, client, flying)

    def _cluster(self, distributed: Any) -> AbstractContextManager[Any]:
        """The scheduler's address, or workers of our own, which end when it is left."""
        if self.scheduler is not None:
            return nullcontext(self.scheduler)
        if self.where == "local":
            return distributed.LocalCluster(
                n_workers=self.workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=PAGES,
                silence_logs="ERROR",
            )
        kind = getattr(imported("dask_jobqueue", extra="dask", where=WHERE), JOBQUEUE[self.where])
        cluster = kind(**jobqueue_options(self.where, self.cluster), interface=self.interface)
        cluster.adapt(
            minimum_jobs=self.workers, maximum_jobs=self.workers
        )  # not `scale`: a job that reached its time limit is replaced
        return cluster


def jobqueue_options(where: Where, cluster: Cluster) -> dict[str, Any]:
    """Arguments of a dask-jobqueue cluster whose jobs are one worker of one thread each, which leaves before the time limit."""
    asked = cluster.of("simulate")
    memory = asked.memory_gb or MEMORY_GB
    hours, minutes = divmod(asked.time_min, 60)
    cores: dict[Where, dict[str, Any]] = {
        "slurm": {"job_cpu": asked.cpus},
        "lsf": {"ncpus": asked.cpus},
        "pbs": {"resource_spec": f"select=1:ncpus={asked.cpus}:mem={round(1024 * memory)}mb"},
    }
    options = {
        "queue": asked.partition,
        "project" if where in ("lsf", "sge") else "account": cluster.account,
        "cores": 1,
        "processes": 1,
        "memory": f"{memory:g}GiB",
        "walltime": f"{hours:02d}:{minutes:02d}" + ":00" * (where != "lsf"),
        "job_script_prologue": list(cluster.environment),
        "job_extra_directives": [*[f"--qos={asked.qos}"] * bool(asked.qos), *asked.extra]
        if where == "slurm"
        else [],
        "worker_extra_args": ["--lifetime", f"{60 * asked.time_min - cluster.signal_s}s"],
        "scheduler_options": {"dashboard_address": PAGES},
        **cores.get(where, {}),
    }
    return {name: value for name, value in options.items() if value is not None}


def _settings() -> Any:
    dask = imported("dask", extra="dask", where=WHERE)
    return dask.config.set(
        {
            "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
            "distributed.comm.timeouts.connect": f"{CONNECT_S:g}s",
            "distributed.comm.timeouts.tcp": f"{LOST_S:g}s",
        }
    )


@contextmanager
def _client(distributed: Any, address: Any) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise RunError(
            f"no scheduler answers at {address}",
            where=WHERE,
            todo="Start `dask scheduler`, or correct the address.",
        ) from error
    with client:
        yield client


def _completed(
    distributed: Any, client: Any, flying: dict[Any, dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Results as they come.

    Raises:
        RunError: The scheduler is gone, and its tasks with it.
    """
    from concurrent.futures import CancelledError

    for future in distributed.as_completed(flying, loop=client.loop):
        task = flying[future]
        try:
            result = future.result()
        except distributed.KilledWorker:
            result = death(RuntimeError("one after the other"), task, ALLOWED_FAILURES + 1)
        except CancelledError as error:
            raise RunError(
                "the scheduler of Dask is lost",
                where=WHERE,
                todo="Run the same command again: what is finished is kept.",
            ) from error
        yield task, result
        future.release()


def _guarded(work: Callable[[dict[str, Any]], Any], task: dict[str, Any]) -> Any:
    """The result, or the failure a user can mend, which is not tried again: it would come again."""
    try:
        return work(task)
    except SbiwbError as error:
        return error
