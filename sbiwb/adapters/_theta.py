r"""Theta to unconstrained z and back, in float64, with its log-determinant; the network sees z alone.

A parameter with a known prior goes through its own distribution function, z = Phi^-1(F(theta)), so that z is standard normal
under the prior, no draw can leave the support, and

    log |dz/dtheta| = log p(theta) - sum_k log phi(z_k),

which also holds where the columns of one prior depend on each other. The other maps are z = (g(theta) - mean) / sd, column by
column, with g the identity (`standardize`), log(theta - low) (`log`) or log(theta - low) - log(high - theta) (`logit`).
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
        z = self.forward(np.where((log_prob > -np.inf)[:, None], theta, self.inverse(np.zeros_like(theta))))
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
        return np.log(np.maximum(theta - self.low, floor)), np.log(np.maximum(self.high - theta, floor))


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


_G: dict[str, type[_Affine] | type[_Log] | type[_Logit]] = {"standardize": _Affine, "log": _Log, "logit": _Logit}


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
            parts: Columns, prior and kind (`prior`, `standardize`, `log` or `logit`) of each parameter. Where a prior is known by
                sampling alone, `prior` stands for logit between two bounds, log above one, and standardize otherwise.
            theta: Training parameters, (N, D).

        Raises:
            ConfigError: If a map needs bounds that the prior does not have.
            DataError: If theta is not finite or lies outside the support.
        """
        theta = _finite(columns, theta)
        blocks = [block for placed in parts for block in _plan(columns, placed)]
        return cls.restore(columns, parts, {"blocks": [_learn(columns, block, theta) for block in blocks]})

    @classmethod
    def restore(cls, columns: Sequence[str], parts: Sequence[Placed], state: Mapping[str, Any]) -> ThetaMap:
        """The map whose `state` was saved; the other arguments as given to `fit`."""
        learned = tuple(state["blocks"])
        maps = tuple((slice(*block["columns"]), _build(columns, parts, block)) for block in learned)
        return cls(tuple(columns), maps, learned)

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain Python that JSON can hold."""
        return {"blocks": [dict(block) for block in self.learned]}

    def forward(self, theta: np.ndarray) -> np.ndarray:
        """z (N, D) of theta (N, D), finite.

        Raises:
            DataError: If theta is not finite or lies outside the support; `log_abs_det` is -inf in such rows.
        """
        theta = _finite(self.columns, theta)
        z = np.concatenate([part.forward(theta[:, place]) for place, part in self.maps], axis=1)
        _refuse(self.columns, theta, np.isnan(z), "outside its support")
        return np.clip(z, -_Z_MAX, _Z_MAX)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """theta (N, D) of z (N, D), float64, inside the support except where it is standardized."""
        z = np.clip(np.asarray(z, np.float64), -_Z_MAX, _Z_MAX)
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
        raise DataError(what, where="theta", todo="Check the prior's bounds against what draws theta.")


def _plan(columns: Sequence[str], placed: Placed) -> Iterator[Block]:
    """One block for a prior as a whole, else one for each of its columns; a bound that does not exist is None."""
    place, prior, kind = placed
    start, stop, _ = place.indices(len(columns))
    if kind == "prior" and prior.known:
        yield {"columns": [start, stop], "kind": kind}
        return
    low, high = (np.broadcast_to(np.asarray(bound, np.float64), stop - start).tolist() for bound in prior.support())
    for column, bounds in enumerate(zip(low, high, strict=True), start):
        chosen = _by_bounds(*bounds) if kind == "prior" else kind
        _check_bounds(columns[column], chosen, bounds)
        ends = [bound if np.isfinite(bound) else None for bound in bounds]
        yield {"columns": [column, column + 1], "kind": chosen, "low": ends[0], "high": ends[1]}


def _by_bounds(low: float, high: float) -> str:
    if np.isfinite(low):
        return "logit" if np.isfinite(high) else "log"
    return "standardize"


def _check_bounds(column: str, kind: str, bounds: tuple[float, float]) -> None:
    low, high = bounds
    span = f"the prior lies in [{low:g}, {high:g}]"
    if kind not in _G:
        raise ConfigError(f"unknown map '{kind}'", where=column, todo=f"One of: prior, {', '.join(_G)}.")
    if kind == "log" and not (np.isfinite(low) and high == np.inf):
        other = "logit" if np.isfinite(bounds).all() else "standardize"
        raise ConfigError(f"'log' needs a lower bound and no upper one; {span}", where=column, todo=f"Use prior or {other}.")
    if kind == "logit" and not np.isfinite(bounds).all():
        other = "log" if np.isfinite(low) else "standardize"
        raise ConfigError(f"'logit' needs two finite bounds; {span}", where=column, todo=f"Use prior or {other}.")


def _learn(columns: Sequence[str], block: Block, theta: np.ndarray) -> Block:
    """Adds mean and sd of g(theta)."""
    if block["kind"] == "prior":
        return block
    place = slice(*block["columns"])
    g = _g(block).forward(theta[:, place])
    _refuse(columns[place], theta[:, place], np.isnan(g), f"outside its bounds {block['low']} and {block['high']}")
    mean, sd = float(g.mean()), float(g.std())
    return {**block, "mean": mean, "sd": sd if sd > 1e-12 * abs(mean) else 1.0}


def _build(columns: Sequence[str], parts: Sequence[Placed], block: Block) -> _Map:
    if block["kind"] == "prior":
        return _Prior(next(prior for place, prior, _ in parts if place.indices(len(columns))[0] == block["columns"][0]))
    return _Standardized(_g(block), block["mean"], block["sd"])


def _g(block: Block) -> _Affine | _Log | _Logit:
    return _G[block["kind"]](block["low"], block["high"])
