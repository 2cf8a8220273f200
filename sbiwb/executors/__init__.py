"""Executors: who runs the tasks, and where."""

from sbiwb.contracts import ExecutorPart
from sbiwb.executors._batch import STEPS, Cluster, Job, JobCommand, Step, job_name, script
from sbiwb.executors._tasks import Results, Task, Work, WorkerDied
from sbiwb.families import Family

__all__ = [
    "STEPS",
    "Cluster",
    "Job",
    "JobCommand",
    "Results",
    "Step",
    "Task",
    "Work",
    "WorkerDied",
    "family",
    "job_name",
    "script",
]

family = Family("sbiwb.executors", "executor", ExecutorPart)
