"""What `submit` notes of the jobs of a run: the latest job of each step, in `jobs/jobs.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sbiwb.files import put_json, read_typed
from sbiwb.rundir import RunDir

REMEDY = (
    "Look into the queue for jobs of this run (squeue), delete the file, and submit again:"
    " what is done is not done again."
)


@dataclass(frozen=True)
class SubmittedJob:
    """One job in the queue of a batch system.

    Args:
        id: Its number.
        after: What it waits for, as sbatch says it.
        elements: Of its array; 0: no array.
        submitted: When.
    """

    id: str
    after: str = ""
    elements: int = 0
    submitted: str = ""


@dataclass(frozen=True)
class _JobsFile:
    jobs: dict[str, SubmittedJob] = field(default_factory=dict)


def read_jobs(run: RunDir) -> dict[str, SubmittedJob]:
    """The latest job of each step.

    Raises:
        CorruptFile: The file cannot be read, or a field is missing or of another type.
    """
    if not run.jobs_list.is_file():
        return {}
    return read_typed(_JobsFile, run.jobs_list, todo=REMEDY).jobs


def put_jobs(run: RunDir, jobs: Mapping[str, SubmittedJob]) -> None:
    put_json(run.jobs_list, {"jobs": {step: asdict(job) for step, job in jobs.items()}})
