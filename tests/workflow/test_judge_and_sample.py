"""`diagnose` and `sample`: draws are made once, files open elsewhere, and strange data are told."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from sbiwb.errors import DataError, GateFailed, RunError, SimulatorError
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.trained import load_posterior
from sbiwb.seeds import generator, place
from sbiwb.steps.judge.checks import named_checks
from sbiwb.steps.judge.gather import EvidenceCache
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.diagnose_evidence import evidence_of
from sbiwb.workflow.sample import context_values, from_file, sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.project.test_posterior import trained
from tests.tiny import SIMULATOR, Recorder, Tiny

SETS = '''"""Sets of n normal numbers."""
import numpy as np


def simulate(mu, n, *, rng):
    return {"y": [m + rng.standard_normal(k) for m, k in zip(mu, n, strict=True)]}


def derived(mu):
    return {"twice": 2 * mu}


def show(x, ax):
    ax.plot(np.sort(x["y"]))
'''
GROUPED = {
    "problem": {
        "constants": {},
        "parameters": {"mu": {"kind": "normal", "unit": "m"}},
        "context": {"n": {"kind": "uniform_integer", "low": 2, "high": 4}},
        "observations": {
            "people": {"file": "people.csv", "group_by": ["who"], "context": {"n": "rows"}}
        },
    },
    "model": {
        "inputs": {"y": {"as": "set", "summary": {"kind": "deepset", "hidden": 8}}},
        "drop": ["n"],
    },
    "train": {"steps": 20},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("plain"), {"train": {"steps": 20}})


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grouped")
    tiny = Tiny.write(folder, GROUPED, SETS)
    problem = (
        tiny.yaml.read_text()
        .replace("    n: 4\n", "")
        .replace("  constants:\n", "  constants: {}\n")
    )
    tiny.yaml.write_text(problem.replace("    seen:\n      file: seen.csv\n", ""))
    (folder / "people.csv").write_text("who,y\na,1.0\nb,0.5\na,0.0\nc,2\nb,1\nc,3\nb,1\n")
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    return tiny


def copy(tiny: Tiny, folder) -> Tiny:
    shutil.copytree(tiny.folder, folder)
    return Tiny(folder)


def infer(tiny: Tiny, name=None, draws=40):
    project, recorder = tiny.open(), Recorder()
    return sample(
        project, named_observations(project, name), recorder, draws=draws, seed=5
    ), recorder


# diagnose


def test_a_check_named_twice_has_two_names():
    kinds = [
        "sbc",
        "zscore_contraction",
        "sbc",
        "zscore_contraction",
        "zscore_contraction",
        "parts/sbc.py",
    ]
    names = [
        check.name for check in named_checks([type("Check", (), {"kind": kind}) for kind in kinds])
    ]
    assert names == [
        "sbc",
        "zscore_contraction",
        "sbc_2",
        "zscore_contraction_2",
        "zscore_contraction_3",
        "sbc_3",
    ]


def test_the_gate_fails_an_overconfident_posterior_only(tmp_path, plain, monkeypatch):
    tiny = copy(plain, tmp_path / "p")
    draws = evidence_of(tiny.open(), Recorder()).draws
    rng = np.random.default_rng(0)
    y = np.stack([generator(1, "test", i).normal(size=4) for i in range(400)])
    mean, sd = y.sum(1) / 5, np.sqrt(1 / 5)
    theta = mean + sd * rng.normal(size=400)

    def made(width):
        cloud = mean[:, None, None] + width * sd * rng.normal(size=(400, 19, 1))
        return replace(
            draws,
            theta=theta[:, None],
            draws=cloud,
            log_prob_theta=None,
            log_prob_draws=None,
            ridge_prediction=None,
        )

    monkeypatch.setattr(EvidenceCache, "draws", property(lambda _: made(0.4)))
    with pytest.raises(GateFailed) as caught:
        diagnose(tiny.open(), Recorder(), gate=True)
    assert (
        caught.value.exit_code == 3
        and "mu" in caught.value.what
        and caught.value.where.endswith("numbers.json")
    )
    assert json.loads((tiny.run / "diagnose/numbers.json").read_text())["verdict"] == "fail"
    monkeypatch.setattr(EvidenceCache, "draws", property(lambda _: made(1.0)))
    assert diagnose(tiny.open(), Recorder(), gate=True).verdict != "fail"


def test_nothing_trained_is_told(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    for verb in (lambda: diagnose(project.open(), recorder), lambda: infer(project)):
        with pytest.raises(RunError, match="no trained network"):
            verb()


# sample


def test_netcdf_of_one_data_set_holds_the_draws(tmp_path, plain):
    tiny = copy(plain, tmp_path / "p")
    ((one,), recorder) = infer(tiny)
    y = np.array([[1.0, 0.5, 1.5, 1.0]])
    draws = load_posterior(tiny.run).sample({"y": y}, 40, generator(5, "sample", place("seen")))
    with xr.open_dataset(one.folder / "posterior.nc", group="posterior", engine="h5netcdf") as file:
        assert file["mu"].dims == ("chain", "draw")
        np.testing.assert_array_equal(file["mu"].values, draws[..., 0])
    with xr.open_dataset(
        one.folder / "posterior.nc", group="observed_data", engine="h5netcdf"
    ) as file:
        np.testing.assert_array_equal(file["y"].values, y[0])
    with xr.open_dataset(
        one.folder / "posterior.nc", group="posterior_predictive", engine="h5netcdf"
    ) as file:
        assert file["y"].shape == (1, 40, 4) and np.isfinite(file["y"].values).all()
    (row,) = one.rows
    assert row.mean == pytest.approx(draws.mean()) and row.quantiles["median"] == pytest.approx(
        np.median(draws)
    )
    assert recorder.warned == [] and not one.warnings


def test_arviz_opens_it(tmp_path, plain, grouped):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        for tiny, sets in ((plain, 1), (grouped, 3)):
            ((one,), _) = infer(copy(tiny, tmp_path / str(sets)))
            data = arviz.from_netcdf(str(one.folder / "posterior.nc"))
            assert set(data.groups()) == {
                "posterior",
                "posterior_predictive",
                "observed_data",
                "constant_data",
                "prior",
            }
            table = arviz.summary(data, kind="stats")
            assert len(table) == (1 if sets == 1 else 6)
            np.testing.assert_allclose(table["mean"].iloc[0], one.rows[0].mean, atol=2e-3)


def test_netcdf_of_many_data_sets(tmp_path, grouped):
    tiny = copy(grouped, tmp_path / "p")
    ((one,), _) = infer(tiny)
    with xr.open_dataset(one.folder / "posterior.nc", group="posterior", engine="h5netcdf") as file:
        assert file["mu"].dims == ("chain", "draw", "data_set") and file[
            "data_set"
        ].values.tolist() == ["who a", "who b", "who c"]
        np.testing.assert_allclose(file["twice"].values, 2 * file["mu"].values)
        means = file["mu"].values[0].mean(0)
    np.testing.assert_allclose([row.mean for row in one.rows if row.name == "mu"], means)
    with xr.open_dataset(
        one.folder / "posterior.nc", group="observed_data", engine="h5netcdf"
    ) as file:
        np.testing.assert_array_equal(
            file["y"].values, [[1, 0, np.nan], [0.5, 1, 1], [2, 3, np.nan]]
        )
    with xr.open_dataset(
        one.folder / "posterior.nc", group="constant_data", engine="h5netcdf"
    ) as file:
        assert file["n"].values.tolist() == [2, 3, 2]
    lines = (one.folder / "summary.csv").read_text().splitlines()
    assert (
        lines[0].startswith("data_set,who,quantity,mean,sd")
        and lines[1].startswith("who a,a,mu,")
        and len(lines) == 7
    )
    assert (one.folder / "forest.png").read_bytes()[:4] == b"\x89PNG"


def test_the_same_seed_gives_the_same_summary(tmp_path, plain):
    tiny = copy(plain, tmp_path / "p")
    assert infer(tiny)[0][0].rows == infer(tiny)[0][0].rows


def test_data_no_simulation_resembles_are_told(tmp_path, plain):
    tiny = copy(plain, tmp_path / "p")
    (tiny.folder / "seen.csv").write_text("y\n100\n0\n0\n0\n")
    ((one,), recorder) = infer(tiny)
    assert any("y" in warning and "100" in warning for warning in one.warnings)
    assert recorder.warned == [f"seen: {warning}" for warning in one.warnings]
    assert json.loads((one.folder / "summary.json").read_text())["warnings"] == list(one.warnings)


def test_data_unlike_the_simulations_are_told_though_each_number_is_ordinary(tmp_path):
    """Four numbers around one mean never alternate between -1.5 and 3."""
    tiny = trained(tmp_path / "p", {"train": {"steps": 20}, "simulate": {"test": 1000}})
    (tiny.folder / "seen.csv").write_text("y\n3\n-1.5\n3\n-1.5\n")
    ((one,), _) = infer(tiny)
    (told,) = [warning for warning in one.warnings if "unlike the simulations" in warning]
    assert "do not trust this posterior" in told
    kept = json.loads((one.folder / "summary.json").read_text())["misspecification"]
    assert {entry["measure"] for entry in kept} == {"statistics_p", "network_p"} and min(
        entry["p"] for entry in kept
    ) < 0.005


def test_two_observations_share_no_noise(tmp_path, plain):
    tiny = copy(plain, tmp_path / "p")
    for name in ("one", "two"):
        (tiny.folder / f"{name}.csv").write_text("y\n1.0\n0.5\n1.5\n1.0\n")
    found = [
        from_file(tiny.folder / f"{name}.csv", group_by="", columns=[], context=[])
        for name in ("one", "two")
    ]
    one, two = (xr.open_dataset(each.folder / "posterior.nc", group="posterior", engine="h5netcdf")["mu"].values[0]
                for each in sample(tiny.open(), found, Recorder(), draws=2000, seed=5))  # fmt: skip
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1
    np.testing.assert_allclose([one.mean(), one.std()], [two.mean(), two.std()], atol=0.05)


def test_where_the_simulations_are_gone_that_is_said(tmp_path, plain):
    tiny = copy(plain, tmp_path / "p")
    shutil.rmtree(tiny.run / "data/train")
    ((one,), _) = infer(tiny)
    assert json.loads((one.folder / "summary.json").read_text())["warnings"] == list(one.warnings)
    assert (
        any("not compared with the simulations" in warning for warning in one.warnings)
        and (one.folder / "posterior.nc").is_file()
    )


def test_context_outside_its_simulated_range_is_told(tmp_path, grouped):
    tiny = copy(grouped, tmp_path / "p")
    path = tiny.folder / "long.csv"
    path.write_text("y\n" + "0.1\n" * 9)
    found = from_file(path, group_by="", columns=[], context=["n=rows"])
    ((one,)) = sample(tiny.open(), [found], Recorder(), draws=10, seed=0)
    assert "context n = 9 to 9 lies outside the simulated range [2, 4]" in one.warnings


def test_few_draws_are_shown_with_few_predictions(tmp_path, grouped):
    tiny = copy(grouped, tmp_path / "p")
    path = tiny.folder / "two.csv"
    path.write_text("y\n0.1\n0.2\n")
    found = from_file(path, group_by="", columns=[], context=["n=2"])
    ((one,)) = sample(tiny.open(), [found], Recorder(), draws=2, seed=0)
    assert (one.folder / "predictive.png").read_bytes()[:4] == b"\x89PNG"


BAD = [
    ({"columns": ["y"]}, "--column y", "is not NAME=VALUE"),
    ({"context": ["n"]}, "--context n", "is not NAME=VALUE"),
]


@pytest.mark.parametrize(("options", "where", "what"), BAD)
def test_an_option_that_is_none(tmp_path, options, where, what):
    with pytest.raises(DataError) as caught:
        from_file(tmp_path / "a.csv", **{"group_by": "", "columns": [], "context": [], **options})
    assert (caught.value.where, caught.value.what) == (where, what)


def test_context_of_the_command_line_is_a_number_a_column_or_rows(tmp_path):
    context = ["n=3", "m=rows", "dose=mg"]
    found = from_file(tmp_path / "a.csv", group_by="", columns=[], context=context)
    assert found.options.context == {"n": 3.0, "m": "rows", "dose": "mg"}
    with pytest.raises(DataError, match="'few' is no number"):
        context_values(["n=few"])


def test_no_such_observation_lists_them(plain):
    with pytest.raises(DataError, match="no observation and no file 'sen'") as caught:
        named_observations(plain.open(), "sen")
    assert caught.value.todo.startswith("There are: seen")


def test_sampling_after_the_problem_has_changed_is_refused(tmp_path, recorder):
    project = trained(tmp_path, {})
    project.change({"problem": {"parameters": {"mu": {"kind": "normal", "scale": 2.0}}}})
    with pytest.raises(
        RunError,
        match=r"is trained on another problem: problem\.parameters\.mu\.scale: 1\.0 -> 2\.0",
    ):
        sample(project.open(), named_observations(project.open(), None), recorder, draws=20, seed=0)


def test_sampling_after_a_change_of_training_says_so(tmp_path, recorder):
    project = trained(tmp_path, {})
    project.change({"train": {"steps": 70}})
    sample(project.open(), named_observations(project.open(), None), recorder, draws=20, seed=0)
    assert any("train.steps: 60 -> 70" in warning for warning in recorder.warned)


def test_derived_quantities_are_tried_before_anything_is_simulated(tiny, recorder):
    project = tiny()
    project.simulator(SIMULATOR + "\n\ndef derived(nu):\n    return {'twice': 2 * nu}\n")
    with pytest.raises(SimulatorError, match=r"derived\(\) failed: TypeError") as caught:
        simulate(project.open(), recorder)
    assert "write derived(mu)" in caught.value.todo and not project.shards()


def test_the_first_of_many_data_sets_have_pictures_of_their_own(grouped):
    project = grouped.open()

    def drawn(pictures: int) -> list[str]:
        [result] = sample(
            project,
            named_observations(project, None),
            Recorder(),
            draws=40,
            seed=5,
            pictures=pictures,
        )
        return sorted(path.stem for path in result.folder.glob("*.svg"))

    assert drawn(2) == ["forest", "pairs-1", "pairs-2", "predictive-1", "predictive-2"]
    assert drawn(0) == ["forest"]
