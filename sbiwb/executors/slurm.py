"""Array jobs of SLURM, followed from here; elements that are lost are submitted again.

Each element is `sbiwb worker RUN INDEX`.
"""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from sbiwb import errors
from sbiwb.contracts import ExecutorPart
from sbiwb.errors import RunError, SbiwbError
from sbiwb.executors._batch import INDEX, Cluster, Job, JobCommand, job_name, script
from sbiwb.executors._tasks import Results, Task, Work
from sbiwb.families import Count
from sbiwb.files import put_json, put_text, read_json
from sbiwb.words import duration

# -P: a file beside the config must not stand for a module of the same name
SBIWB = (sys.executable, "-P", "-m", "sbiwb")
COMMAND_S = 120  # for one of SLURM's commands, which retry by themselves
SILENT_S = 900.0  # without an answer of SLURM, before this process gives up; the jobs go on
LARGEST_ARRAY = 1001  # SLURM's own default


class Config(ExecutorPart):
    """How the array is followed; what it asks for stands in `machine.cluster`."""

    kind: Literal["slurm"] = Field("slurm", description="Array jobs of SLURM.")
    resubmit: Count = Field(
        3, ge=0, le=1000, description="How often elements that were lost are submitted again."
    )
    poll_s: float = Field(
        5.0, gt=0, le=3600, description="Seconds between two looks at the queue and the shards."
    )

    def build(self, cluster: Cluster | None = None) -> SlurmExecutor:
        return SlurmExecutor(cluster or Cluster(), self.resubmit, self.poll_s)


class SlurmExecutor:
    """Runs the tasks of one run as an array job.

    Its elements do not get the tasks: an element takes from the run folder what is missing of its
    share. So a task must name the `run`, its `cell` (element i of `count` takes the cells i,
    i + count, ...), the `file` that its work writes, and the `record`, a JSON file that is written
    after it. This process deletes neither: an element may have finished them a moment ago.

    Args:
        cluster: What the array asks for.
        resubmit: How often lost elements are submitted again.
        poll_s: Seconds between two looks.
    """

    def __init__(self, cluster: Cluster, resubmit: int = 3, poll_s: float = 5.0) -> None:
        self.cluster, self.resubmit, self.poll_s = cluster, resubmit, poll_s
        self.workers = (cluster.at_once or cluster.array) * cluster.of("simulate").cpus

    def run(self, work: Work[object], tasks: Sequence[Task]) -> Results[Task]:
        """(task, record) as records appear.

        The failure that an element noted comes as the result, or that it was lost too often.

        Raises:
            RunError: SLURM does not answer. The array goes on.
        """
        waiting = list(tasks)
        if not waiting:
            return
        run = Path(tasks[0]["run"]).resolve()
        count = elements(self.cluster, 1 + max(task["cell"] for task in tasks))
        for _ in range(1 + self.resubmit):
            numbers = sorted({task["cell"] % count for task in waiting})
            job = running_array(run) or _submit_array(run, self.cluster, numbers, count)
            yield from self._follow(job, waiting)
            yield from _noted_failures(run, count, waiting)
            if not waiting:
                return
        for task in waiting:
            yield task, _lost(run, task["cell"] % count, 1 + self.resubmit)

    def _follow(self, job: str, waiting: list[Task]) -> Results[Task]:
        """What is finished until the job is over.

        The job is cancelled where the caller leaves before, but not where SLURM does not answer.
        """
        try:
            is_over = False
            while not is_over:
                # asked first: what an element wrote before its end is there then
                is_over = not queued([job])
                yield from _finished(waiting)
                if not is_over:
                    time.sleep(self.poll_s)
        except RunError:
            raise
        except BaseException:
            cancel([job])
            raise


def _finished(waiting: list[Task]) -> Results[Task]:
    """Takes out the tasks that are done, each with its record."""
    for task in list(waiting):
        record = _read_result(task)
        if record is not None:
            waiting.remove(task)
            yield task, record


def _read_result(task: Task) -> Task | None:
    """The record of a task, opened by name, for listings of network file systems lag.

    None while there is none, and where it describes a file that is lost, or another problem's.
    """
    try:
        record = json.loads(Path(task["record"]).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    is_of_task = isinstance(record, dict) and record.get("data_hash") == task["data_hash"]
    if not is_of_task or not Path(task["file"]).is_file():
        return None
    return record


def _noted_failures(run: Path, count: int, waiting: list[Task]) -> Results[Task]:
    """The failures that elements noted, each as the result of the tasks it had left."""
    for task in list(waiting):
        failure = read_failure(note(run, task["cell"] % count, count))
        if failure is not None:
            waiting.remove(task)
            yield task, failure


def _lost(run: Path, number: int, times: int) -> RunError:
    return RunError(
        f"element {number} of the array ended {times} times without finishing its shards",
        where=log(run, "simulate").with_name(f"simulate-{number}.log"),
        todo="Read its log; ask for more memory or time in machine.cluster; "
        "then run the same command again.",
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
    """Elements among which the cells are dealt out: no more than asked for, than there is work, or
    than the cluster's arrays may have.
    """
    return max(1, min(cluster.array, cells, largest_array()))


def jobs_folder(run: Path) -> Path:
    return run / "jobs"


def log(run: Path, step: str) -> Path:
    """Output of a step; never named by a job's number, which a restarted controller gives out
    again.
    """
    return jobs_folder(run) / ("simulate-%a.log" if step == "simulate" else f"{step}.log")


def note(run: Path, index: int, count: int) -> Path:
    """What an array element notes about itself: starts without progress, and the failure that ended
    it.
    """
    return jobs_folder(run) / f"element-{index}-of-{count}.json"


def put_failure(path: Path, error: SbiwbError) -> None:
    """Notes the failure that ends an element, for whoever follows the array."""
    put_json(path, {"failure": error.to_json()})


def read_failure(path: Path) -> SbiwbError | None:
    """The failure that ended an element, if it noted one."""
    if not path.is_file():
        return None
    failure = read_json(path).get("failure")
    if not isinstance(failure, dict):
        return None
    return errors.from_json(failure)


def put_script(job: Job, cluster: Cluster, run: Path) -> Path:
    """Writes a job's batch script into the run folder."""
    path = jobs_folder(run) / f"{job.step}.sh"
    put_text(path, script(job, cluster))
    return path


def submit(path: Path, *, after: str | None = None) -> str:
    """Submits a batch script; the number of its job.

    Args:
        path: The script.
        after: A dependency such as `afterok:12`; a job whose dependency can never hold is
            cancelled.

    Raises:
        RunError: SLURM is not here, or refuses.
    """
    dependency = []
    if after:
        dependency = [f"--dependency={after}", "--kill-on-invalid-dep=yes"]
    return _slurm("sbatch", "--parsable", *dependency, str(path)).strip().split(";")[0]


def queued(jobs: Sequence[str]) -> list[str]:
    """Those of the jobs that wait or run; waits with the answer while the controller is away.

    Raises:
        RunError: It does not come back.
    """
    present = _queue("%F").split()
    return [job for job in jobs if job in present]


def running_array(run: Path) -> str | None:
    """The array that simulates this run already: of an earlier command whose terminal was closed,
    say.
    """
    for line in _queue("%F %k").splitlines():
        job, _, comment = line.partition(" ")
        if comment == str(log(run, "simulate")):
            return job
    return None


def _queue(columns: str) -> str:
    """The user's jobs, a line each; waits with the answer while the controller is away.

    Raises:
        RunError: It does not come back.
    """
    end = time.monotonic() + SILENT_S
    while True:
        try:
            return _slurm(
                "squeue", "--noheader", f"--user={getpass.getuser()}", f"--format={columns}"
            )
        except RunError as error:
            if time.monotonic() > end:
                raise RunError(
                    f"no answer for {duration(SILENT_S)} ({error.what})",
                    where="SLURM",
                    todo="What is submitted goes on; run the same command again later.",
                ) from error
            time.sleep(min(10.0, SILENT_S / 10))


def cancel(jobs: Sequence[str]) -> None:
    """Ends jobs.

    Raises:
        RunError: SLURM does not do it.
    """
    try:
        _slurm("scancel", *jobs)
    except RunError as error:
        raise RunError(
            f"the jobs go on, for they could not be cancelled ({error.what})",
            where="SLURM",
            todo=f"End them when it answers again: scancel {' '.join(jobs)}",
        ) from error


def largest_array() -> int:
    """Elements that an array may have here: SLURM's MaxArraySize is one more than the largest
    index.
    """
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
