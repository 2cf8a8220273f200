"""Posterior files: netCDF-4 in the ArviZ schema, with groups for draws, prior, predictions, data
and constants."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb import __version__
from sbiwb.records import Columns, Ragged

if TYPE_CHECKING:
    import xarray

ALWAYS = ("posterior", "observed_data", "constant_data")
CHAIN, DRAW, DATA_SET = "chain", "draw", "data_set"
RESERVED = (CHAIN, DRAW, DATA_SET)  # dimensions, of which no variable can have the name


@dataclass(frozen=True)
class _Array:
    """A variable of the file.

    Args:
        dimensions: Their names.
        values: What it holds.
    """

    dimensions: tuple[str, ...]
    values: np.ndarray


Group = Mapping[str, _Array]


def netcdf(
    posterior: Columns,
    predictive: Columns,
    observed: Columns,
    constants: Mapping[str, object],
    *,
    labels: Sequence[str],
    attributes: Mapping[str, str],
    prior: Columns | None = None,
    units: Mapping[str, str] | None = None,
    log_likelihood: Columns | None = None,
) -> bytes:
    """The bytes of a netCDF file that ArviZ and xarray open.

    Dimensions are chain (one), draw, data_set (where there are several), and NAME_dim_0, ... of
    vector-valued variables. Ragged variables are padded with NaN, and NAME_length beside them
    counts their members. Booleans are 0 and 1. A variable with the name of a dimension is written
    with an underscore behind it, one with a slash in its name with an underscore there; its own
    name is the attribute `long_name`.

    Args:
        posterior: Draws (N, S) or (N, S, K) by name; N data sets.
        predictive: Simulated data (N * R, ...) by observable, R for each data set, in their order;
            NaN or no members where one failed.
        observed: Data (N, ...) by observable.
        constants: Context variables (N, ...), and constants that are one number.
        labels: Of the data sets; a single one gets no dimension of its own.
        attributes: Provenance: run, data_hash, weights, seed, ...; the library and the time are
            added.
        prior: Draws (R,) or (R, K) by name.
        units: Of variables in any group, by name.
        log_likelihood: Of members (N, S, M) or data sets (N, S) at the draws, by name.

    References:
        InferenceData schema, https://python.arviz.org/en/stable/schema/schema.html
    """
    import xarray as xr

    n, about = len(labels), {**_library(), **attributes}
    simulated = {name: _grouped(values, n) for name, values in _dense(predictive).items()}
    prior_draws = {name: values[None] for name, values in _dense(prior or {}).items()}
    groups = {
        "posterior": _sampled(_dense(posterior), n),
        "posterior_predictive": _sampled(simulated, n),
        "log_likelihood": _sampled(_dense(log_likelihood or {}), n),
        "observed_data": _data(_dense(observed), n),
        "constant_data": _data(_dense(constants), n),
        "prior": _sampled(prior_draws, 1),
    }
    tree = {"/": xr.Dataset(attrs=about)}
    for name, group in groups.items():
        if group or name in ALWAYS:
            tree[name] = _dataset(group, labels, units or {}, about)
    buffer = io.BytesIO()
    xr.DataTree.from_dict(tree).to_netcdf(buffer, engine="h5netcdf")
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


def _free_names(names: Iterable[str]) -> dict[str, str]:
    """Names that the file can hold, by those of the user."""
    free: dict[str, str] = {}
    for name in names:
        other = name.replace("/", "_")
        while other in RESERVED or other in free.values():
            other += "_"
        free[name] = other
    return free


def _attributes(name: str, written: str, units: Mapping[str, str]) -> dict[str, str]:
    """Unit of a variable, and its own name where it is written under another."""
    attributes = {}
    if units.get(name):
        attributes["units"] = units[name]
    if written != name:
        attributes["long_name"] = name
    return attributes


def _dataset(
    group: Group, labels: Sequence[str], units: Mapping[str, str], about: Mapping[str, str]
) -> xarray.Dataset:
    import xarray as xr

    sizes: dict[str, int] = {}
    for array in group.values():
        sizes |= zip(array.dimensions, array.values.shape, strict=True)
    coordinates: dict[str, object] = {}
    for name in (CHAIN, DRAW):
        if name in sizes:
            coordinates[name] = np.arange(sizes[name])
    if DATA_SET in sizes and len(labels) > 1:
        coordinates[DATA_SET] = list(labels)
    variables = {}
    for name, written in _free_names(group).items():
        array, attributes = group[name], _attributes(name, written, units)
        variables[written] = (array.dimensions, array.values, attributes)
    return xr.Dataset(variables, coords=coordinates, attrs=about)


def _dense(columns: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Arrays by name: what is ragged is padded with NaN, and its lengths stand beside it."""
    lengths, arrays = {}, {}
    for name, values in columns.items():
        if isinstance(values, Ragged):
            lengths[f"{name}_length"] = values.lengths
            arrays[name] = _padded(values)
        else:
            arrays[name] = _as_number(np.asarray(values))
    return lengths | arrays


def _as_number(values: np.ndarray) -> np.ndarray:
    """Booleans as 0 and 1: netCDF has none."""
    if values.dtype == bool:
        return values.astype(np.int8)
    return values


def _padded(ragged: Ragged) -> np.ndarray:
    values, mask = ragged.padded()
    values = values.astype(np.float64)
    values[~mask] = np.nan
    return values


def _grouped(values: np.ndarray, n: int) -> np.ndarray:
    """(N * R, ...) as (N, R, ...)."""
    return values.reshape(n, len(values) // n, *values.shape[1:])


def _inner(name: str, axes: int) -> tuple[str, ...]:
    """Dimensions of a vector-valued variable."""
    return tuple(f"{name.replace('/', '_')}_dim_{i}" for i in range(axes))


def _sampled(columns: Mapping[str, np.ndarray], n: int) -> dict[str, _Array]:
    """(N, S, ...) with dimensions chain and draw in front, as ArviZ wants them; the data sets after
    them."""
    group = {}
    for name, values in columns.items():
        inner = _inner(name, values.ndim - 2)
        if n == 1:
            group[name] = _Array((CHAIN, DRAW, *inner), values)
        else:
            draws = np.swapaxes(values, 0, 1)[None]
            group[name] = _Array((CHAIN, DRAW, DATA_SET, *inner), draws)
    return group


def _data(columns: Mapping[str, np.ndarray], n: int) -> dict[str, _Array]:
    """(N, ...), or a constant: one number for all data sets."""
    group = {}
    for name, values in columns.items():
        inner = _inner(name, values.ndim - 1)
        if not values.ndim:
            group[name] = _Array((), values)
        elif n == 1:
            group[name] = _Array(inner, values[0])
        else:
            group[name] = _Array((DATA_SET, *inner), values)
    return group
