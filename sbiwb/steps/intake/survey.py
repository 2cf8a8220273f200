"""The first reading of files that are imported: everything is checked, and a few bytes of each row are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.contracts import Distribution, Reporter
from sbiwb.errors import DataError
from sbiwb.project.project import Project
from sbiwb.records import Pairs, Ragged, Variable
from sbiwb.simulation.blocks import Failure, FailureCounter
from sbiwb.simulation.layout import Layout, Observable
from sbiwb.steps.intake.columns import Mapped
from sbiwb.store.audit import digests, may_compare
from sbiwb.store.shards import flatten


@dataclass
class Survey:
    """What the files hold.

    Args:
        rows: Rows, bad ones and copies included.
        ledger: Rows that are not finite, as failed simulations.
        digests: Of every row.
        is_compared: Whether equal rows are copies.
        shapes: Of each observable: dtype, shape of a member or of a row, smallest and largest length; length -1: no list.
        bytes: Of all values.
        copies: Rows left out because they come again.
    """

    rows: int = 0
    ledger: list[Failure] = field(default_factory=list)
    digests: list[np.ndarray] = field(default_factory=list)
    is_compared: bool = False
    shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...], int, int]] = field(default_factory=dict)
    bytes: int = 0
    copies: int = 0

    def layout(self, missing: Sequence[str]) -> Layout:
        """What every row looks like."""
        found = {}
        for name, (dtype, item, low, high) in self.shapes.items():
            shape, ragged = (
                (item, False)
                if low < 0
                else ((low, *item), False)
                if low == high
                else ((0, *item), True)
            )
            one = Observable.of(np.zeros((1, *shape), dtype), missing=name in missing)
            found[name] = Observable(one.dtype, shape, ragged, one.missing)
        return found


def survey(project: Project, files: Sequence[Mapped], reporter: Reporter) -> Survey:
    """Reads everything once, keeps a few bytes of each row, and refuses what cannot be used."""
    found = Survey()
    tally = FailureCounter(project.config.simulate.failures.max_rate)
    with reporter.task("read", len(files), unit="files") as ticker:
        for mapped in files:
            for pairs in mapped.chunks():
                pairs = typed(project, pairs, found.rows, mapped.file.path)
                _note_shapes(found, pairs, mapped.file.path)
                failed = _failed(project, pairs, found.rows)
                found.ledger += failed
                tally.add(
                    len(pairs),
                    len(failed),
                    f"{failed[0].message} in row {failed[0].block}" if failed else "",
                )
                found.digests.append(digests(pairs))
                found.is_compared |= may_compare(pairs)
                found.rows += len(pairs)
                found.bytes += sum(array.nbytes for array in flatten(pairs).values())
            ticker.advance(rows=found.rows)
    return found


def typed(project: Project, pairs: Pairs, first: int, path: Path) -> Pairs:
    """Parameters and context in the types and shapes that the prior gives.

    Raises:
        DataError: Another shape, or a value that is not finite or outside the prior's support.
    """
    theta = {
        name: _column(name, pairs.theta[name], one, first, path)
        for name, one in project.prior.distributions.items()
    }
    context = {
        name: _column(name, pairs.context[name], one, first, path)
        for name, one in project.context.items()
    }
    return Pairs(theta, context, pairs.x)


def _column(name: str, values: Variable, one: Distribution, first: int, path: Path) -> np.ndarray:
    n = len(values)
    dense = (
        values.values
        if isinstance(values, Ragged) and (values.lengths == one.size).all()
        else values
    )
    if isinstance(dense, Ragged) or dense.size != n * one.size:
        shape = (
            "lists of varying length"
            if isinstance(dense, Ragged)
            else f"{dense.shape[1:] or 'one number'} a row"
        )
        todo = "Set `shape` of it in the YAML, or name its columns with --column."
        raise DataError(
            f"'{name}' has {shape}, the YAML says {one.event or 'one number'}",
            where=path,
            todo=todo,
        )
    table = dense.astype(np.float64).reshape(n, one.size)
    outside = np.argwhere(~one.inside(table))
    if len(outside):
        row, column = outside[0]
        low, high = one.support()
        raise DataError(
            f"'{name}' is {table[row, column]:g} in row {first + row}, outside [{low[column]:g}, {high[column]:g}] of its prior",
            where=path,
            todo="Mend the file, or the prior in the YAML; where nobody knows it, kind: unknown takes every finite value.",
        )
    return (table.astype(np.int64) if one.discrete else table).reshape(n, *one.event)


def _note_shapes(found: Survey, pairs: Pairs, path: Path) -> None:
    """Types are widened, lengths may vary, anything else must stay."""
    for name, variable in pairs.x.items():
        values = variable.values if isinstance(variable, Ragged) else variable
        lengths = variable.lengths if isinstance(variable, Ragged) else np.array([-1])
        dtype, item, low, high = found.shapes.get(
            name, (values.dtype, values.shape[1:], int(lengths.min()), int(lengths.max()))
        )
        if item != values.shape[1:] or (low < 0) != (lengths.min() < 0):
            raise DataError(
                f"'{name}' has shape {values.shape[1:]} here and {item} before",
                where=path,
                todo="Make all rows alike.",
            )
        widest = np.result_type(dtype, values.dtype)
        found.shapes[name] = (
            widest,
            item,
            min(low, int(lengths.min())),
            max(high, int(lengths.max())),
        )


def _failed(project: Project, pairs: Pairs, first: int) -> list[Failure]:
    """Rows whose observables are not finite: simulations that failed."""
    why: dict[int, tuple[str, str]] = {}
    for name, variable in pairs.x.items():
        values = variable.values if isinstance(variable, Ragged) else variable
        is_bad = (
            np.isinf(values) if name in project.config.problem.missing else ~np.isfinite(values)
        )
        flat = is_bad.any(axis=tuple(range(1, is_bad.ndim)))
        if isinstance(variable, Ragged):
            flat = np.array(
                [
                    flat[a:b].any()
                    for a, b in zip(variable.offsets[:-1], variable.offsets[1:], strict=True)
                ],
                bool,
            )
        why |= {int(row): ("not finite", f"'{name}' is not finite") for row in np.flatnonzero(flat)}
    return [_failure(pairs, row, first + row, *why[row]) for row in sorted(why)]


def _failure(pairs: Pairs, row: int, number: int, kind: str, message: str) -> Failure:
    """A row as a failed simulation; its number among all rows is told as its block."""
    theta, context = (
        {name: np.asarray(column[row]) for name, column in part.items()}
        for part in (pairs.theta, pairs.context)
    )
    return Failure(
        block=number,
        attempt=0,
        row=0,
        kind=kind,
        message=message,
        theta=theta,
        context=context,
        seconds=0.0,
    )
