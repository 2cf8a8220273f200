"""`make bench`: sbiwb and its peers, one process a measurement, interleaved round by round; tables
on the screen, records as JSON.

    make bench                                   everything: hours on 2 cores
    make bench ARGS="--only step,draws --tasks slcp"
    make bench ARGS="--quick"                    small numbers: does the harness work? (minutes)
    make bench ARGS="--show .bench/results.json" the tables of an earlier run

Each process sees the same number of cores (--threads) and the same pairs. What is timed, and which
defaults each peer has, stands in the first lines of `ours.py` and `peers/with_*.py`. The machine
must be quiet: where others use its cores, torch with two threads is 10 to 50 times slower.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tests.bench.contenders import (
    COUPLED,
    EVERYONE,
    OURS,
    PEERS,
    ROOT,
    SBI,
    Contender,
    Load,
    ensure,
    run,
)
from tests.bench.peers.protocol import Job
from tests.bench.results import Record, Rows, tables
from tests.bench.tasks import TASKS, Sizes, Task, prepare

MEASURES = ("step", "fit", "draws", "growth", "profile")
BATCHES = (200, 1024)
BUSY = 0.1  # cores that others take, beyond which timings are not to be trusted
GROWTH = [
    *({"features": d, "context": 8, "pairs": 10_000} for d in (2, 5, 10, 20, 50)),
    *({"features": 5, "context": c, "pairs": 10_000} for c in (64, 256)),
    *({"features": 5, "context": 8, "pairs": n} for n in (100_000, 1_000_000)),
]
console = Console(width=None if sys.stdout.isatty() else 170)


@dataclass
class Bench:
    """One run of the benchmark: its options, its folder, and the records so far."""

    folder: Path
    envs: Path
    out: Path
    sizes: Sizes
    rounds: int
    threads: int
    quick: bool
    settings: tuple[str, ...]
    contenders: tuple[Contender, ...]
    timeout_s: float
    records: list[Record] = field(default_factory=list)

    @property
    def peers(self) -> tuple[Contender, ...]:
        return tuple(one for one in self.contenders if one in PEERS)

    def measure(
        self, contender: Contender, job: Job, *, cache: Path | None = None, **about: Any
    ) -> Record:
        """Runs a job, keeps its record, and tells."""
        job = replace(
            job,
            contender=contender.choice or contender.name,
            threads=self.threads,
            quick=self.quick,
        )
        cache = (cache or self.folder / "cache").resolve()
        variables = {"SBIWB_CACHE": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor")}
        before = Load.now()
        result = run(contender, job, envs=self.envs, variables=variables, timeout_s=self.timeout_s)
        after = Load.now()
        facts = {
            "measure": job.measure,
            "contender": contender.name,
            "batch_size": job.batch_size,
            "draws": job.draws,
            "seed": job.seed,
        }
        record = {
            **facts,
            **about,
            **result,
            "job_seconds": after.when - before.when,
            "strangers": before.strangers(after),
        }
        self.records.append(record)
        self.save()
        tell(record)
        return record

    def save(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps({"about": about(self), "records": self.records}, indent=1))

    def job(self, measure: str, task: Task, contender: Contender, **more: Any) -> Job:
        """A job on a task's data; ours also gets the config and its shards."""
        options = {
            "data": str(task.data.resolve()),
            "epochs": self.sizes.epochs,
            "draws": self.sizes.draws,
            **more,
        }
        if contender.ours:
            options |= {
                "settings": self.settings_of(task, contender),
                "more": {"config": str(task.config)},
            }
        return Job(measure, contender.choice, **options)

    def settings_of(self, task: Task, contender: Contender) -> list[str]:
        return [
            *self.sizes.settings,
            f"simulate.from={task.shards.resolve()}",
            *contender.settings,
            *self.settings,
        ]

    def weights(self, task: Task, contender: Contender, seed: int) -> Path:
        """Where a fit is kept: a run folder for ours; BayesFlow wants the suffix."""
        name = f"{contender.fitted}-{seed}".replace(" ", "_")
        return (
            self.folder / "fits" / task.name / (name if contender.ours else f"{name}.weights.h5")
        ).resolve()


def about(bench: Bench) -> dict[str, Any]:
    """The machine and the options, for the JSON."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": bench.threads,
        "load_average": os.getloadavg(),
        "system": platform.platform(),
        "rounds": bench.rounds,
        "settings": list(bench.settings),
        "sizes": vars(bench.sizes),
    }


def tell(record: Record) -> None:
    """One line for a record."""
    keys = (
        "pairs_per_s",
        "seconds",
        "test_nll",
        "draws_per_s",
        "log_prob_per_s",
        "step_us",
        "peak_mb",
    )
    facts = [f"{key} {record[key]:,.2f}" for key in keys if isinstance(record.get(key), float)]
    place = " ".join(
        str(record[key]) for key in ("measure", "task", "contender", "batch_size") if key in record
    )
    console.print(
        f"{place}: {record['error'][-300:]}"
        if "error" in record
        else f"{place}: {', '.join(facts)}",
        markup=False,
        highlight=False,
    )


def steps(bench: Bench, tasks: list[Task]) -> None:
    for turn in range(bench.rounds):
        for task in tasks:
            for batch in BATCHES:
                for contender in (one for one in bench.contenders if one != COUPLED):
                    bench.measure(
                        contender,
                        bench.job("step", task, contender, batch_size=batch),
                        task=task.name,
                        round=turn,
                    )


def fits(bench: Bench, tasks: list[Task]) -> None:
    """sbi nsf and ours with every seed, ours with a cold and then a warm cache; the other peers,
    for their NLL, with the first seed."""
    for seed in range(bench.rounds):
        for task in tasks:
            for contender in bench.contenders:
                if contender in (OURS, SBI) or (seed == 0 and not contender.fit):
                    fit(bench, task, contender, seed)


def fit(bench: Bench, task: Task, contender: Contender, seed: int) -> None:
    job = bench.job(
        "fit", task, contender, seed=seed, save=str(bench.weights(task, contender, seed))
    )
    Path(job.save).parent.mkdir(parents=True, exist_ok=True)
    if contender != OURS:
        bench.measure(contender, job, task=task.name)
        return
    cache = bench.folder / "cold"
    shutil.rmtree(cache, ignore_errors=True)
    bench.measure(replace(contender, name="sbiwb cold"), job, cache=cache, task=task.name)
    bench.measure(replace(contender, name="sbiwb warm"), job, cache=cache, task=task.name)


def draws(bench: Bench, tasks: list[Task]) -> None:
    for task in tasks:
        for contender in bench.contenders:
            source = next(one for one in EVERYONE if one.name == contender.fitted)
            if not bench.weights(task, source, 0).exists():
                fit(bench, task, source, 0)
    for turn in range(bench.rounds):
        for task, contender in (
            (task, contender) for task in tasks for contender in bench.contenders
        ):
            weights = str(bench.weights(task, contender, 0))
            facts = {"task": task.name, "round": turn, "observations": bench.sizes.observations}
            bench.measure(contender, bench.job("draws", task, contender, save=weights), **facts)
            if contender.ours:
                bench.measure(contender, bench.job("many", task, contender, save=weights), **facts)


def growth(bench: Bench, tasks: list[Task]) -> None:
    for turn in range(bench.rounds):
        for sizes in GROWTH[: 2 if bench.quick else None]:
            more = {
                **sizes,
                "pairs": min(sizes["pairs"], bench.sizes.train) if bench.quick else sizes["pairs"],
            }
            job = Job(
                "growth",
                "",
                data="",
                batch_size=1024,
                draws=bench.sizes.draws,
                settings=list(bench.settings),
            )
            bench.measure(
                OURS,
                replace(job, more={**more, "observations": bench.sizes.observations}),
                round=turn,
            )


def profile(bench: Bench, tasks: list[Task]) -> None:
    for turn in range(bench.rounds):
        for task, batch in ((task, batch) for task in tasks for batch in BATCHES):
            bench.measure(
                OURS, bench.job("profile", task, OURS, batch_size=batch), task=task.name, round=turn
            )


def show(found: Rows) -> None:
    table = Table(
        title=found.title,
        title_justify="left",
        caption="\n".join(found.notes) or None,
        caption_justify="left",
    )
    for place, head in enumerate(found.heads):
        table.add_column(head, justify="right" if place else "left")
    for row in found.cells:
        table.add_row(*row)
    console.print(table)


def parts(text: str, known: tuple[str, ...]) -> Iterator[str]:
    """Comma-separated names, each of which is known."""
    for name in text.split(","):
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}")
        yield name


def main(
    only: Annotated[str, typer.Option(help="Measures, separated by commas.")] = ",".join(MEASURES),
    tasks: Annotated[str, typer.Option(help="Tasks, separated by commas.")] = ",".join(TASKS),
    contenders: Annotated[
        str, typer.Option(help="Contenders by name, separated by commas.")
    ] = ",".join(one.name for one in EVERYONE),
    rounds: Annotated[
        int,
        typer.Option(help="Measurements of each, of which the median counts; also training seeds."),
    ] = 3,
    threads: Annotated[int, typer.Option(help="Cores that each process may use.")] = 2,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small numbers: does the harness work?")
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of our YAML, everywhere.")
    ] = None,
    envs: Annotated[
        Path, typer.Option(envvar="SBIWB_BENCH_ENVS", help="Environments of the peers.")
    ] = ROOT / ".bench" / "envs",
    folder: Annotated[Path, typer.Option(help="Data, fits and caches.")] = ROOT / ".bench",
    out: Annotated[
        Path | None, typer.Option(help="The JSON; default: results.json in the folder.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="Of one process.")] = 7200,
    shown: Annotated[
        Path | None, typer.Option("--show", help="Only print the tables of this JSON.")
    ] = None,
) -> None:
    """Runs the benchmark."""
    if shown is not None:
        for table in tables(json.loads(shown.read_text())["records"]):
            show(table)
        return
    names = tuple(parts(contenders, tuple(one.name for one in EVERYONE)))
    sizes = Sizes.quick() if quick else Sizes()
    folder = folder / "quick" if quick else folder
    bench = Bench(
        folder=folder,
        envs=envs,
        out=out or folder / "results.json",
        sizes=sizes,
        rounds=rounds,
        threads=threads,
        quick=quick,
        settings=tuple(settings or ()),
        contenders=tuple(one for one in EVERYONE if one.name in names),
        timeout_s=timeout_s,
    )
    measures = list(parts(only, MEASURES))
    for environment in dict.fromkeys(
        one.environment for one in bench.peers if set(measures) & {"step", "fit", "draws"}
    ):
        ensure(environment, envs)
    folder.mkdir(parents=True, exist_ok=True)
    prepared = [prepare(name, folder, sizes) for name in parts(tasks, TASKS)]
    work = {"step": steps, "fit": fits, "draws": draws, "growth": growth, "profile": profile}
    for measure in measures:
        work[measure](bench, prepared)
    for table in tables(bench.records):
        show(table)
    busy = sum(one["strangers"] > BUSY for one in bench.records)
    if busy:
        console.print(
            f"Not quiet: during {busy} of {len(bench.records)} measurements other processes took "
            f"more than {BUSY} cores. Peers with two "
            "threads suffer most from that (they wait for each other), so that these ratios "
            "flatter sbiwb: run again in a quiet hour."
        )
    console.print(f"Records: {bench.out}")


if __name__ == "__main__":
    typer.run(main)
