r"""Theta to unconstrained z and back, in float64, with its log-determinant; the network sees z alone.

A parameter with a known prior goes through its own distribution function, z = Phi^-1(F(theta)), so that z is standard normal
under the prior, no draw can leave the support, and

    log |dz/dtheta| = log p(theta) - sum_k log phi(z_k),

which also holds where the columns of one prior depend on each other. The other maps are z = (g(theta) - mean) / sd, column by
column, with g the identity (`standardize`), log(theta - low) (`log`) or log(theta - low) - log(high - theta) (`logit`).

Two kinds of columns are not made normal. A circular one becomes an angle, z = 2 pi (theta - low) / (high - low) - pi in [-pi, pi), whose
two ends are the same point. A discrete one becomes the place of its value among its K levels, z in {0, ..., K - 1}; what belongs to it is
a mass, which no map changes, so that it adds nothing to the log-determinant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import expit

from sbiwb.contracts import Distribution
from sbiwb.errors import ConfigError, DataError

_Z_MAX = 37.0  # Phi(-37) is about the smallest float64
_TINY = 1e-300
_LOG_2PI = float(np.log(2 * np.pi))
_MOST_LEVELS = 1000

Placed = tuple[slice, Distribution, str]
Block = dict[str, Any]


class _Map(Protocol):
    """Columns of one parameter (N, K) to z (N, K) and back; NaN outside the support, and a log-determinant of -inf."""

    def forward(self, theta: np.ndarray) -> np.ndarray: ...

    def inverse(self, z: np.ndarray) -> np.ndarray: ...

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class _Prior:
    """Through the prior's own distribution function."""

    distribution: Distribution

    def forward(self, theta: np.ndarray) -> np.ndarray:
        return self.distribution.to_normal(theta)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        return self.distribution.from_normal(z)

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        log_prob = self.distribution.log_prob(theta)
        z = self.forward(
            np.where((log_prob > -np.inf)[:, None], theta, self.inverse(np.zeros_like(theta)))
        )
        return log_prob + 0.5 * (z**2 + _LOG_2PI).sum(1)


@dataclass(frozen=True)
class _Affine:
    """g is the identity; draws can leave the support."""

    low: float | None
    high: float | None

    def forward(self, theta: np.ndarray) -> np.ndarray:
        return theta

    def inverse(self, g: np.ndarray) -> np.ndarray:
        return g

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        return np.zeros(len(theta))


@dataclass(frozen=True)
class _Log:
    """g = log(theta - low)."""

    low: float
    high: float | None

    def forward(self, theta: np.ndarray) -> np.ndarray:
        return np.where(theta >= self.low, np.log(np.maximum(theta - self.low, _TINY)), np.nan)

    def inverse(self, g: np.ndarray) -> np.ndarray:
        return np.maximum(self.low + np.exp(np.clip(g, -690, 700)), np.nextafter(self.low, np.inf))

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        return np.where((theta > self.low).all(1), -self.forward(theta).sum(1), -np.inf)


@dataclass(frozen=True)
class _Logit:
    """g = log(theta - low) - log(high - theta)."""

    low: float
    high: float

    def forward(self, theta: np.ndarray) -> np.ndarray:
        below, above = self._logs(theta)
        return np.where((theta >= self.low) & (theta <= self.high), below - above, np.nan)

    def inverse(self, g: np.ndarray) -> np.ndarray:
        width = self.high - self.low
        theta = np.where(g < 0, self.low + width * expit(g), self.high - width * expit(-g))
        return np.clip(theta, np.nextafter(self.low, np.inf), np.nextafter(self.high, -np.inf))

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        below, above = self._logs(theta)
        inside = ((theta > self.low) & (theta < self.high)).all(1)
        return np.where(inside, (np.log(self.high - self.low) - below - above).sum(1), -np.inf)

    def _logs(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        floor = 1e-16 * (self.high - self.low)
        return np.log(np.maximum(theta - self.low, floor)), np.log(
            np.maximum(self.high - theta, floor)
        )


@dataclass(frozen=True)
class _Standardized:
    """z = (g - mean) / sd, with mean and sd of the training data; one column."""

    g: _Affine | _Log | _Logit
    mean: float
    sd: float

    def forward(self, theta: np.ndarray) -> np.ndarray:
        return (self.g.forward(theta) - self.mean) / self.sd

    def inverse(self, z: np.ndarray) -> np.ndarray:
        return self.g.inverse(z * self.sd + self.mean)

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        return self.g.log_abs_det(theta) - np.log(self.sd)


@dataclass(frozen=True)
class _Circle:
    """An angle in [-pi, pi); the upper bound is the lower one."""

    low: float
    high: float

    def forward(self, theta: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * ((theta - self.low) / (self.high - self.low)) - np.pi
        return np.where(self._inside(theta), np.where(angle < np.pi, angle, -np.pi), np.nan)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        turn = np.mod((z + np.pi) / (2 * np.pi), 1.0)
        return np.clip(
            self.low + (self.high - self.low) * turn,
            np.nextafter(self.low, np.inf),
            np.nextafter(self.high, -np.inf),
        )

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        return np.where(
            self._inside(theta).all(1), np.log(2 * np.pi / (self.high - self.low)), -np.inf
        )

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        return (theta >= self.low) & (theta <= self.high)


@dataclass(frozen=True)
class _Levels:
    """The place of a value among K levels, which rise."""

    levels: np.ndarray

    def forward(self, theta: np.ndarray) -> np.ndarray:
        place = np.minimum(np.searchsorted(self.levels, theta), len(self.levels) - 1)
        return np.where(self.levels[place] == theta, place, np.nan)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        return self.levels[np.clip(np.rint(z), 0, len(self.levels) - 1).astype(np.int64)]

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(self.forward(theta)).any(1), -np.inf, 0.0)


_G: dict[str, type[_Affine] | type[_Log] | type[_Logit]] = {
    "standardize": _Affine,
    "log": _Log,
    "logit": _Logit,
}


@dataclass(frozen=True)
class ThetaMap:
    """theta (N, D) to z (N, D); made by `fit` on training data, or by `restore` from a checkpoint.

    Args:
        columns: Names of theta's columns, D.
        maps: The map of each block of columns.
        learned: Kind, mean and sd of each block, as plain Python.
    """

    columns: tuple[str, ...]
    maps: tuple[tuple[slice, _Map], ...]
    learned: tuple[Block, ...]

    @classmethod
    def fit(cls, columns: Sequence[str], parts: Sequence[Placed], theta: np.ndarray) -> ThetaMap:
        """Learns mean and sd where a map needs them.

        Args:
            columns: Names of theta's columns, D.
            parts: Columns, prior and kind (`prior`, `standardize`, `log`, `logit` or `circular`) of each parameter. Where a prior is
                known by sampling alone, `prior` stands for logit between two bounds, log above one, and standardize otherwise; where it
                is discrete, for the places of its levels.
            theta: Training parameters, (N, D).

        Raises:
            ConfigError: If a map needs bounds that the prior does not have, or a discrete prior has another map or too many levels.
            DataError: If theta is not finite or lies outside the support.
        """
        theta = _finite(columns, theta)
        blocks = [block for placed in parts for block in _plan(columns, placed)]
        return cls.restore(
            columns, parts, {"blocks": [_learn(columns, block, theta) for block in blocks]}
        )

    @classmethod
    def restore(
        cls, columns: Sequence[str], parts: Sequence[Placed], state: Mapping[str, Any]
    ) -> ThetaMap:
        """The map whose `state` was saved; the other arguments as given to `fit`."""
        learned = tuple(state["blocks"])
        maps = tuple((slice(*block["columns"]), _build(columns, parts, block)) for block in learned)
        return cls(tuple(columns), maps, learned)

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain Python that JSON can hold."""
        return {"blocks": [dict(block) for block in self.learned]}

    @property
    def levels(self) -> dict[str, tuple[float, ...]]:
        """The values that each discrete column can have, rising, by its name."""
        return {
            self.columns[column]: tuple(block["levels"]) for column, block in self._of("levels")
        }

    @property
    def discrete(self) -> dict[int, tuple[float, ...]]:
        """The share of training data at each of the K levels of every discrete column, none of them 0, by its place."""
        return {column: tuple(block["shares"]) for column, block in self._of("levels")}

    @property
    def circular(self) -> tuple[int, ...]:
        """Places of the columns whose z is an angle."""
        return tuple(column for column, _ in self._of("circular"))

    def _of(self, kind: str) -> list[tuple[int, Block]]:
        """Blocks of one column by its place."""
        return [(block["columns"][0], block) for block in self.learned if block["kind"] == kind]

    @property
    def _reach(self) -> np.ndarray:
        """Largest |z| of each column, (D,): none where it is a place among levels."""
        reach = np.full(len(self.columns), _Z_MAX)
        reach[list(self.discrete)] = np.inf
        return reach

    def forward(self, theta: np.ndarray) -> np.ndarray:
        """z (N, D) of theta (N, D), finite.

        Raises:
            DataError: If theta is not finite or lies outside the support; `log_abs_det` is -inf in such rows.
        """
        theta = _finite(self.columns, theta)
        z = np.concatenate([part.forward(theta[:, place]) for place, part in self.maps], axis=1)
        _refuse(self.columns, theta, np.isnan(z), "outside its support")
        return np.clip(z, -self._reach, self._reach)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """theta (N, D) of z (N, D), float64, inside the support except where it is standardized."""
        z = np.clip(np.asarray(z, np.float64), -self._reach, self._reach)
        return np.concatenate([part.inverse(z[:, place]) for place, part in self.maps], axis=1)

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        """log |dz/dtheta| at theta (N, D), shape (N,); -inf outside the support, which standardized columns do not have."""
        theta = np.asarray(theta, np.float64)
        return np.sum([part.log_abs_det(theta[:, place]) for place, part in self.maps], axis=0)


def _finite(columns: Sequence[str], theta: np.ndarray) -> np.ndarray:
    theta = np.asarray(theta, np.float64)
    _refuse(columns, theta, ~np.isfinite(theta), "not a finite number")
    return theta


def _refuse(columns: Sequence[str], theta: np.ndarray, bad: np.ndarray, why: str) -> None:
    if bad.any():
        row, column = np.argwhere(bad)[0]
        what = f"{columns[column]} is {theta[row, column]:g} in row {row}, {why} ({int(bad.any(1).sum())} of {len(theta)} rows)"
        raise DataError(
            what, where="theta", todo="Check the prior's bounds against what draws theta."
        )


def _plan(columns: Sequence[str], placed: Placed) -> Iterator[Block]:
    """One block for a prior as a whole, else one for each of its columns; a bound that does not exist is None."""
    place, prior, kind = placed
    start, stop, _ = place.indices(len(columns))
    if prior.discrete:
        for column in range(start, stop):
            levels = _levels(columns[column], prior, column - start, kind)
            yield {"columns": [column, column + 1], "kind": "levels", "levels": levels.tolist()}
        return
    if kind == "prior" and prior.known:
        yield {"columns": [start, stop], "kind": kind}
        return
    low, high = (
        np.broadcast_to(np.asarray(bound, np.float64), stop - start).tolist()
        for bound in prior.support()
    )
    for column, bounds in enumerate(zip(low, high, strict=True), start):
        chosen = _by_bounds(*bounds) if kind == "prior" else kind
        _check_bounds(columns[column], chosen, bounds)
        ends = [bound if np.isfinite(bound) else None for bound in bounds]
        yield {"columns": [column, column + 1], "kind": chosen, "low": ends[0], "high": ends[1]}


def _levels(column: str, prior: Distribution, k: int, kind: str) -> np.ndarray:
    """The values that the k-th column of a discrete prior can have, rising."""
    if kind != "prior":
        todo = (
            "Leave it out of model.theta, or write prior; other parameters can be named one by one."
        )
        raise ConfigError(f"a discrete parameter has no map '{kind}'", where=column, todo=todo)
    low, high = (bounds[k] for bounds in prior.support())
    if high - low >= _MOST_LEVELS:
        what = f"{high - low + 1:g} levels are too many to infer: a discrete parameter has a probability for each, {_MOST_LEVELS} at most"
        raise ConfigError(
            what,
            where=column,
            todo="Narrow it, or take a continuous prior and round in the simulator.",
        )
    values = np.arange(low, high + 1)
    return values[prior.inside(np.repeat(values[:, None], prior.size, axis=1))[:, k]]


def _by_bounds(low: float, high: float) -> str:
    if np.isfinite(low):
        return "logit" if np.isfinite(high) else "log"
    return "standardize"


def _check_bounds(column: str, kind: str, bounds: tuple[float, float]) -> None:
    low, high = bounds
    span = f"the prior lies in [{low:g}, {high:g}]"
    if kind not in (*_G, "circular"):
        raise ConfigError(
            f"unknown map '{kind}'", where=column, todo=f"One of: prior, {', '.join(_G)}, circular."
        )
    if kind == "log" and not (np.isfinite(low) and high == np.inf):
        other = "logit" if np.isfinite(bounds).all() else "standardize"
        raise ConfigError(
            f"'log' needs a lower bound and no upper one; {span}",
            where=column,
            todo=f"Use prior or {other}.",
        )
    if kind in ("logit", "circular") and not np.isfinite(bounds).all():
        other = "log" if np.isfinite(low) else "standardize"
        todo = (
            f"Use prior or {other}."
            if kind == "logit"
            else "Give it a prior on one period, such as uniform from 0 to 360."
        )
        raise ConfigError(f"'{kind}' needs two finite bounds; {span}", where=column, todo=todo)


def _learn(columns: Sequence[str], block: Block, theta: np.ndarray) -> Block:
    """Adds what is learned: mean and sd of g(theta), or the share of each level."""
    if block["kind"] in ("prior", "circular"):
        return block
    place = slice(*block["columns"])
    if block["kind"] == "levels":
        return {**block, "shares": _shares(columns[place], block["levels"], theta[:, place])}
    g = _g(block).forward(theta[:, place])
    _refuse(
        columns[place],
        theta[:, place],
        np.isnan(g),
        f"outside its bounds {block['low']} and {block['high']}",
    )
    mean, sd = float(g.mean()), float(g.std())
    return {**block, "mean": mean, "sd": sd if sd > 1e-12 * abs(mean) else 1.0}


def _shares(column: Sequence[str], levels: Sequence[float], theta: np.ndarray) -> list[float]:
    """How often each of the K levels came in theta (N, 1), once more for each, so that none has the share 0."""
    z = _Levels(np.asarray(levels)).forward(theta)
    _refuse(column, theta, np.isnan(z), "none of its levels")
    return (
        (np.bincount(z[:, 0].astype(np.int64), minlength=len(levels)) + 1)
        / (len(theta) + len(levels))
    ).tolist()


def _build(columns: Sequence[str], parts: Sequence[Placed], block: Block) -> _Map:
    if block["kind"] == "prior":
        return _Prior(
            next(
                prior
                for place, prior, _ in parts
                if place.indices(len(columns))[0] == block["columns"][0]
            )
        )
    if block["kind"] == "levels":
        return _Levels(np.asarray(block["levels"]))
    if block["kind"] == "circular":
        return _Circle(block["low"], block["high"])
    return _Standardized(_g(block), block["mean"], block["sd"])


def _g(block: Block) -> _Affine | _Log | _Logit:
    return _G[block["kind"]](block["low"], block["high"])
