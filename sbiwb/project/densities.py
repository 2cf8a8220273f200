"""Densities of the simulator file, `log_likelihood` and `log_density`, as functions of theta.

Their failures and wrong shapes are told with the line of the file.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sbiwb.errors import ConfigError, SbiwbError, SimulatorError
from sbiwb.priors import Prior
from sbiwb.records import Columns, take
from sbiwb.simulation.source import DENSITY, SimulatorSource, blame

LIKELIHOOD = "log_likelihood"
HOW_TO_WRITE = (
    "with torch: x one data set, each parameter a tensor (N,) or (N, K), the result (N,)."
)
Density = Callable[..., Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class NamedDensity:
    """A function of the simulator file with everything given but theta.

    Args:
        name: Of the function.
        function: The function itself.
        path: The simulator file.
        prior: Tells which columns of theta are which parameter.
        x: One data set, its first argument; None for a density that has no data.
        known: Context variables and constants by name.
    """

    name: str
    function: Density
    path: Path
    prior: Prior
    x: Mapping[str, object] | None
    known: Mapping[str, object]

    def __call__(self, theta: Tensor) -> Tensor:
        """The log-density (N,) at theta (N, D), float64; -inf where it is NaN.

        Raises:
            SimulatorError: The function fails, or returns another shape.
        """
        parameters = self._by_name(theta)
        first = [] if self.x is None else [self.x]
        try:
            density = self.function(*first, **parameters, **self.known)
        except SbiwbError:  # a signal that came meanwhile is no fault of the function
            raise
        except Exception as error:
            raise SimulatorError(
                f"{self.name}() failed: {type(error).__name__}: {error}",
                where=blame(error, self.path),
                todo="It is called with tensors of N rows: "
                f"{', '.join([*parameters, *self.known])}.",
            ) from error
        self._check_shape(density, len(theta))
        return torch.where(torch.isnan(density), -math.inf, density.double())

    def _by_name(self, theta: Tensor) -> dict[str, Tensor]:
        parameters = {}
        for name, columns in self.prior.slices.items():
            is_scalar = not self.prior.distributions[name].event
            parameters[name] = theta[:, columns.start] if is_scalar else theta[:, columns]
        return parameters

    def _check_shape(self, density: object, n: int) -> None:
        if isinstance(density, Tensor) and density.shape == (n,):
            return
        shape: object = type(density).__name__
        if isinstance(density, Tensor | np.ndarray):
            shape = tuple(density.shape)
        raise SimulatorError(
            f"{self.name}() returned {shape} instead of a tensor ({n},)",
            where=self.path,
            todo="Sum over the data.",
        )


@dataclass(frozen=True)
class ExactDensities:
    """The densities that a simulator file may have.

    Args:
        source: The simulator file.
        prior: Of its parameters.
        constants: Of the problem, by name; a density is handed those it asks for.
    """

    source: SimulatorSource
    prior: Prior
    constants: Mapping[str, object]

    @property
    def has_likelihood(self) -> bool:
        return self.source.optional(LIKELIHOOD) is not None

    def likelihood(self, x: Columns, context: Columns, which: int) -> NamedDensity:
        """log p(x | theta) of the data set `which` among N.

        Raises:
            ConfigError: The simulator file has no `log_likelihood`.
        """
        function = self.source.optional(LIKELIHOOD)
        if function is None:
            raise ConfigError(
                f"has no {LIKELIHOOD}(x, **theta), without which no draw can be weighed",
                where=self.source.path,
                todo=f"Write it {HOW_TO_WRITE}",
            )
        arguments = {
            **_tensors(_asked(function, data_set(context, which))),
            **_asked(function, self.constants),
        }
        data = _tensors(data_set(x, which))
        return NamedDensity(LIKELIHOOD, function, self.source.path, self.prior, data, arguments)

    def bare(self) -> NamedDensity:
        """`log_density(**theta)` of a simulator file that is a density by itself.

        Raises:
            ConfigError: The file has none.
        """
        function = self.source.optional(DENSITY)
        if function is None:
            raise ConfigError(
                "names no observation, and its simulator file has no log_density(**theta)",
                where="problem.observations",
                todo="Name the data: sbiwb reference CONFIG --observation FILE.",
            )
        constants = _asked(function, self.constants)
        return NamedDensity(DENSITY, function, self.source.path, self.prior, None, constants)


def data_set(columns: Columns, which: int) -> dict[str, np.ndarray]:
    """One row of each variable."""
    row = np.array([which])
    return {name: np.asarray(take(values, row)[0]) for name, values in columns.items()}


def _asked(function: Density, values: Mapping[str, T]) -> dict[str, T]:
    """Those values that the function has as arguments."""
    asked = inspect.signature(function).parameters
    return {name: value for name, value in values.items() if name in asked}


def _tensors(values: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Numbers as float64 tensors; words stay."""
    tensors: dict[str, object] = {}
    for name, value in values.items():
        is_number = value.dtype.kind in "biuf"
        tensors[name] = torch.as_tensor(value.astype(np.float64)) if is_number else value
    return tensors
