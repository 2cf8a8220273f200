"""An ensemble of five of sbi's own networks on the pairs of `sbiwb benchmark`: its C2ST and time.

    python -m tests.bench.ensemble RUN --references DIR [--tasks slcp sir] [--seeds 0 1 2]

RUN is a finished `sbiwb benchmark` (its folder below runs/), whose simulations of a task and budget
are taken: training and validation pairs together, for sbi holds out its own. Ours is the score of
the same cell in RUN, where there is one. sbi runs in an environment of its own (--envs, as `make
bench` makes it), each training in a process with --threads threads. Draws and times of a cell are
kept in --out and not made again. No wall time here is worth anything beside other work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sbiwb.distances import c2st_forest, c2st_many
from sbiwb.project.splits import load_split
from sbiwb.steps.exact import grid
from sbiwb.steps.exact.grid import C2ST_SEED, Benchmark, BenchmarkJob, SharedSimulations
from sbiwb.steps.exact.job_scores import pairs_of
from sbiwb.steps.exact.reference_posteriors import reference_sets
from tests.bench.contenders import HERE, ROOT, ensure

MEMBERS = 5
DRAWS = 10_000


class Cell(NamedTuple):
    """One ensemble."""

    task: str
    budget: int
    seed: int

    @property
    def stem(self) -> str:
        return f"{self.task}-{self.budget}-{self.seed}"


def put_data(opened: Benchmark, cell: Cell, path: Path) -> None:
    """Pairs, observations and bounds as sbi's script reads them."""
    shared = SharedSimulations(cell.task, cell.budget)
    project = grid.simulations_project(opened, shared)
    splits = [load_split(project, name) for name in ("train", "validation")]
    sets, _ = reference_sets(cell.task, opened.references, opened.config.observations)
    low, high = project.prior.support()
    np.savez(
        path,
        theta=np.concatenate([project.prior.stack(pairs.theta) for pairs in splits]),
        x=np.concatenate([pairs.x["x"].reshape(len(pairs), -1) for pairs in splits]),
        observations=np.stack([one.x for one in sets]),
        low=low,
        high=high,
    )


def sbi_draws(opened: Benchmark, cell: Cell, out: Path, envs: Path, threads: int) -> dict:
    """Draws (O, S, D) of sbi's ensemble as `draws`, beside its seconds; made once."""
    out = out.resolve()
    data, save, facts = (out / f"{cell.stem}{end}" for end in (".npz", "-draws.npz", ".json"))
    if not facts.is_file():
        put_data(opened, cell, data)
        job = {"data": str(data), "save": str(save), "members": MEMBERS, "draws": DRAWS}
        job |= {"seed": cell.seed, "threads": threads}
        python = envs.absolute() / "sbi" / "bin" / "python"  # not resolved: it knows its place
        script = HERE.resolve() / "peers" / "ensemble_with_sbi.py"
        command = [str(python), "-W", "ignore", str(script), json.dumps(job)]
        done = subprocess.run(command, cwd=out, stdout=subprocess.PIPE, text=True, check=True)
        facts.write_text(done.stdout.strip().splitlines()[-1])
    with np.load(save) as file:
        return {**json.loads(facts.read_text()), "draws": file["draws"]}


def scores(opened: Benchmark, cell: Cell, draws: np.ndarray) -> dict[str, float]:
    """C2ST by both classifiers, mean over the observations."""
    sets, _ = reference_sets(cell.task, opened.references, opened.config.observations)
    pairs = pairs_of(sets, draws.astype(np.float64), DRAWS)
    forest = [c2st_forest(*pair, seed=C2ST_SEED) for pair in pairs]
    return {
        "c2st": float(c2st_many(pairs, seed=C2ST_SEED).mean()),
        "c2st_forest": float(np.mean(forest)),
    }


def our_scores(opened: Benchmark, cell: Cell) -> dict[str, float]:
    """The same numbers of ours, and the seconds of training, where the cell was scored."""
    for method in opened.config.methods:
        score = grid.read_score(opened, BenchmarkJob(cell.task, cell.budget, method, cell.seed))
        if score is not None:
            found = {name: float(np.mean(values)) for name, values in score.further.items()}
            found |= {"c2st": float(np.mean(score.c2st)), "training_s": score.seconds["train"]}
            return found
    return {}


def rows(opened: Benchmark, cells: list[Cell], out: Path, envs: Path, threads: int) -> Iterator:
    for cell in cells:
        theirs = sbi_draws(opened, cell, out, envs, threads)
        kept = out / f"{cell.stem}-scores.json"
        if not kept.is_file():
            kept.write_text(json.dumps(scores(opened, cell, theirs.pop("draws"))))
        yield cell, {**theirs, **json.loads(kept.read_text())}, our_scores(opened, cell)


def in_words(found: dict[str, float]) -> str:
    names = ("c2st", "c2st_forest", "training_s")
    return "  ".join(f"{name} {found[name]:.3f}" for name in names if name in found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--references", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["slcp", "bernoulli_glm", "sir"])
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--envs", type=Path, default=ROOT / ".bench" / "envs")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench" / "ensemble")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    ensure("sbi", chosen.envs)
    opened = grid.open_benchmark(chosen.run, references=chosen.references)
    cells = [Cell(task, chosen.budget, seed) for seed in chosen.seeds for task in chosen.tasks]
    for cell, theirs, ours in rows(opened, cells, chosen.out, chosen.envs, chosen.threads):
        print(f"{cell.stem}  sbi: {in_words(theirs)}  sbiwb: {in_words(ours)}", flush=True)


if __name__ == "__main__":
    main()
