"""Pairs of a likelihood: read from the shards of the run whose data sets they are members of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from sbiwb.config.structure import DataSetMembers
from sbiwb.errors import SimulatorError
from sbiwb.files import stable_hash
from sbiwb.project.member_rows import TurnedPairs
from sbiwb.records import Pairs
from sbiwb.rundir import RunDir
from sbiwb.store import manifest

PRIOR_ROWS = 20_000  # members that stand for their distribution whatever theta


def load_members(members: DataSetMembers, run: RunDir, split: str, rows: int) -> Pairs:
    """The pairs of a likelihood, as many as its config says.

    Args:
        members: What is read.
        run: The run that holds the shards.
        split: `train`, `validation` or `test`; of the latter one member of each data set.
        rows: How many.

    Raises:
        RunError: The data sets are not all there, or those of another problem.
        CorruptFile: A shard is cut or altered.
    """
    folder = run.split(split)
    held = manifest.shards(folder, members.data_hash)
    data_sets = manifest.load(held, members.data_sets[split], folder)
    if split == "test":
        return TurnedPairs(members).one_each(data_sets, split).first(rows)
    return TurnedPairs(members).turned(data_sets, split, rows)


@dataclass(frozen=True)
class MemberSource:
    """What stands in the place of a simulator file.

    Args:
        members: What is read.
        run: The run that holds the shards.
    """

    members: DataSetMembers
    run: RunDir

    is_halved = False  # nothing is ever simulated
    seed_advice = ""

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def code_hash(self) -> str:
        return stable_hash(self.members.model_dump(mode="json", by_alias=True))

    @property
    def simulate(self) -> Callable[..., Any]:
        return self._refuse

    def _refuse(self, **arguments: Any) -> NoReturn:
        raise SimulatorError(
            "the pairs of a likelihood are members of data sets: there is no simulator to call",
            where=self.run.path,
            todo="Simulate with the config of the run that it belongs to.",
        )

    def optional(self, name: str) -> Callable[..., Any] | None:
        return self._prior if name == "prior" else None

    def _prior(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Training members drawn with replacement; of columns with levels, the prior is known."""
        known = load_members(self.members, self.run, "train", PRIOR_ROWS).theta
        rows = rng.integers(len(next(iter(known.values()))), size=n)
        joint = [name for name, kind in self.members.values.items() if not isinstance(kind, list)]
        return {name: np.asarray(known[name])[rows] for name in joint}

    def line(self) -> str:
        return str(self.path)

    def injected(
        self, parameters: list[str], context: list[str], constants: list[str]
    ) -> list[str]:
        return []
