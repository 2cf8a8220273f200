"""The verb `parts`: everything that can be named in the YAML, with its options."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from sbiwb import adapters, diagnostics, executors, priors, references, trackers
from sbiwb.errors import SbiwbError
from sbiwb.families import Family, Part, describe
from sbiwb.networks import inference, summary, uncertainty

WHERE = "sbiwb parts"


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


def parts(family: str = "", kind: str = "") -> dict[str, list[PartInfo]]:
    """Parts by the name of their family.

    Args:
        family: Only this one; all where it is empty.
        kind: Only this part of it.

    Raises:
        SbiwbError: There is no such family or part.
    """
    catalog = families()
    if family and family not in catalog:
        near = difflib.get_close_matches(family, catalog, 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        todo = f"{hint}One of: {', '.join(catalog)}."
        raise SbiwbError(f"no family '{family}'", where=WHERE, todo=todo)
    names = [family] if family else list(catalog)
    return {name: _parts_of(name, catalog[name], kind) for name in names}


def _parts_of(name: str, family: Family, kind: str) -> list[PartInfo]:
    infos = [
        PartInfo(part, sentence, _options(config))
        for part, sentence, config in describe(family)
        if kind in ("", part)
    ]
    if not infos:
        todo = f"One of: {', '.join(family.names())}."
        raise SbiwbError(f"no part '{kind}' in {name}", where=WHERE, todo=todo)
    return infos


def _options(config: type[Part]) -> list[tuple[str, str, str]]:
    options = []
    for name, field in config.model_fields.items():
        if name == "kind":
            continue
        default = "required"
        if not field.is_required():
            default = str(field.get_default(call_default_factory=True))
        options.append((field.alias or name, default, field.description or ""))
    return options
