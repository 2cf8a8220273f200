"""Executors: who runs the tasks, and where."""

from sbiwb.executors._batch import STEPS, Cluster, Job, JobCommand, Step, job_name, script
from sbiwb.executors._death import WorkerDied
from sbiwb.families import Family

__all__ = [
    "STEPS",
    "Cluster",
    "JobCommand",
    "Job",
    "Step",
    "WorkerDied",
    "family",
    "job_name",
    "script",
]

family = Family("sbiwb.executors", "executor")
