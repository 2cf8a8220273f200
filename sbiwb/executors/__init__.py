"""Executors: who runs the tasks, and where."""

from sbiwb.executors._batch import STEPS, Cluster, Command, Job, Step, job_name, script
from sbiwb.executors._death import WorkerDied
from sbiwb.families import Family

__all__ = [
    "STEPS",
    "Cluster",
    "Command",
    "Job",
    "Step",
    "WorkerDied",
    "family",
    "job_name",
    "script",
]

family = Family("sbiwb.executors", "executor")
