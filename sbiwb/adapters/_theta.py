r"""Theta to unconstrained z and back, in float64, with its log-determinant.

The network sees z alone.

A parameter with a known prior goes through its own distribution function, z = Phi^-1(F(theta)), so
that z is standard normal under the prior, no draw can leave the support, and

    log |dz/dtheta| = log p(theta) - sum_k log phi(z_k),

which also holds where the columns of one prior depend on each other. The other maps are
z = (g(theta) - mean) / sd, column by column, with g the identity (`standardize`), log(theta - low)
(`log`) or log(theta - low) - log(high - theta) (`logit`).

Two kinds of columns are not made normal. A circular one becomes an angle, z = 2 pi (theta - low) /
(high - low) - pi in [-pi, pi), whose two ends are the same point. A discrete one becomes the place
of its value among its K levels, z in {0, ..., K - 1}; what belongs to it is a mass, which no map
changes, so that it adds nothing to the log-determinant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from sbiwb.adapters._theta_blocks import (
    Placed,
    ThetaBlock,
    build_map,
    learn_block,
    plan_blocks,
    refuse_rows,
)
from sbiwb.adapters._theta_maps import ColumnMap

MAX_Z = 37.0  # Phi(-37) is about the smallest float64


class ThetaState(TypedDict):
    """What was learned, as JSON can hold it."""

    blocks: list[ThetaBlock]


@dataclass(frozen=True)
class ThetaMap:
    """theta (N, D) to z (N, D); made by `fit` on training data, or by `restore` from a checkpoint.

    Args:
        columns: Names of theta's columns, D.
        maps: The map of each block of columns.
        learned: Kind, mean and sd of each block, as plain Python.
    """

    columns: tuple[str, ...]
    maps: tuple[tuple[slice, ColumnMap], ...]
    learned: tuple[ThetaBlock, ...]

    @classmethod
    def fit(cls, columns: Sequence[str], parts: Sequence[Placed], theta: np.ndarray) -> ThetaMap:
        """Learns mean and sd where a map needs them.

        Args:
            columns: Names of theta's columns, D.
            parts: Columns, prior and kind (`prior`, `standardize`, `log`, `logit` or `circular`) of
                each parameter. Where a prior is known by sampling alone, `prior` stands for logit
                between two bounds, log above one, and standardize otherwise; where it is discrete,
                for the places of its levels.
            theta: Training parameters, (N, D).

        Raises:
            ConfigError: If a map needs bounds that the prior does not have, or a discrete prior has
                another map or too many levels.
            DataError: If theta is not finite or lies outside the support.
        """
        theta = _finite(columns, theta)
        blocks = [block for placed in parts for block in plan_blocks(columns, placed)]
        learned = [learn_block(columns, block, theta) for block in blocks]
        return cls.restore(columns, parts, {"blocks": learned})

    @classmethod
    def restore(
        cls, columns: Sequence[str], parts: Sequence[Placed], state: ThetaState
    ) -> ThetaMap:
        """The map whose `state` was saved; the other arguments as given to `fit`."""
        maps = []
        for block in state["blocks"]:
            maps.append((slice(*block["columns"]), build_map(columns, parts, block)))
        return cls(tuple(columns), tuple(maps), tuple(state["blocks"]))

    def state(self) -> ThetaState:
        """Everything learned, as plain Python that JSON can hold."""
        return {"blocks": [block.copy() for block in self.learned]}

    @property
    def levels(self) -> dict[str, tuple[float, ...]]:
        """The values that each discrete column can have, rising, by its name."""
        blocks = self._columns_of("levels")
        return {self.columns[column]: tuple(block["levels"]) for column, block in blocks}

    @property
    def discrete(self) -> dict[int, tuple[float, ...]]:
        """The share of training data, never 0, at each level of a discrete column, by its place."""
        blocks = self._columns_of("levels")
        return {column: tuple(block["shares"]) for column, block in blocks}

    @property
    def circular(self) -> tuple[int, ...]:
        """Places of the columns whose z is an angle."""
        return tuple(dict(self._columns_of("circular")))

    def _columns_of(self, kind: str) -> list[tuple[int, ThetaBlock]]:
        """Blocks of one column by its place."""
        return [(block["columns"][0], block) for block in self.learned if block["kind"] == kind]

    @property
    def _max_z(self) -> np.ndarray:
        """Largest |z| of each column, (D,): none where it is a place among levels."""
        largest = np.full(len(self.columns), MAX_Z)
        largest[list(self.discrete)] = np.inf
        return largest

    def forward(self, theta: np.ndarray) -> np.ndarray:
        """z (N, D) of theta (N, D), finite.

        Raises:
            DataError: If theta is not finite or lies outside the support; `log_abs_det` is -inf in
                such rows.
        """
        theta = _finite(self.columns, theta)
        z = np.concatenate([part.forward(theta[:, place]) for place, part in self.maps], axis=1)
        refuse_rows(self.columns, theta, np.isnan(z), "outside its support")
        return np.clip(z, -self._max_z, self._max_z)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """theta (N, D) of z (N, D), float64, inside the support except where it is standardized."""
        z = np.clip(np.asarray(z, np.float64), -self._max_z, self._max_z)
        return np.concatenate([part.inverse(z[:, place]) for place, part in self.maps], axis=1)

    def log_abs_det(self, theta: np.ndarray) -> np.ndarray:
        """log |dz/dtheta| at theta (N, D), shape (N,).

        It is -inf outside the support, which standardized columns do not have.
        """
        theta = np.asarray(theta, np.float64)
        return np.sum([part.log_abs_det(theta[:, place]) for place, part in self.maps], axis=0)


def _finite(columns: Sequence[str], theta: np.ndarray) -> np.ndarray:
    theta = np.asarray(theta, np.float64)
    refuse_rows(columns, theta, ~np.isfinite(theta), "not a finite number")
    return theta
