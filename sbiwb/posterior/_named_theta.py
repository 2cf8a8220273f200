"""Theta as columns side by side, and by the names of the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import torch

from sbiwb.errors import DataError

if TYPE_CHECKING:
    import xarray


def by_name(columns: Sequence[str], theta: np.ndarray) -> dict[str, np.ndarray]:
    """Theta (..., D) as (...,) of each scalar and (..., K) of each vector-valued parameter.

    Example:
        >>> parts = by_name(("a", "b[0]", "b[1]"), np.zeros((5, 3)))
        >>> {name: part.shape for name, part in parts.items()}
        {'a': (5,), 'b': (5, 2)}
    """
    return {name: theta[..., place] for name, place in _places(columns).items()}


def _places(columns: Sequence[str]) -> dict[str, int | list[int]]:
    """Where each parameter's columns are: a place, or several for a vector-valued one, `b[0]`."""
    scalars: dict[str, int | list[int]] = {}
    vectors: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        name, bracket, _ = column.partition("[")
        if bracket:
            scalars[name] = vectors.setdefault(name, [])
            vectors[name].append(place)
        else:
            scalars[name] = place
    return scalars


def stacked(columns: Sequence[str], theta: object) -> np.ndarray:
    """Theta as (..., D), float64, from an array, a tensor, or columns by name.

    Raises:
        DataError: A parameter is missing.
    """
    if not _has_names(theta):
        return _float64(theta)
    places = _places(columns)
    missing = [name for name in places if name not in theta]
    if missing:
        raise DataError(
            f"no parameter {', '.join(missing)}",
            where="theta",
            todo=f"Give each of {', '.join(places)}.",
        )
    parts = []
    for name, place in places.items():
        values = _float64(theta[name])
        if isinstance(place, int):
            values = values[..., None]
        parts.append(values)
    return np.concatenate(parts, axis=-1)


def _has_names(theta: object) -> TypeGuard[Mapping[str, object]]:
    """Whether it is a dict, a data frame, a Dataset or the like."""
    return hasattr(theta, "keys")


def _float64(values: object) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    return np.asarray(values, np.float64)


def draws_dataset(
    columns: Sequence[str], draws: np.ndarray, units: Mapping[str, str]
) -> xarray.Dataset:
    """Draws (N, S, D) as a variable a parameter, with its unit."""
    import xarray

    coordinates = {"data_set": np.arange(len(draws)), "draw": np.arange(draws.shape[1])}
    variables = {}
    for name, values in by_name(columns, draws).items():
        dimensions = ["data_set", "draw"]
        if values.ndim == 3:
            dimensions.append(f"{name}_dim_0")
        attributes = {}
        if units.get(name):
            attributes["units"] = units[name]
        variables[name] = (dimensions, values, attributes)
    return xarray.Dataset(variables, coords=coordinates)


def density_array(density: np.ndarray) -> xarray.DataArray:
    """Densities (N,) or (N, S) over data sets and draws."""
    import xarray

    dimensions = ("data_set", "draw")[: density.ndim]
    sizes = zip(dimensions, density.shape, strict=True)
    coordinates = {dimension: np.arange(size) for dimension, size in sizes}
    return xarray.DataArray(
        density, coordinates, dimensions, name="log_prob", attrs={"units": "nats"}
    )
