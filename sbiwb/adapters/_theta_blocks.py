"""Which map each column of theta goes through, and what is learned for it, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NotRequired, TypedDict

import numpy as np

from sbiwb.adapters._precision import standardizer
from sbiwb.adapters._theta_maps import (
    Circle,
    ColumnMap,
    Levels,
    LogAbove,
    LogitBetween,
    Standardized,
    ThroughPrior,
    Unbounding,
    Untransformed,
)
from sbiwb.contracts import Distribution
from sbiwb.errors import ConfigError, DataError

MAX_LEVELS = 1000
UNBOUNDING: dict[str, Callable[..., Unbounding]] = {
    "standardize": Untransformed,
    "log": LogAbove,
    "logit": LogitBetween,
}
Placed = tuple[slice, Distribution, str]


class ThetaBlock(TypedDict):
    """Columns that go through one map.

    Attributes:
        columns: The first, and that after the last.
        kind: `prior`, `standardize`, `log`, `logit`, `circular` or `levels`.
        low: Lower bound; None where there is none.
        high: Upper bound; None where there is none.
        mean: Of g(theta).
        sd: Of g(theta).
        levels: The values of a discrete column, rising.
        shares: How often each of them came in the training data.
    """

    columns: list[int]
    kind: str
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    mean: NotRequired[float]
    sd: NotRequired[float]
    levels: NotRequired[list[float]]
    shares: NotRequired[list[float]]


def plan_blocks(columns: Sequence[str], placed: Placed) -> Iterator[ThetaBlock]:
    """One block for a prior as a whole, else one for each of its columns; nothing is learned yet.

    Args:
        columns: Names of theta's columns, D.
        placed: Columns, prior and kind of map of one parameter.

    Raises:
        ConfigError: The prior has not the bounds that the map needs, or too many levels.
    """
    place, prior, kind = placed
    start, stop, _ = place.indices(len(columns))
    if kind == "prior" and prior.known and not prior.discrete:
        yield {"columns": [start, stop], "kind": kind}
        return
    low, high = prior.support()
    for column in range(start, stop):
        k = column - start
        if prior.discrete:
            yield _discrete_block(columns[column], column, prior, k, kind)
        else:
            bounds = (float(low[k]), float(high[k]))
            yield _bounded_block(columns[column], column, bounds, kind)


def _discrete_block(name: str, column: int, prior: Distribution, k: int, kind: str) -> ThetaBlock:
    levels = _levels_of(name, prior, k, kind)
    return {"columns": [column, column + 1], "kind": "levels", "levels": levels.tolist()}


def _bounded_block(name: str, column: int, bounds: tuple[float, float], kind: str) -> ThetaBlock:
    chosen = kind
    if kind == "prior":
        chosen = _kind_by_bounds(*bounds)
    _check_bounds(name, chosen, bounds)
    return {
        "columns": [column, column + 1],
        "kind": chosen,
        "low": _json_bound(bounds[0]),
        "high": _json_bound(bounds[1]),
    }


def _json_bound(bound: float) -> float | None:
    if np.isfinite(bound):
        return bound
    return None


def _levels_of(name: str, prior: Distribution, k: int, kind: str) -> np.ndarray:
    """The values that the k-th column of a discrete prior can have, rising."""
    if kind != "prior":
        raise ConfigError(
            f"a discrete parameter has no map '{kind}'",
            where=name,
            todo="Leave it out of model.theta, or write prior; "
            "other parameters can be named one by one.",
        )
    low, high = np.stack(prior.support())[:, k]
    if high - low >= MAX_LEVELS:
        raise ConfigError(
            f"{high - low + 1:g} levels are too many to infer: "
            f"a discrete parameter has a probability for each, {MAX_LEVELS} at most",
            where=name,
            todo="Narrow it, or take a continuous prior and round in the simulator.",
        )
    values = np.arange(low, high + 1)
    return values[prior.inside(np.repeat(values[:, None], prior.size, axis=1))[:, k]]


def _kind_by_bounds(low: float, high: float) -> str:
    if not np.isfinite(low):
        return "standardize"
    if np.isfinite(high):
        return "logit"
    return "log"


def _check_bounds(name: str, kind: str, bounds: tuple[float, float]) -> None:
    low, high = bounds
    span = f"the prior lies in [{low:g}, {high:g}]"
    if kind not in (*UNBOUNDING, "circular"):
        kinds = ", ".join(UNBOUNDING)
        raise ConfigError(
            f"unknown map '{kind}'", where=name, todo=f"One of: prior, {kinds}, circular."
        )
    if kind == "log" and not (np.isfinite(low) and high == np.inf):
        raise ConfigError(
            f"'log' needs a lower bound and no upper one; {span}",
            where=name,
            todo=_use_instead(bounds),
        )
    if kind in ("logit", "circular") and not np.isfinite(bounds).all():
        todo = _use_instead(bounds)
        if kind == "circular":
            todo = "Give it a prior on one period, such as uniform from 0 to 360."
        raise ConfigError(f"'{kind}' needs two finite bounds; {span}", where=name, todo=todo)


def _use_instead(bounds: tuple[float, float]) -> str:
    return f"Use prior or {_kind_by_bounds(*bounds)}."


def learn_block(columns: Sequence[str], block: ThetaBlock, theta: np.ndarray) -> ThetaBlock:
    """Adds what is learned of theta (N, D): mean and sd of g(theta), or the share of each level.

    Raises:
        DataError: A value lies outside the bounds, or is none of the levels.
    """
    if block["kind"] in ("prior", "circular"):
        return block
    place = slice(*block["columns"])
    names, values = columns[place], theta[:, place]
    if block["kind"] == "levels":
        return {**block, "shares": _shares(names, block["levels"], values)}
    g = _unbounding(block).forward(values)
    bounds = f"outside its bounds {block['low']} and {block['high']}"
    refuse_rows(names, values, np.isnan(g), bounds)
    mean, sd = standardizer(g, g.mean(keepdims=True)[0], g.std(keepdims=True)[0])
    return {**block, "mean": float(mean[0]), "sd": float(sd[0])}


def _shares(names: Sequence[str], levels: Sequence[float], theta: np.ndarray) -> list[float]:
    """How often each of the K levels came in theta (N, 1), each once more than it did."""
    z = Levels(np.asarray(levels)).forward(theta)
    refuse_rows(names, theta, np.isnan(z), "none of its levels")
    counts = np.bincount(z[:, 0].astype(np.int64), minlength=len(levels)) + 1
    return (counts / (len(theta) + len(levels))).tolist()


def build_map(columns: Sequence[str], parts: Sequence[Placed], block: ThetaBlock) -> ColumnMap:
    """The map of a block that has learned."""
    if block["kind"] == "prior":
        return ThroughPrior(_prior_at(block["columns"][0], columns, parts))
    if block["kind"] == "levels":
        return Levels(np.asarray(block["levels"]))
    if block["kind"] == "circular":
        return Circle(block["low"], block["high"])  # type: ignore[arg-type]
    return Standardized(_unbounding(block), block["mean"], block["sd"])


def _prior_at(column: int, columns: Sequence[str], parts: Sequence[Placed]) -> Distribution:
    for place, prior, _ in parts:
        if place.indices(len(columns))[0] == column:
            return prior
    raise KeyError(columns[column])


def _unbounding(block: ThetaBlock) -> Unbounding:
    return UNBOUNDING[block["kind"]](block["low"], block["high"])


def refuse_rows(names: Sequence[str], theta: np.ndarray, bad: np.ndarray, why: str) -> None:
    """Raises unless no entry of theta (N, D) is bad (N, D), naming the first.

    Raises:
        DataError: With its column and row.
    """
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    raise DataError(
        f"{names[column]} is {theta[row, column]:g} in row {row}, {why} "
        f"({int(bad.any(1).sum())} of {len(theta)} rows)",
        where="theta",
        todo="Check the prior's bounds against what draws theta.",
    )
