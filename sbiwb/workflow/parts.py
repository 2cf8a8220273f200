"""The verb `parts`: everything that can be named in the YAML, with its options."""

from __future__ import annotations

from dataclasses import dataclass

from sbiwb import adapters, diagnostics, executors, priors, references, trackers
from sbiwb.families import Family, Part, describe
from sbiwb.networks import inference, summary, uncertainty


@dataclass(frozen=True)
class PartInfo:
    """One part: its kind, first sentence, and options with default and description."""

    kind: str
    sentence: str
    options: list[tuple[str, str, str]]


def families() -> dict[str, Family]:
    """The families by the name that the command line takes."""
    return {
        "priors": priors.family,
        "transforms": adapters.family,
        "summary": summary.family,
        "inference": inference.family,
        "uncertainty": uncertainty.family,
        "diagnostics": diagnostics.family,
        "references": references.family,
        "executors": executors.family,
        "trackers": trackers.family,
    }


def parts(family: Family) -> list[PartInfo]:
    """Every part of a family."""
    return [
        PartInfo(kind, sentence, _options(config)) for kind, sentence, config in describe(family)
    ]


def _options(config: type[Part]) -> list[tuple[str, str, str]]:
    fields = {
        field.alias or name: field for name, field in config.model_fields.items() if name != "kind"
    }
    return [
        (
            name,
            "required"
            if field.is_required()
            else str(field.get_default(call_default_factory=True)),
            field.description or "",
        )
        for name, field in fields.items()
    ]
