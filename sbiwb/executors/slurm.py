"""Array jobs of SLURM: each element is `sbiwb worker RUN INDEX`, and this process submits, follows and submits again what was lost."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from sbiwb import errors
from sbiwb.errors import RunError, SbiwbError
from sbiwb.executors._batch import INDEX, Cluster, Job, JobCommand, job_name, script
from sbiwb.families import Count, Part
from sbiwb.files import put_json, put_text, read_json

SBIWB = (
    sys.executable,
    "-P",
    "-m",
    "sbiwb",
)  # -P: a file beside the config must not stand for a module of the same name
COMMAND_S = 120  # for one of SLURM's commands, which retry by themselves
SILENT_S = (
    900.0  # without an answer of the controller, before this process gives up; the jobs go on
)
LARGEST_ARRAY = 1001  # SLURM's own default


class Config(Part):
    """How the array is followed; what it asks for stands in `machine.cluster`."""

    kind: Literal["slurm"] = Field("slurm", description="Array jobs of SLURM.")
    resubmit: Count = Field(
        3, ge=0, description="How often elements that were lost are submitted again."
    )
    poll_s: float = Field(
        5.0, gt=0, description="Seconds between two looks at the queue and the shards."
    )

    ON_CLUSTER: ClassVar[bool] = True

    def build(self, cluster: Cluster | None = None) -> SlurmExecutor:
        return SlurmExecutor(cluster or Cluster(), self.resubmit, self.poll_s)


class SlurmExecutor:
    """Runs the tasks of one run as an array job.

    Its elements do not get the tasks: an element takes from the run folder what is missing of its share. So a task must name the `run`, its
    `cell` (element i of `count` takes the cells i, i + count, ...) and the `record`, a JSON file that its work leaves when it is done.

    Args:
        cluster: What the array asks for.
        resubmit: How often lost elements are submitted again.
        poll_s: Seconds between two looks.
    """

    def __init__(self, cluster: Cluster, resubmit: int = 3, poll_s: float = 5.0) -> None:
        self.cluster, self.resubmit, self.poll_s = cluster, resubmit, poll_s
        self.workers = (cluster.at_once or cluster.array) * cluster.of("simulate").cpus

    def run(
        self, work: Callable[[dict[str, Any]], Any], tasks: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """(task, record) as records appear; the failure that an element told comes as the result, or that it was lost too often."""
        waiting = {task["record"]: task for task in tasks}
        if not tasks:
            return
        run = Path(tasks[0]["run"]).resolve()
        count = elements(self.cluster, 1 + max(task["cell"] for task in tasks))
        for record in waiting:
            Path(record).unlink(missing_ok=True)  # left of a shard that is lost
        for _ in range(1 + self.resubmit):
            numbers = sorted({task["cell"] % count for task in waiting.values()})
            yield from self._follow(
                running_array(run) or _submit_array(run, self.cluster, numbers, count), waiting
            )
            yield from _told(run, count, waiting)
            if not waiting:
                return
        for task in waiting.values():
            yield task, _lost(run, task["cell"] % count, 1 + self.resubmit)

    def _follow(
        self, job: str, waiting: dict[str, dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """What lands until the job is over; the job is cancelled where the caller leaves before."""
        over = False
        try:
            while not over:
                over = not queued(
                    [job]
                )  # asked first: what an element wrote before its end is there then
                yield from _landed(waiting)
                if not over:
                    time.sleep(self.poll_s)
        finally:
            if not over:
                cancel([job])


def _landed(waiting: dict[str, dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Tasks whose record is there, opened by name: listings of network file systems lag."""
    for record in list(waiting):
        try:
            found = json.loads(Path(record).read_bytes())
        except FileNotFoundError:
            continue
        yield waiting.pop(record), found


def _told(
    run: Path, count: int, waiting: dict[str, dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], Any]]:
    """The failures that elements noted, each as the result of the tasks it had left."""
    failures = {
        number: read_failure(note(run, number, count))
        for number in {task["cell"] % count for task in waiting.values()}
    }
    for record, task in list(waiting.items()):
        failure = failures[task["cell"] % count]
        if failure is not None:
            yield waiting.pop(record), failure


def _lost(run: Path, number: int, times: int) -> RunError:
    return RunError(
        f"element {number} of the array ended {times} times without finishing its shards",
        where=log(run, "simulate").with_name(f"simulate-{number}.log"),
        todo="Read its log; ask for more memory or time in machine.cluster; then run the same command again.",
    )


def _submit_array(run: Path, cluster: Cluster, numbers: Sequence[int], count: int) -> str:
    for number in numbers:
        note(run, number, count).unlink(missing_ok=True)
    return submit(put_script(array_job(run, Path.cwd(), cluster, numbers, count), cluster, run))


def array_job(run: Path, folder: Path, cluster: Cluster, numbers: Sequence[int], count: int) -> Job:
    """The array job that simulates what a run lacks.

    Args:
        run: The run folder.
        folder: Where the job runs.
        cluster: What it asks for.
        numbers: Elements that have something to do.
        count: Elements among which all shards are dealt out.
    """
    workers = str(cluster.of("simulate").cpus)
    command = JobCommand(
        (*SBIWB, "worker", str(run), INDEX, "--of", str(count), "--workers", workers)
    )
    return Job(
        job_name(run.name, "simulate"),
        "simulate",
        (command,),
        folder,
        log(run, "simulate"),
        tuple(numbers),
    )


def elements(cluster: Cluster, cells: int) -> int:
    """Elements among which the cells are dealt out: no more than asked for, than there is work, or than the cluster's arrays may have."""
    return max(1, min(cluster.array, cells, largest_array()))


def jobs_folder(run: Path) -> Path:
    return run / "jobs"


def log(run: Path, step: str) -> Path:
    """Output of a step; never named by a job's number, which a restarted controller gives out again."""
    return jobs_folder(run) / ("simulate-%a.log" if step == "simulate" else f"{step}.log")


def note(run: Path, index: int, count: int) -> Path:
    """What an array element notes about itself: starts without progress, and the failure that ended it."""
    return jobs_folder(run) / f"element-{index}-of-{count}.json"


def put_failure(path: Path, error: SbiwbError) -> None:
    """Notes the failure that ends an element, for whoever follows the array."""
    kind = next(one.__name__ for one in type(error).__mro__ if one.__module__ == errors.__name__)
    put_json(
        path,
        {"failure": {"kind": kind, "what": error.what, "where": error.where, "todo": error.todo}},
    )


def read_failure(path: Path) -> SbiwbError | None:
    """The failure that ended an element, if it noted one."""
    failure = read_json(path).get("failure") if path.is_file() else None
    return failure and getattr(errors, failure["kind"])(
        failure["what"], where=failure["where"], todo=failure["todo"]
    )


def put_script(job: Job, cluster: Cluster, run: Path) -> Path:
    """Writes a job's batch script into the run folder."""
    path = jobs_folder(run) / f"{job.step}.sh"
    put_text(path, script(job, cluster))
    return path


def submit(path: Path, *, after: str | None = None) -> str:
    """Submits a batch script; the number of its job.

    Args:
        path: The script.
        after: A dependency such as `afterok:12`; a job whose dependency can never hold is cancelled.

    Raises:
        RunError: SLURM is not here, or refuses.
    """
    dependency = [f"--dependency={after}", "--kill-on-invalid-dep=yes"] if after else []
    return _slurm("sbatch", "--parsable", *dependency, str(path)).strip().split(";")[0]


def queued(jobs: Sequence[str]) -> list[str]:
    """Those of the jobs that wait or run; waits with the answer while the controller is away.

    Raises:
        RunError: It does not come back.
    """
    end = time.monotonic() + SILENT_S
    while True:
        try:
            found = _slurm(
                "squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%F"
            ).split()
        except RunError:
            if time.monotonic() > end:
                raise
            time.sleep(min(10.0, SILENT_S / 10))
        else:
            return [job for job in jobs if job in found]


def running_array(run: Path) -> str | None:
    """The array that simulates this run already: of an earlier command whose terminal was closed, say."""
    for line in _slurm(
        "squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%F %k"
    ).splitlines():
        job, _, comment = line.partition(" ")
        if comment == str(log(run, "simulate")):
            return job
    return None


def cancel(jobs: Sequence[str]) -> None:
    _slurm("scancel", *jobs)


def largest_array() -> int:
    """Elements that an array may have here: SLURM's MaxArraySize is one more than the largest index."""
    for line in _slurm("scontrol", "show", "config").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize":
            return max(1, int(value))
    return LARGEST_ARRAY


def _slurm(*command: str) -> str:
    """Output of one of SLURM's commands.

    Raises:
        RunError: It is not installed, fails, or does not answer.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except FileNotFoundError as error:
        raise RunError(
            f"there is no {command[0]} here",
            where="SLURM",
            todo="Run this on a login node of the cluster.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RunError(
            f"{command[0]} does not answer",
            where="SLURM",
            todo="Try again later; what is submitted goes on.",
        ) from error
    if done.returncode:
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise RunError(
            f"{command[0]}: {said}", where="SLURM", todo=f"The command was: {' '.join(command)}"
        )
    return done.stdout
