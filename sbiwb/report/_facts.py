"""What the files of a run say, as the page takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sbiwb.report._html import Html, tag
from sbiwb.report._numbers import Number
from sbiwb.report._picture import Picture


@dataclass(frozen=True)
class Inferred:
    """One observation.

    Args:
        name: Its name in the config.
        summary: Its `summary.json`.
        pictures: Of its posterior.
    """

    name: str
    summary: Mapping[str, Any]
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What the files of a run say; empty where a step is not done.

    Args:
        name: Of the run.
        path: Of its folder, for commands.
        config: Its config.
        yaml: The same, as written.
        splits: Counts by split, as in the manifest.
        failures: Failed simulations by kind.
        provenance: `provenance.json` by step.
        metrics: Validations of the training, a line each.
        loss: Picture of the training.
        numbers: `numbers.json`.
        pictures: Of the diagnosis.
        inferred: The observations.
        notices: Sentences on what does not fit together.
    """

    name: str
    path: str
    config: Mapping[str, Any]
    yaml: str
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    loss: Picture | None = None
    numbers: Mapping[str, Any] | None = None
    pictures: tuple[Picture, ...] = ()
    inferred: tuple[Inferred, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def problem(self) -> Mapping[str, Any]:
        return self.config.get("problem") or {}

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        return self.problem.get("parameters") or {}

    @property
    def judged(self) -> list[Number]:
        return [Number.of(entry) for entry in (self.numbers or {}).get("values", [])]

    @property
    def columns(self) -> list[str]:
        """Columns of theta that were judged, in their order."""
        return list(
            dict.fromkeys(
                one.parameter
                for one in self.judged
                if one.parameter.partition("[")[0] in self.parameters
            )
        )

    def label(self, column: str) -> str:
        """A quantity with its unit."""
        unit = self.parameters.get(column.partition("[")[0], {}).get("unit")
        return f"{column} ({unit})" if unit else column


def todo(facts: Facts, what: str, verb: str, *more: str) -> Html:
    """That a step is not done, and the command that does it."""
    return tag(
        "p",
        f"{what}: run ",
        tag("code", " ".join(["sbiwb", verb, facts.path, *more])),
        ".",
        class_="todo",
    )


def when(provenance: Mapping[str, Any]) -> str:
    """Day and minute at which a step ended."""
    return str(provenance.get("finished", "")).replace("T", " ")[:16]
