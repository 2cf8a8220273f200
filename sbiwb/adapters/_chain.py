"""Chains of transforms: learned one after the other on training values, and applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from sbiwb.adapters._transform import SeriesConfig
from sbiwb.contracts import Measured, SeriesTransform, Transform, TransformPart
from sbiwb.errors import DataError

BuiltChain = tuple[Transform | SeriesTransform, ...]
Lengths = np.ndarray | None  # members or steps of each data set, (N,); None where there are none


def learn_chain(
    where: str, chain: Sequence[TransformPart], values: np.ndarray, lengths: Lengths
) -> tuple[np.ndarray, list[Measured]]:
    """Passes training values through a chain, each transform learning from what reaches it.

    Args:
        where: Variables they are of, for messages.
        chain: The transforms.
        values: (rows, C).
        lengths: Rows of each series.

    Returns:
        What comes out, (rows, C'), and the statistics of each transform.

    Raises:
        DataError: There are no values, or one cannot be transformed.
    """
    if not values.size:
        raise DataError(
            "has no values to learn from", where=where, todo="Simulate more training data."
        )
    statistics = []
    for part in chain:
        with _named(where):
            measured = _measure(part, without_empty_channels(values), lengths)
            values = _step(part.build(measured), values, lengths)
        statistics.append(measured)
    return values, statistics


def build_chain(chain: Sequence[TransformPart], statistics: Sequence[Measured]) -> BuiltChain:
    """The transforms with what they learned."""
    return tuple(part.build(measured) for part, measured in zip(chain, statistics, strict=True))


def apply_chain(where: str, chain: BuiltChain, values: np.ndarray, lengths: Lengths) -> np.ndarray:
    """Passes values (rows, C) through learned transforms, to (rows, C').

    Raises:
        DataError: A value cannot be transformed.
    """
    with _named(where):
        for transform in chain:
            values = _step(transform, values, lengths)
    return values


def without_empty_channels(values: np.ndarray) -> np.ndarray:
    """The same with 0 in a channel (of C) that was never observed.

    Nothing can be learned of it, and few pairs may just have missed it.
    """
    never = np.isnan(values).all(axis=0)
    if not never.any():
        return values
    return np.where(never, 0.0, values)


def _measure(part: TransformPart, values: np.ndarray, lengths: Lengths) -> Measured:
    if isinstance(part, SeriesConfig):
        assert lengths is not None  # else the plan would have been refused
        return part.measure_series(values, lengths)
    return part.measure(values)


def _step(
    transform: Transform | SeriesTransform, values: np.ndarray, lengths: Lengths
) -> np.ndarray:
    if isinstance(transform, SeriesTransform):
        assert lengths is not None
        return transform.forward(values, lengths)
    return transform.forward(values)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Says which variable a transform refused."""
    try:
        yield
    except DataError as error:
        raise DataError(error.what, where=where, todo=error.todo) from error
