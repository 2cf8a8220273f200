"""The netCDF file: ArviZ opens it and works on it, for one data set and many, dense and ragged,
scalar and vector-valued."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import sbiwb
from sbiwb.records import Ragged
from sbiwb.report import netcdf

S, R = 60, 12
RNG = np.random.default_rng(0)
CASES = [(1, False), (1, True), (3, False), (3, True)]


def written(folder, n: int, ragged: bool, **more):
    """The path of a file with N data sets, and what went into it."""
    posterior = {"mu": RNG.normal(size=(n, S)), "beta": RNG.normal(size=(n, S, 2))}
    if ragged:
        observed = {"y": Ragged.of([RNG.normal(size=3 + i) for i in range(n)])}
        predictive = {"y": Ragged.of([RNG.normal(size=3 + i // R) for i in range(n * R)])}
    else:
        observed, predictive = {"y": RNG.normal(size=(n, 4))}, {"y": RNG.normal(size=(n * R, 4))}
    constants = {"trials": np.arange(n) + 7, "population": 763}
    prior = {"mu": RNG.normal(size=50), "beta": RNG.normal(size=(50, 2))}
    labels = [f"subject {i}" for i in range(n)]
    told = {
        "labels": labels,
        "attributes": {"run": "tiny"},
        "prior": prior,
        "units": {"mu": "m"},
        **more,
    }
    path = folder / "posterior.nc"
    path.write_bytes(
        netcdf(posterior, told.pop("predictive", predictive), observed, constants, **told)
    )
    return path, posterior, predictive, observed


def group(path, name: str) -> xr.Dataset:
    with xr.open_dataset(path, group=name, engine="h5netcdf") as file:
        return file.load()


@pytest.mark.parametrize(("n", "ragged"), CASES)
def test_arviz_works_on_it(tmp_path, n, ragged):
    path, posterior, _, _ = written(tmp_path, n, ragged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
        import matplotlib.pyplot as plt

        plt.switch_backend("agg")
        data = arviz.from_netcdf(str(path))
        assert set(data.groups()) == {
            "posterior",
            "posterior_predictive",
            "prior",
            "observed_data",
            "constant_data",
        }
        table = arviz.summary(data, kind="stats", round_to="none")
        assert len(table) == 3 * n
        np.testing.assert_allclose(table["mean"].iloc[:n], posterior["mu"].mean(axis=1))
        plots = (arviz.plot_posterior, arviz.plot_pair, arviz.plot_forest, arviz.plot_trace)
        drawn = [
            np.size(plot(data, var_names=["mu"] if n > 1 else ["mu", "beta"])) for plot in plots
        ]
        assert all(drawn)
        panels = np.size(arviz.plot_ppc(data))
        assert panels == (2 if ragged else 1)
        if n == 1:
            arviz.plot_dist_comparison(data, var_names=["mu"])
        plt.close("all")


@pytest.mark.parametrize(("n", "ragged"), CASES)
def test_the_draws_are_in_it_to_the_last_digit(tmp_path, n, ragged):
    path, posterior, predictive, observed = written(tmp_path, n, ragged)
    found, data, simulated = (
        group(path, "posterior"),
        group(path, "observed_data"),
        group(path, "posterior_predictive"),
    )
    sets = () if n == 1 else ("data_set",)
    assert found["beta"].dims == ("chain", "draw", *sets, "beta_dim_0") and simulated["y"].dims == (
        "chain",
        "draw",
        *sets,
        "y_dim_0",
    )
    np.testing.assert_array_equal(
        np.moveaxis(found["beta"].values[0].reshape(S, n, 2), 0, 1), posterior["beta"]
    )
    for i in range(n):
        one = data["y"].values if n == 1 else data["y"].values[i]
        many = simulated["y"].values[0].reshape(R, n, -1)[:, i]
        np.testing.assert_array_equal(one[np.isfinite(one)], observed["y"][i])
        for r in range(R):
            np.testing.assert_array_equal(many[r][np.isfinite(many[r])], predictive["y"][i * R + r])
    if n > 1:
        assert found["data_set"].values.tolist() == ["subject 0", "subject 1", "subject 2"]
        assert group(path, "constant_data")["trials"].values.tolist() == [7, 8, 9]
    assert group(path, "constant_data")["population"].item() == 763


def test_lengths_stand_beside_what_is_padded(tmp_path):
    path, _, _, _ = written(tmp_path, 3, True)
    assert group(path, "observed_data")["y_length"].values.tolist() == [3, 4, 5]
    assert (group(path, "posterior_predictive")["y_length"].values == [3, 4, 5]).all()
    assert np.isnan(group(path, "observed_data")["y"].values).sum(axis=1).tolist() == [2, 1, 0]


def test_provenance_and_units_are_attributes(tmp_path):
    path, _, _, _ = written(tmp_path, 1, False)
    for name in ("/", "posterior", "prior", "observed_data"):
        about = group(path, name).attrs
        assert (about["run"], about["inference_library"], about["creation_library"]) == (
            "tiny",
            "sbiwb",
            "sbiwb",
        )
        assert about["creation_library_version"] == sbiwb.__version__ and about[
            "created_at"
        ].startswith("20")
    assert (
        group(path, "posterior")["mu"].attrs["units"]
        == "m"
        == group(path, "prior")["mu"].attrs["units"]
    )
    assert "units" not in group(path, "posterior")["beta"].attrs


def test_without_predictions_and_prior_their_groups_are_absent(tmp_path):
    path, _, _, _ = written(tmp_path, 1, False, predictive={}, prior=None)
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        assert set(tree.children) == {"posterior", "observed_data", "constant_data"}


def test_names_of_dimensions_and_slashes_are_written_under_others(tmp_path):
    """A parameter `chain`, a derived quantity `draw`, an observable `a/b` of two groups."""
    posterior = {name: RNG.normal(size=(2, S)) for name in ("chain", "draw", "data_set", "draw_")}
    data = {"a/b": RNG.normal(size=(2, 4)), "a_b": RNG.normal(size=(2, 4))}
    path = tmp_path / "posterior.nc"
    path.write_bytes(netcdf(posterior, data, data, {}, labels=["one", "two"], attributes={}))
    draws = group(path, "posterior")
    assert list(draws.data_vars) == ["chain_", "draw_", "data_set_", "draw__"]
    assert [draws[name].attrs["long_name"] for name in draws.data_vars] == list(posterior)
    for written, name in zip(draws.data_vars, posterior, strict=True):
        np.testing.assert_array_equal(draws[written].values[0].T, posterior[name])
    observed = group(path, "observed_data")
    assert observed["a_b"].dims == ("data_set", "a_b_dim_0")
    np.testing.assert_array_equal(observed["a_b"], data["a/b"])
    np.testing.assert_array_equal(observed["a_b_"], data["a_b"])


def test_booleans_are_0_and_1(tmp_path):
    heads = RNG.random((1, 4)) < 0.5
    path = tmp_path / "posterior.nc"
    file = netcdf({"p": RNG.random((1, S))}, {}, {"x": heads}, {}, labels=["one"], attributes={})
    path.write_bytes(file)
    assert group(path, "observed_data")["x"].values.tolist() == heads[0].astype(int).tolist()
