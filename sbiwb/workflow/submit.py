"""The verb `submit`: the steps of a run as batch jobs of SLURM, each waiting for the one before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sbiwb.contracts import Reporter
from sbiwb.errors import RunError
from sbiwb.executors import STEPS, Cluster, Job, JobCommand, Step, job_name, script, slurm
from sbiwb.project.opening import write_config
from sbiwb.project.plan import heal_plan
from sbiwb.project.project import Project
from sbiwb.rundir import RunDir
from sbiwb.steps.pairs.shard_grid import count_cells
from sbiwb.steps.pairs.tasks import missing_tasks
from sbiwb.submitted_jobs import SubmittedJob, put_jobs, read_jobs
from sbiwb.workflow.simulate_plan import Planner


@dataclass(frozen=True)
class Submitted:
    """One job.

    Args:
        step: Its step.
        script: Its batch script.
        id: Its number in the queue; empty where it was not submitted.
        after: What it waits for, as sbatch says it; empty for the first.
        elements: Of its array; 0: no array.
        text: The script's text.
    """

    step: Step
    script: Path
    id: str
    after: str
    elements: int
    text: str


def submit(
    project: Project, reporter: Reporter, *, what: str = "all", dry_run: bool = False
) -> list[Submitted]:
    """Writes the batch scripts into the run folder, and submits them one after the other.

    Args:
        project: The run.
        reporter: Where progress goes.
        what: A step, or `all`.
        dry_run: Whether nothing is written or submitted.

    Raises:
        RunError: Unknown step, no SLURM here, or jobs of this run are in the queue already.
    """
    if what not in (*STEPS, "all"):
        todo = f"One of: {', '.join((*STEPS, 'all'))}."
        raise RunError(f"no step '{what}'", where="sbiwb submit", todo=todo)
    submission = _Submission(project, reporter)
    if dry_run:
        return submission.chain(submission.jobs(what, submission.guessed_array()), submit=False)
    _check_queue(project.run)
    array = NO_ARRAY
    if what in ("simulate", "all"):
        array = submission.missing_array()
    write_config(project)
    return submission.chain(submission.jobs(what, array), submit=True)


@dataclass(frozen=True)
class _ArrayShares:
    """The array that simulates.

    Args:
        numbers: Elements with something to do.
        count: Elements among which all cells are dealt out.
    """

    numbers: Sequence[int]
    count: int


NO_ARRAY = _ArrayShares((), 1)


@dataclass(frozen=True)
class _Submission:
    """The jobs of a run."""

    project: Project
    reporter: Reporter

    def missing_array(self) -> _ArrayShares:
        """The array that simulates what is missing, after a preflight where there is no plan
        yet."""
        planner, run = Planner(self.project, self.reporter), self.project.run
        if not self._simulates:
            planner.borrow()
            return NO_ARRAY
        heal_plan(run, self.reporter)
        grids = planner.grids(planner.prepare())
        count = slurm.elements(self._cluster, count_cells(grids))
        tasks = missing_tasks(run, grids, self.project.data_hash, self.reporter)
        return _ArrayShares(sorted({task.cell % count for task in tasks}), count)

    def guessed_array(self) -> _ArrayShares:
        """The same without writing or asking anything.

        Its elements are every cell of the plan, or without a plan as many as are allowed.
        """
        if not self._simulates:
            return NO_ARRAY
        planner, count = Planner(self.project, self.reporter), self._cluster.array
        if self.project.run.plan.is_file():
            count = min(count, count_cells(planner.grids(planner.existing())))
        return _ArrayShares(range(count), count)

    def jobs(self, what: str, array: _ArrayShares) -> list[Job]:
        """The jobs of a step, or of all that have something to do."""
        run, folder = self._folder, Path.cwd()
        jobs: dict[Step, Job] = {}
        if array.numbers:
            numbers, count = array.numbers, array.count
            jobs["simulate"] = slurm.array_job(run, folder, self._cluster, numbers, count)
        for step, commands in self._commands().items():
            name, log = job_name(run.name, step), slurm.log(run, step)
            jobs[step] = Job(name, step, commands, folder, log)
        if what == "all" and not self.project.config.problem.observations:
            del jobs["sample"]
        return [job for step, job in jobs.items() if what in (step, "all")]

    def chain(self, jobs: Sequence[Job], *, submit: bool) -> list[Submitted]:
        """Each job after the one before; the report comes whatever became of that."""
        run, cluster = self._folder, self._cluster
        chain: list[Submitted] = []
        for job in jobs:
            after = _dependency(job, chain)
            path, number = slurm.jobs_folder(run) / f"{job.step}.sh", ""
            if submit:
                _forget_notes(run, job)
                number = slurm.submit(slurm.put_script(job, cluster, run), after=after or None)
            text = script(job, cluster)
            chain.append(Submitted(job.step, path, number, after, len(job.elements), text))
            if submit:
                _remember(RunDir(run), chain)
        return chain

    @property
    def _folder(self) -> Path:
        return self.project.run.path.resolve()

    @property
    def _cluster(self) -> Cluster:
        return self.project.config.machine.cluster

    @property
    def _simulates(self) -> bool:
        """Whether the run has simulations of its own."""
        return self.project.data_run.path == self.project.run.path

    def _commands(self) -> dict[Step, tuple[JobCommand, ...]]:
        """What each step after the simulations runs, in this order."""
        run = str(self._folder)
        train: tuple[JobCommand, ...]
        train = (JobCommand((*slurm.SBIWB, "train", run), everywhere=True),)
        if self._simulates:
            # checks all shards, and makes again what was lost
            train = (JobCommand((*slurm.SBIWB, "worker", run, "0", "--of", "1")), *train)
        return {
            "train": train,
            "diagnose": (JobCommand((*slurm.SBIWB, "diagnose", run, "--gate")),),
            "sample": (JobCommand((*slurm.SBIWB, "sample", run)),),
            "report": (JobCommand((*slurm.SBIWB, "report", run)),),
        }


def _dependency(job: Job, before: Sequence[Submitted]) -> str:
    """What a job waits for, as sbatch says it; a job that is not submitted stands as a variable."""
    if not before:
        return ""
    condition = "afterany" if job.step == "report" else "afterok"
    return f"{condition}:{before[-1].id or f'${before[-1].step}'}"


def _forget_notes(run: Path, job: Job) -> None:
    """Elements start afresh: what earlier ones noted about their failures is over."""
    if job.step == "simulate":
        for path in slurm.jobs_folder(run).glob("element-*.json"):
            path.unlink(missing_ok=True)


def _remember(run: RunDir, jobs: Sequence[Submitted]) -> None:
    """Writes which jobs were submitted, for `status` and for the next submission."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    by_step = read_jobs(run)
    for job in jobs:
        by_step[job.step] = SubmittedJob(job.id, job.after, job.elements, now)
    put_jobs(run, by_step)


def _check_queue(run: RunDir) -> None:
    """Two jobs of one step would do the same work twice.

    Raises:
        RunError: Jobs of this run wait or run.
    """
    ids = [job.id for job in read_jobs(run).values()]
    queued = slurm.queued(ids) if ids else []
    if queued:
        look, end = f"squeue --jobs={','.join(queued)}", f"scancel {' '.join(queued)}"
        raise RunError(
            f"jobs of this run are in the queue: {', '.join(queued)}",
            where=run.path,
            todo=f"Wait for them ({look}), or end them: {end}",
        )
