"""Imported pairs: what stands in the place of a simulator file where the pairs come from files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from sbiwb.errors import DiskError, RunError, SimulatorError
from sbiwb.files import read_json, stable_hash
from sbiwb.rundir import RunDir
from sbiwb.store import manifest
from sbiwb.store.shards import read_shard

IMPORTED = "imported"  # problem.simulator
KINDS = ("joint", "unknown")  # of priors that are known by the imported values alone
ENOUGH = 20_000  # training pairs that stand for such a prior
DECIDES = ("columns", "shares", "by")  # beside the files' content


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
        """Of the files' content and of what was taken from them; empty before anything is imported."""
        facts = read_json(self.path).get(IMPORTED) if self.path.is_file() else None
        return content_hash(facts) if facts else ""

    @property
    def simulate(self) -> Callable[..., Any]:
        return self._refuse

    def _refuse(self, **arguments: Any) -> NoReturn:
        names = ", ".join(read_json(self.path)[IMPORTED]["files"]) if self.path.is_file() else ""
        raise SimulatorError(
            f"the pairs of this run are imported{f' from {names}' if names else ''}: there is no simulator to call",
            where=self.run.path,
            todo="Take them in, or make lost shards again, by `sbiwb import FILE... --config CONFIG`.",
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
        held += shard.record["rows"]
        if held >= ENOUGH:
            break
    if not parts:
        raise RunError(
            "nothing is imported yet",
            where=run.path,
            todo="Run `sbiwb import FILE... --config CONFIG` first.",
        )
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def content_hash(facts: Mapping[str, Any]) -> str:
    """Of all that decides an imported row: the files' content in order, wherever they lie, columns, shares and grouping."""
    return stable_hash(
        {"files": list(facts["files"].values()), **{name: facts[name] for name in DECIDES}}
    )


def file_hash(path: Path) -> str:
    """sha256 of a file of any size."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DiskError.of(error, path) from error


def changed_files(plan: Mapping[str, Any], run: Path) -> Iterator[tuple[Path, str, str]]:
    """Files whose content is no longer what was imported: (path, what, todo); one that is gone changes nothing."""
    for name, known in plan[IMPORTED]["files"].items():
        path = Path(name)
        if path.is_file() and file_hash(path) != known:
            yield (
                path,
                "has changed since it was imported",
                f"Import it into a run of another `name`; {run} holds what it was.",
            )
