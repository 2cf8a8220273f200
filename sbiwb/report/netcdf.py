"""Posterior files: netCDF-4 in the ArviZ schema, with groups for draws, prior, predictions, data and constants."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sbiwb import __version__
from sbiwb.records import Columns, Ragged

if TYPE_CHECKING:
    import xarray

Named = tuple[list[str], np.ndarray]  # dimensions and values
ALWAYS = ("posterior", "observed_data", "constant_data")


def netcdf(
    posterior: Mapping[str, np.ndarray],
    predictive: Columns,
    observed: Columns,
    constants: Mapping[str, Any],
    *,
    labels: Sequence[str],
    attributes: Mapping[str, str],
    prior: Mapping[str, np.ndarray] | None = None,
    units: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a netCDF file that ArviZ and xarray open.

    Dimensions are chain (one), draw, data_set (where there are several), and NAME_dim_0, ... of vector-valued variables. Ragged variables
    are padded with NaN, and NAME_length beside them counts their members.

    Args:
        posterior: Draws (N, S) or (N, S, K) by name; N data sets.
        predictive: Simulated data (N * R, ...) by observable, R for each data set, in their order; NaN or no members where one failed.
        observed: Data (N, ...) by observable.
        constants: Context variables (N, ...), and constants that are one number.
        labels: Of the data sets; a single one gets no dimension of its own.
        attributes: Provenance: run, data_hash, weights, seed, ...; the library and the time are added.
        prior: Draws (R,) or (R, K) by name.
        units: Of variables in any group, by name.

    References:
        InferenceData schema, https://python.arviz.org/en/stable/schema/schema.html
    """
    import xarray as xr

    n = len(labels)
    groups: dict[str, dict[str, Named]] = {
        "posterior": {name: _sampled(name, values, n) for name, values in posterior.items()},
        "posterior_predictive": {
            name: _sampled(name, _grouped(values, n), n)
            for name, values in _dense(predictive).items()
        },
        "observed_data": {
            name: _data(name, values, n) for name, values in _dense(observed).items()
        },
        "constant_data": {
            name: _data(name, values, n) for name, values in _dense(constants).items()
        },
        "prior": {name: _sampled(name, values[None], 1) for name, values in (prior or {}).items()},
    }
    about = {**_library(), **attributes}
    found = {
        name: _dataset(group, labels, units or {}, about)
        for name, group in groups.items()
        if group or name in ALWAYS
    }
    buffer = io.BytesIO()
    xr.DataTree.from_dict({"/": xr.Dataset(attrs=about), **found}).to_netcdf(
        buffer, engine="h5netcdf"
    )
    return buffer.getvalue()


def _library() -> dict[str, str]:
    """The attributes that ArviZ's schema asks for."""
    return {
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "creation_library": "sbiwb",
        "creation_library_version": __version__,
        "creation_library_language": "Python",
        "inference_library": "sbiwb",
        "inference_library_version": __version__,
    }


def _dataset(
    group: Mapping[str, Named],
    labels: Sequence[str],
    units: Mapping[str, str],
    about: Mapping[str, str],
) -> xarray.Dataset:
    import xarray as xr

    sizes = {
        dimension: size
        for dims, values in group.values()
        for dimension, size in zip(dims, values.shape, strict=True)
    }
    coordinates: dict[str, Any] = {
        name: np.arange(sizes[name]) for name in ("chain", "draw") if name in sizes
    }
    if len(labels) > 1 and "data_set" in sizes:
        coordinates["data_set"] = list(labels)
    variables = {
        name: (*one, {"units": units[name]} if units.get(name) else {})
        for name, one in group.items()
    }
    return xr.Dataset(variables, coords=coordinates, attrs=about)


def _dense(columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by name: what is ragged is padded with NaN, and its lengths stand beside it."""
    lengths = {
        f"{name}_length": values.lengths
        for name, values in columns.items()
        if isinstance(values, Ragged)
    }
    padded = {
        name: _padded(values) if isinstance(values, Ragged) else np.asarray(values)
        for name, values in columns.items()
    }
    return {**lengths, **padded}


def _padded(ragged: Ragged) -> np.ndarray:
    values, mask = ragged.padded()
    values = values.astype(np.float64)
    values[~mask] = np.nan
    return values


def _grouped(values: np.ndarray, n: int) -> np.ndarray:
    """(N * R, ...) as (N, R, ...)."""
    return values.reshape(n, len(values) // n, *values.shape[1:])


def _sampled(name: str, values: np.ndarray, n: int) -> Named:
    """(N, S, ...) with dimensions chain and draw in front, as ArviZ wants them; the data sets after them."""
    inner = [f"{name}_dim_{i}" for i in range(values.ndim - 2)]
    if n == 1:
        return ["chain", "draw", *inner], values
    return ["chain", "draw", "data_set", *inner], np.swapaxes(values, 0, 1)[None]


def _data(name: str, values: np.ndarray, n: int) -> Named:
    """(N, ...), or a constant: one number for all data sets."""
    if not values.ndim:
        return [], values
    inner = [f"{name}_dim_{i}" for i in range(values.ndim - 1)]
    return (inner, values[0]) if n == 1 else (["data_set", *inner], values)
