"""Imported pairs: what stands in the place of a simulator file where the pairs come from files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from sbiwb.errors import DiskError, RunError, SimulatorError
from sbiwb.files import stable_hash
from sbiwb.project.plan import ImportFacts, plan_or_none
from sbiwb.rundir import RunDir
from sbiwb.store import manifest
from sbiwb.store.shards import read_shard

IMPORTED = "imported"  # problem.simulator
KINDS = ("joint", "unknown")  # of priors that are known by the imported values alone
ENOUGH = 20_000  # training pairs that stand for such a prior


@dataclass(frozen=True)
class Imported:
    """The origin of imported pairs.

    Args:
        run: The run that holds them.
        drawn: Parameters whose prior is known by the imported values alone.
    """

    run: RunDir
    drawn: tuple[str, ...]

    is_halved = False  # nothing is ever simulated
    seed_advice = ""

    @property
    def path(self) -> Path:
        return self.run.plan

    @property
    def code_hash(self) -> str:
        """Of the files' content and of what was taken from them; empty before anything is
        imported."""
        plan = plan_or_none(self.run)
        if plan is None or plan.imported is None:
            return ""
        return content_hash(plan.imported)

    @property
    def simulate(self) -> Callable[..., Any]:
        return self._refuse

    def _refuse(self, **arguments: Any) -> NoReturn:
        plan, source = plan_or_none(self.run), ""
        if plan is not None and plan.imported is not None:
            source = f" from {', '.join(plan.imported.files)}"
        raise SimulatorError(
            f"the pairs of this run are imported{source}: there is no simulator to call",
            where=self.run.path,
            todo="Take them in, or make lost shards again, by"
            " `sbiwb import FILE... --config CONFIG`.",
        )

    def optional(self, name: str) -> Callable[..., Any] | None:
        return self._prior if name == "prior" and self.drawn else None

    def _prior(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Rows of the training pairs, drawn with replacement."""
        theta = first_theta(self.run)
        rows = rng.integers(len(next(iter(theta.values()))), size=n)
        return {name: theta[name][rows] for name in self.drawn}

    def line(self) -> str:
        return str(self.path)

    def injected(
        self, parameters: list[str], context: list[str], constants: list[str]
    ) -> list[str]:
        return []


def first_theta(run: RunDir) -> Mapping[str, np.ndarray]:
    """Parameters of the first training pairs.

    Raises:
        RunError: Nothing is imported yet.
    """
    parts, held = [], 0
    for shard in manifest.shards(run.split("train")):
        parts.append(read_shard(shard.path, shard.record).theta)
        held += shard.record.rows
        if held >= ENOUGH:
            break
    if not parts:
        raise RunError(
            "nothing is imported yet",
            where=run.path,
            todo="Run `sbiwb import FILE... --config CONFIG` first.",
        )
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def content_hash(facts: ImportFacts) -> str:
    """Of all that decides an imported row: columns, shares, grouping, and the files' content.

    The files count in their order, wherever they lie.
    """
    decisive = {"columns": facts.columns, "shares": facts.shares, "by": facts.by}
    return stable_hash({"files": list(facts.files.values()), **decisive})


def file_hash(path: Path) -> str:
    """sha256 of a file of any size."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DiskError.of(error, path) from error


def changed_files(facts: ImportFacts) -> Iterator[Path]:
    """Files whose content is no longer what was imported; one that is gone changes nothing."""
    for name, imported_hash in facts.files.items():
        path = Path(name)
        if path.is_file() and file_hash(path) != imported_hash:
            yield path
