"""Batch scripts as text: what a job asks of SLURM and what it runs; typed values in, one string
out, nothing is read or written.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from sbiwb.errors import ConfigError
from sbiwb.families import MAX_COUNT, WHOLE, Count, Options

Step = Literal["simulate", "train", "diagnose", "sample", "report"]
STEPS: tuple[Step, ...] = get_args(Step)
KILLED_STARTS = (
    3  # of a job whose process is killed each time, as by the kernel when memory is short
)
INDEX = (
    "{index of the array element}"  # stands in a command for what only the running element knows
)

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.,:+@-]*$")]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")]
Option = Annotated[str, Field(pattern=r"^--[a-z][a-z-]*(=[^\s\x00-\x1f\x7f'\"\\]+)?$")]
Minutes = Annotated[int, Field(ge=1, le=1_000_000), WHOLE]
Cores = Annotated[int, Field(ge=1, le=4096), WHOLE]
Gigabytes = Annotated[float, Field(gt=0, le=1e6)]


class Cluster(Options):
    """What jobs ask of the batch system; where a mapping by step is allowed, a step that it leaves
    out has the default.
    """

    partition: Word | dict[Step, Word] | None = Field(
        None, description="Partition, or one for each step; null: the cluster's default."
    )
    account: Word | None = Field(None, description="Account that pays; null: your default one.")
    qos: Word | dict[Step, Word] | None = Field(
        None, description="Quality of service, or one for each step."
    )
    time_min: Minutes | dict[Step, Minutes] = Field(
        60,
        description="Time limit in minutes, or one for each step; a job that reaches it is run "
        "again and goes on.",
    )
    cpus: Cores | dict[Step, Cores] = Field(
        1,
        description="Cores of each task, or by step; an array element simulates with all of them.",
    )
    memory_gb: Gigabytes | dict[Step, Gigabytes] | None = Field(
        None, description="Memory of a job on each node, or by step."
    )
    gpus: Count = Field(
        0,
        ge=0,
        description="GPUs that train together on each node, one process each; 0: training on "
        "cores.",
    )
    nodes: Count = Field(1, ge=1, description="Nodes that train together.")
    array: Count = Field(
        100,
        ge=1,
        description="Elements of the simulating array at most; the cluster's own limit holds too.",
    )
    at_once: Annotated[int, Field(ge=1, le=MAX_COUNT), WHOLE] | None = Field(
        None, description="Elements that run at once at most; null: no limit."
    )
    environment: list[Line] = Field(
        [], description="Shell lines before the work: module load ..., source .venv/bin/activate."
    )
    requeue: bool = Field(
        True,
        description="Whether a job that was stopped by its time limit, or killed, is run again.",
    )
    signal_s: Count = Field(
        180,
        ge=10,
        le=65535,
        description="Seconds before the time limit at which a job saves and goes.",
    )
    extra: list[Option] | dict[Step, list[Option]] = Field(
        [],
        description="Further options of sbatch (SLURM only), such as --constraint=a100; or by "
        "step.",
    )

    @model_validator(mode="after")
    def _time_to_work(self) -> Cluster:
        for step in STEPS:
            if self.signal_s > 30 * self.of(step).time_min:
                minutes = f"time_min {self.of(step).time_min} ({step})"
                raise ValueError(
                    f"signal_s {self.signal_s} takes more than half of {minutes}; "
                    "ask for more time, or lower signal_s."
                )
        return self

    def of(self, step: Step) -> Resources:
        """What one step asks for."""
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        asked = {}
        for name in Resources.__dataclass_fields__:
            value = getattr(self, name)
            asked[name] = value.get(step, defaults[name]) if isinstance(value, dict) else value
        return Resources(**asked)


@dataclass(frozen=True)
class Resources:
    """What one step asks for, as `Cluster` describes it."""

    partition: str | None
    qos: str | None
    time_min: int
    cpus: int
    memory_gb: float | None
    extra: Sequence[str]


@dataclass(frozen=True)
class JobCommand:
    """One program of a job.

    Args:
        words: Program and arguments; `INDEX` among them becomes the number of the array element.
        everywhere: Whether each task of the job runs it, or one.
    """

    words: tuple[str, ...]
    everywhere: bool = False


@dataclass(frozen=True)
class Job:
    """One batch job.

    Args:
        name: As the queue shows it.
        step: Whose resources it asks for.
        commands: Run in this order, until one fails.
        folder: Where it runs.
        log: Its output, appended to at every start; of an array `%a` becomes the element. It is the
            job's comment too, for job numbers come again and names are short.
        elements: Numbers of the array's elements; empty: no array.
    """

    name: str
    step: Step
    commands: tuple[JobCommand, ...]
    folder: Path
    log: Path
    elements: tuple[int, ...] = ()


def script(job: Job, cluster: Cluster) -> str:
    """The batch script of a job: it asks for its resources, sets up the environment, and starts its
    commands by srun.

    A command that exits with 75 was stopped by the signal before the time limit, and is queued
    again; so is one that was killed, in the first starts of the job. SLURM's signal reaches the
    tasks of srun only, and from SLURM 22.05 on srun does not take over the cores of a task by
    itself.

    Raises:
        ConfigError: A path that cannot stand in a script.
    """
    places = _Places.of(job.step, cluster)
    function = _RUN_AGAIN if cluster.requeue else _RUN_ONCE
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {_word(option)}" for option in _options(job, cluster, places)),
        "",
        *cluster.environment,
        f"export SRUN_CPUS_PER_TASK={cluster.of(job.step).cpus}",
        "",
        *function.strip().splitlines(),
        "",
        *(_run(command, places) for command in job.commands),
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Places:
    """Where the processes of a step run: nodes, and GPUs on each, one process a GPU."""

    nodes: int
    gpus: int

    @classmethod
    def of(cls, step: Step, cluster: Cluster) -> _Places:
        """Training takes all nodes and GPUs; diagnosing and sampling take one GPU."""
        if step == "train":
            return cls(cluster.nodes, cluster.gpus)
        return cls(1, min(1, cluster.gpus) if step in ("diagnose", "sample") else 0)

    @property
    def per_node(self) -> int:
        """Processes on each node."""
        return max(1, self.gpus)


_RUN_ONCE = """
run() {
    srun "$@" || exit "$?"
}
"""
_RUN_AGAIN = f"""
run() {{
    srun "$@"
    code=$?
    # 75: stopped by the signal before the time limit; above 128: killed
    starts=${{SLURM_RESTART_COUNT:-0}}
    killed=$(( code > 128 && starts < {KILLED_STARTS - 1} ))
    if [ "$code" -eq 75 ] || [ "$killed" -eq 1 ]; then
        scontrol requeue "$SLURM_JOB_ID" && sleep 600  # SLURM ends this script here
    fi
    [ "$code" -eq 0 ] || exit "$code"
}}
"""


def ranges(numbers: Sequence[int]) -> str:
    """Numbers as SLURM writes them.

    Example:
        >>> ranges([0, 1, 2, 5, 7, 8])
        '0-2,5,7-8'
    """
    pieces: list[list[int]] = []
    for number in sorted(set(numbers)):
        if pieces and number == pieces[-1][-1] + 1:
            pieces[-1] = [pieces[-1][0], number]
        else:
            pieces.append([number])
    return ",".join("-".join(map(str, piece)) for piece in pieces)


def job_name(run: str, step: str) -> str:
    """How the queue shows a step of a run.

    Example:
        >>> job_name("my run", "train")
        'sbiwb-my_run-train'
    """
    return f"sbiwb-{re.sub(r'[^A-Za-z0-9_.-]', '_', run)}-{step}"


def _options(job: Job, cluster: Cluster, places: _Places) -> list[str]:
    """What the script asks of sbatch."""
    asked = cluster.of(job.step)
    options: dict[str, str | float | None] = {
        "job-name": job.name,
        "comment": str(job.log),
        "chdir": str(job.folder),
        "output": str(job.log.parent).replace("%", "%%") + "/" + job.log.name,
        "open-mode": "append",
        "partition": asked.partition,
        "account": cluster.account,
        "qos": asked.qos,
        "time": asked.time_min,
        "nodes": places.nodes,
        "ntasks-per-node": places.per_node,
        "cpus-per-task": asked.cpus,
        "mem": asked.memory_gb and f"{round(1024 * asked.memory_gb)}M",
        "gres": places.gpus and f"gpu:{places.gpus}",
        "signal": f"USR2@{cluster.signal_s}",
        "array": _array(job.elements, cluster.at_once),
    }
    named = [f"--{name}={value}" for name, value in options.items() if value]
    requeue = "--requeue" if cluster.requeue else "--no-requeue"
    return [*named, requeue, *asked.extra]


def _array(elements: Sequence[int], at_once: int | None) -> str:
    """The elements, and how many of them may run at once; empty without elements."""
    if not elements or at_once is None:
        return ranges(elements)
    return f"{ranges(elements)}%{at_once}"


def _run(command: JobCommand, places: _Places) -> str:
    """The line that runs a command: by each process of the job, or by one."""
    tasks, nodes = 1, 1
    if command.everywhere:
        tasks, nodes = places.nodes * places.per_node, places.nodes
    words = [f"run --ntasks={tasks} --nodes={nodes}", *map(_argument, command.words)]
    return " ".join(words)


def _argument(word: str) -> str:
    if word == INDEX:
        return '"$SLURM_ARRAY_TASK_ID"'
    return _word(word)


def _word(value: str) -> str:
    """One word of the script, whatever it holds.

    Raises:
        ConfigError: A line end or another control character, which SLURM's own lines cannot quote;
            or a backslash.
    """
    if not value.isprintable() or "\\" in value:
        raise ConfigError(
            f"{value!r} cannot stand in a batch script",
            where="machine.cluster",
            todo="Rename the folder.",
        )
    return shlex.quote(value)
