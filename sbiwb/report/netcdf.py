"""Posterior files: netCDF-4 in the ArviZ schema, with groups for draws, predictions, data and constants."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sbiwb.records import Columns, Ragged


def netcdf(
    posterior: Mapping[str, np.ndarray],
    predictive: Columns,
    observed: Columns,
    constants: Mapping[str, Any],
    *,
    labels: Sequence[str],
    attributes: Mapping[str, str],
) -> bytes:
    """The bytes of a netCDF file that ArviZ and xarray open.

    Args:
        posterior: Draws (N, S) or (N, S, K) by name; N data sets.
        predictive: Simulated data (N * R, ...) by observable, R for each data set, in their order.
        observed: Data (N, ...) by observable.
        constants: Context variables (N, ...) and constants.
        labels: Of the data sets; a single one gets no dimension of its own.
        attributes: Provenance.

    Returns:
        The file: ragged variables are padded with NaN.
    """
    import xarray as xr

    n = len(labels)
    one = {"data_set": list(labels)} if n > 1 else {}
    groups = {
        "posterior": xr.Dataset({name: _sampled(name, values, n) for name, values in posterior.items()}, coords=one),
        "observed_data": xr.Dataset({name: _data(name, values, n) for name, values in observed.items()}, coords=one),
        "constant_data": xr.Dataset({name: _data(name, values, n) for name, values in constants.items()}, coords=one),
    }
    if predictive:
        groups["posterior_predictive"] = xr.Dataset(
            {name: _sampled(name, _grouped(values, n), n) for name, values in predictive.items()}, coords=one
        )
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(attributes)
    for group in tree.children.values():
        group.attrs.update(attributes)
    buffer = io.BytesIO()
    tree.to_netcdf(buffer, engine="h5netcdf")
    return buffer.getvalue()


def _dense(values: Any) -> np.ndarray:
    """Padded with NaN where ragged; a number as it is."""
    if not isinstance(values, Ragged):
        return np.asarray(values)
    padded, mask = values.padded()
    padded = padded.astype(np.float64)
    padded[~mask] = np.nan
    return padded


def _grouped(values: Any, n: int) -> np.ndarray:
    """(N * R, ...) as (N, R, ...)."""
    dense = _dense(values)
    return dense.reshape(n, len(dense) // n, *dense.shape[1:])


def _sampled(name: str, values: np.ndarray, n: int) -> tuple[list[str], np.ndarray]:
    """Dimensions (chain, draw, data_set, ...): ArviZ wants the first two in front."""
    inner = [f"{name}_dim_{i}" for i in range(values.ndim - 2)]
    if n == 1:
        return ["chain", "draw", *inner], values
    return ["chain", "draw", "data_set", *inner], np.swapaxes(values, 0, 1)[None]


def _data(name: str, values: Any, n: int) -> tuple[list[str], np.ndarray]:
    dense = _dense(values)
    if dense.ndim and len(dense) == n and n > 1:
        return ["data_set", *(f"{name}_dim_{i}" for i in range(dense.ndim - 1))], dense
    dense = dense[0] if dense.ndim and len(dense) == 1 and n == 1 else dense
    return [f"{name}_dim_{i}" for i in range(dense.ndim)], dense
