"""Posterior draws as files: a table, netCDF, HDF5 and CSV in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sbiwb import report
from sbiwb.evidence import Value
from sbiwb.files import put, put_json, put_text
from sbiwb.project.simulations import Simulations
from sbiwb.records import Columns
from sbiwb.rundir import PosteriorDir, versions
from sbiwb.steps.infer.posterior_draws import PosteriorDraws


def write_table(
    folder: PosteriorDir,
    draws: PosteriorDraws,
    rows: Sequence[report.Row],
    *,
    warnings: Sequence[str] = (),
    misfit: Sequence[Value] = (),
    trust: Sequence[Mapping[str, object]] = (),
    regions: Mapping[str, float] | None = None,
) -> None:
    """The table for programs, and the table for people.

    Args:
        folder: Where to.
        draws: What it is of.
        rows: As `rows_of` makes them.
        warnings: Sentences on why not to trust the draws.
        misfit: How far the data lie from the simulations.
        trust: How far the posterior of each data set can be trusted.
        regions: Share of the draws in the conformal region of highest density, by data set.
    """
    data = draws.data
    facts: dict[str, object] = {
        "observation": data.name,
        "warnings": list(warnings),
        "trust": list(trust),
        "conformal_region": dict(regions or {}),
        "misspecification": list(map(_misfit_entry, misfit)),
        "rows": list(map(_row_entry, rows)),
    }
    put_json(folder.summary, facts)
    table = report.summary_csv(rows, labels=data.labels, keys=data.keys)
    put_text(folder.summary_table, table)


def _misfit_entry(value: Value) -> dict[str, object]:
    return {
        "measure": value.name,
        "data_set": value.parameter,
        "p": value.value,
        "reason": value.reason,
    }


def _row_entry(row: report.Row) -> dict[str, object]:
    return {"data_set": row.data_set, "name": row.name, **row.columns}


def write_draws(
    folder: PosteriorDir,
    draws: PosteriorDraws,
    *,
    about: Mapping[str, str],
    constants: Mapping[str, object],
    predicted: Simulations | None = None,
    log_likelihood: Columns | None = None,
) -> str:
    """The draws as netCDF, HDF5 and, where they are not too many, CSV.

    Args:
        folder: Where to.
        draws: What to write.
        about: What the files say of where the draws come from.
        constants: Of the problem; those that are numbers are written.
        predicted: Simulations from the posterior.
        log_likelihood: Of members (N, S, M) or data sets (N, S) at the draws, by structure.

    Returns:
        Why the CSV was left out, in words; empty where it was not.
    """
    attributes = {**about, "versions": json.dumps(versions())}
    netcdf = _netcdf(draws, attributes, constants, predicted, log_likelihood or {})
    put(folder.posterior, netcdf)
    put(folder.draws, _hdf5(draws, attributes))
    too_long = report.too_long_for_csv(draws.quantities)
    if too_long:
        folder.draws_table.unlink(missing_ok=True)
        return too_long
    data = draws.data
    table = report.draws_csv(draws.quantities, labels=data.labels, keys=data.keys)
    put_text(folder.draws_table, table)
    return ""


def _netcdf(
    draws: PosteriorDraws,
    attributes: Mapping[str, str],
    constants: Mapping[str, object],
    predicted: Simulations | None,
    log_likelihood: Columns,
) -> bytes:
    data = draws.data
    numbers: dict[str, object] = {}
    for name, value in constants.items():
        if isinstance(value, int | float):
            numbers[name] = value
    simulated: Columns = {}
    if predicted is not None:
        simulated = predicted.filled()
    return report.netcdf(
        draws.quantities,
        simulated,
        data.x,
        {**data.context, **numbers},
        labels=data.labels,
        attributes=attributes,
        prior=_prior_sample(draws),
        units=draws.prior.units,
        log_likelihood=log_likelihood,
    )


def _prior_sample(draws: PosteriorDraws) -> Columns | None:
    """As many draws of the prior as of a posterior."""
    if draws.prior_draws is None:
        return None
    return draws.prior.unstack(draws.prior_draws[: draws.theta.shape[1]])


def _hdf5(draws: PosteriorDraws, attributes: Mapping[str, str]) -> bytes:
    return report.draws_hdf5(
        draws.parameters,
        draws.derived,
        labels=draws.data.labels,
        attributes=attributes,
        keys=draws.data.keys,
        units=draws.prior.units,
    )
