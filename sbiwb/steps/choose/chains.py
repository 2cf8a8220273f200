"""The chain of transforms of a variable, chosen from its training values.

Each transform decides by channel and by its own documented rule; it joins the chain where it would
change at least one channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sbiwb import adapters
from sbiwb.contracts import Measured, SeriesTransform, Transform, TransformPart

Plain = dict[str, object]


@dataclass(frozen=True)
class ChosenChain:
    """Transforms of one variable.

    Args:
        parts: As the YAML has them.
        why: Half a line.
    """

    parts: tuple[str | Plain, ...]
    why: str


@dataclass(frozen=True)
class _Optional:
    """A transform that is taken where it changes something."""

    part: TransformPart
    changed: Callable[[Measured], int]
    why: str


def _powered(measured: Measured) -> int:
    return sum(power is not None for power in measured["powers"])


def _constant(measured: Measured) -> int:
    return sum(not varies for varies in measured["varies"])


def _heavy(measured: Measured) -> int:
    return sum(scale is not None for scale in measured["scale"])


OPTIONAL = (
    _Optional(adapters.family.parse("drop_constant"), _constant, "constant"),
    _Optional(
        adapters.family.parse({"kind": "box_cox", "zeros": True}), _powered, "positive and skewed"
    ),
    _Optional(adapters.family.parse("heavy_tails"), _heavy, "of heavy tails"),
)


def chain_of(
    values: np.ndarray, *, levels: int | None = None, missing: bool = False
) -> ChosenChain:
    """The chain for training values.

    Args:
        values: Of one variable, (rows, C): data sets, or members, steps or cells of all of them.
        levels: Number of categories 0, 1, ... of a categorical variable; None: it is a number.
        missing: Whether NaN stands for a missing value.
    """
    if levels is not None:
        one_hot = {"kind": "one_hot", "categories": levels}
        return ChosenChain((one_hot,), f"{levels} categories")
    parts, reasons = list[str | Plain](), list[str]()
    filled = np.where(np.isnan(values).all(axis=0), 0.0, values)
    for optional in OPTIONAL:
        measured = optional.part.measure(filled)
        count = optional.changed(measured)
        if count:
            reasons.append(_counted(count, filled.shape[1], optional.why))
            parts.append(_plain(optional.part))
            filled = _applied(optional.part.build(measured), filled)
    parts.append("standardize")
    if missing:
        parts.append("nan_to_mask")
        reasons.append("may miss values")
    return ChosenChain(tuple(parts), ", ".join(reasons) or "no skew, no heavy tails")


def _applied(transform: Transform | SeriesTransform, values: np.ndarray) -> np.ndarray:
    assert not isinstance(transform, SeriesTransform)
    return transform.forward(values)


def _plain(part: TransformPart) -> str | Plain:
    """As short as the YAML may say it."""
    plain = part.model_dump(mode="json", exclude_unset=True)
    if set(plain) == {"kind"}:
        return part.kind
    return plain


def _counted(count: int, of: int, what: str) -> str:
    if of == 1:
        return what
    return f"{count} of {of} channels {what}"
