"""The verb `reference`: every method finds the closed form, writes what `sample` writes, and says
when it is not to be trusted."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy.stats import multivariate_normal
from typer.testing import CliRunner

from sbiwb.cli.app import app
from sbiwb.config.model import Observation
from sbiwb.contracts import Reference
from sbiwb.errors import ConfigError, GateFailed, RunError, SimulatorError
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.observe import NamedObservation
from sbiwb.workflow.reference import check_reference, reference
from sbiwb.workflow.reference_options import method_of, only_observation
from sbiwb.workflow.sample import sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import SIMULATOR, Recorder, Tiny

LIKELY = (
    SIMULATOR
    + '''

def log_likelihood(x, *, mu, n):
    """Of the n numbers y."""
    import math

    return -0.5 * ((x["y"] - mu[:, None]) ** 2).sum(-1) - 0.5 * n * math.log(2 * math.pi)


def posterior(x, n, rng):
    """N(sum(y) / 5, 1 / 5)."""
    return x["y"].sum() / 5 + rng.standard_normal(n) / 5**0.5
'''
)
MEAN, SD = 0.8, 0.2**0.5  # of y = (1, 0.5, 1.5, 1)
LOG_EVIDENCE = multivariate_normal(np.zeros(4), np.eye(4) + 1).logpdf([1.0, 0.5, 1.5, 1.0])


@pytest.fixture
def likely(tmp_path):
    return Tiny.write(tmp_path, {}, LIKELY)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    tiny = Tiny.write(
        tmp_path_factory.mktemp("trained"),
        {"simulate": {"train": 1024}, "train": {"steps": 200}},
        LIKELY,
    )
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    return tiny


def find(tiny: Tiny, kind: str, *options: str, draws: int = 2000):
    project = tiny.open()
    return reference(
        project,
        only_observation(project),
        method_of(kind, options),
        Recorder(),
        draws=draws,
        seed=1,
    )


def theta_of(found) -> np.ndarray:
    with h5py.File(found.folder / "draws.h5") as file:
        return np.asarray(file["theta/mu"])[0]


def shapes(file: h5py.File) -> dict:
    """Every array of a file by its full name."""
    found = {}
    file.visititems(
        lambda name, item: (
            found.update({name: item.shape}) if isinstance(item, h5py.Dataset) else None
        )
    )
    return found


METHODS = [
    pytest.param("analytic", (), 4000, id="analytic"),
    pytest.param("importance", ("proposal=prior", "proposals=40000"), 1000, id="importance"),
    pytest.param("metropolis", ("warmup=1000",), 2400, id="metropolis"),
    pytest.param("ensemble", ("warmup=200",), 2000, id="ensemble", marks=pytest.mark.slow),
    pytest.param(
        "vi",
        ("steps=300", "family=mean_field", "gradient=closed_form"),
        4000,
        id="vi",
        marks=pytest.mark.slow,
    ),
    pytest.param("hmc", ("warmup=100",), 800, id="hmc", marks=pytest.mark.slow),
    pytest.param("nuts", ("warmup=100",), 800, id="nuts", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("kind", "options", "draws"), METHODS)
def test_every_method_finds_the_closed_form(likely, kind, options, draws):
    found = find(likely, kind, *options, draws=draws)
    theta = theta_of(found)
    assert theta.shape == (draws,)
    assert theta.mean() == pytest.approx(MEAN, abs=0.07) and theta.std() == pytest.approx(
        SD, rel=0.12
    )
    (row,) = found.rows
    assert (row.name, row.mean, row.sd) == (
        "mu",
        pytest.approx(theta.mean()),
        pytest.approx(theta.std(ddof=1), rel=1e-3),
    )
    evidence = found.facts["seen"].get("log_evidence")
    if kind in ("importance", "vi"):
        assert evidence == pytest.approx(LOG_EVIDENCE, abs=0.05)
    told = json.loads((found.folder / "method.json").read_text())
    assert told["method"]["kind"] == kind and told["data_sets"][0]["warnings"] == list(
        found.warnings
    )
    if kind in ("metropolis", "ensemble", "hmc", "nuts"):
        (one,) = told["data_sets"]
        assert (
            one["rhat"]["mu"] < 1.05
            and one["ess"]["mu"] > 100
            and 0.1 < one["facts"]["acceptance"] <= 1
        )
        assert (found.folder / "trace.png").stat().st_size > 1000


def test_it_can_start_from_the_trained_network(trained):
    found = find(trained, "importance", "proposals=20000")
    theta = theta_of(found)
    assert theta.mean() == pytest.approx(MEAN, abs=0.05) and theta.std() == pytest.approx(
        SD, rel=0.08
    )
    facts = found.facts["seen"]
    assert (
        facts["log_evidence"] == pytest.approx(LOG_EVIDENCE, abs=0.05)
        and facts["pareto_k"] < 0.7
        and facts["efficiency"] > 0.3
    )
    assert len(np.unique(theta)) > 0.99 * len(
        theta
    )  # two draws of a network in single precision may be the same number


def test_without_a_trained_network_that_is_told_before_anything_else(likely):
    with pytest.raises(
        RunError,
        match=r"importance starts from the amortized posterior, and nothing is trained.*proposal=prior",
    ):
        find(likely, "importance")
    with pytest.raises(RunError, match="metropolis starts from the amortized posterior"):
        find(likely, "metropolis", "start=amortized")


def test_its_files_are_those_of_sample(trained):
    project = trained.open()
    (own,) = sample(project, named_observations(project, None), Recorder(), draws=50, seed=0)
    found = find(trained, "analytic", draws=50)
    assert found.folder == project.run.path / "reference/analytic/seen"
    shared = {path.name for path in own.folder.iterdir()} - {"misspecification.json"}
    assert shared <= {path.name for path in found.folder.iterdir()}
    with h5py.File(own.folder / "draws.h5") as ours, h5py.File(found.folder / "draws.h5") as theirs:
        assert shapes(ours) == shapes(theirs)
    ours, theirs = (
        xr.open_datatree(one / "posterior.nc", engine="h5netcdf")
        for one in (own.folder, found.folder)
    )
    assert set(ours.children) == set(theirs.children) and dict(ours["posterior"].sizes) == dict(
        theirs["posterior"].sizes
    )
    assert ours["observed_data"]["y"].values == pytest.approx(theirs["observed_data"]["y"].values)
    told, also = (
        json.loads((one / "summary.json").read_text()) for one in (own.folder, found.folder)
    )
    of_networks = {"epistemic", "conformal_5%", "conformal_95%"}
    assert set(told) == set(also)
    assert set(told["rows"][0]) - of_networks == set(also["rows"][0]) - of_networks


def test_the_same_seed_gives_the_same_draws_and_another_others(likely):
    first, again = (
        theta_of(find(likely, "analytic", draws=20)),
        theta_of(find(likely, "analytic", draws=20)),
    )
    np.testing.assert_array_equal(first, again)
    project = likely.open()
    other = reference(
        project, only_observation(project), method_of("analytic", ()), Recorder(), draws=20, seed=2
    )
    assert not np.isin(theta_of(other), first).any()


def test_many_data_sets_each_have_their_own_posterior(likely):
    np.savez(
        likely.folder / "many.npz", y=np.array([[0.0, 0, 0, 0], [2.0, 2, 2, 2], [-1.0, -1, -2, -1]])
    )
    project = likely.open()
    found = reference(
        project,
        NamedObservation("many", Observation(file="many.npz"), likely.folder),
        method_of("analytic", ()),
        Recorder(),
        draws=3000,
        seed=0,
    )
    assert [row.mean for row in found.rows] == pytest.approx([0, 1.6, -1], abs=0.05)
    assert [row.data_set for row in found.rows] == ["many 0", "many 1", "many 2"]
    assert (found.folder / "forest.png").is_file() and not (found.folder / "pairs.png").exists()
    assert len(json.loads((found.folder / "method.json").read_text())["data_sets"]) == 3


# the gate

BAD = ("warmup=0", "step=0.002", "chains=4", "thin=1")


def test_chains_that_have_not_mixed_do_not_pass_and_are_written_nevertheless(likely):
    found = find(likely, "metropolis", *BAD, draws=400)
    with pytest.raises(GateFailed, match=r"metropolis on seen: .*more"):
        check_reference(found)
    assert any("have not converged" in one for one in found.warnings)
    assert theta_of(found).shape == (400,)
    assert json.loads((found.folder / "summary.json").read_text())["warnings"] == list(
        found.warnings
    )
    check_reference(find(likely, "analytic", draws=50))


def test_on_the_command_line_the_gate_can_be_left_open(likely, monkeypatch):
    monkeypatch.chdir(likely.folder)
    options = [part for one in BAD for part in ("--option", one)]
    call = ["reference", "tiny.yaml", "--method", "metropolis", *options, "--draws", "40"]
    refused = CliRunner().invoke(app, call)
    assert refused.exit_code == 3 and "--no-gate lets it pass" in refused.stderr
    passed = CliRunner().invoke(app, [*call, "--no-gate"])
    assert passed.exit_code == 0 and "metropolis" in passed.stdout


class Lopsided:
    """Two weights of all that count: what an importance method tells of a hopeless proposal."""

    kind, needs, uses_amortized, packages = "importance", "density", False, ()

    def run(self, target, draws, rng, reporter):
        return Reference(
            np.zeros((draws, 1)) + rng.random((draws, 1)),
            facts={"pareto_k": np.inf, "ess": 1.0},
            warnings=("no trust",),
        )

    def model_dump(self, mode):
        return {"kind": self.kind}


def test_numbers_that_are_not_finite_are_written_as_null(likely):
    project = likely.open()
    found = reference(project, only_observation(project), Lopsided(), Recorder(), draws=20, seed=0)
    (one,) = json.loads((found.folder / "method.json").read_text())["data_sets"]
    assert one["facts"] == {"pareto_k": None, "ess": 1.0}


# names and options


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("nutz", (), r"--method nutz  unknown reference method 'nutz', did you mean 'nuts'\?"),
        ("nuts", ("warm=3",), r"--method nuts  warm: unknown key.*did you mean 'warmup'\?"),
        ("nuts", ("warmup=many",), "warmup: .*integer"),
        ("nuts", ("warmup",), r"--option warmup  is not KEY=VALUE  Write NAME=VALUE"),
        ("nuts", ("start=[",), r"--option start=\[  the value: not YAML"),
        ("vi", ("family=gmm", "gradient=closed_form"), "no closed-form ELBO"),
    ],
)
def test_a_wrong_name_or_option_is_told_with_the_nearest(kind, options, told):
    with pytest.raises(ConfigError, match=told):
        method_of(kind, options)


def test_options_are_numbers_words_and_lists():
    method = method_of("vi", ("steps=1e3", "learning_rate=1e-2", "start=prior", "hidden=[8, 8]"))
    assert (method.steps, method.learning_rate, method.start, method.hidden) == (
        1000,
        0.01,
        "prior",
        [8, 8],
    )


def test_of_several_observations_one_must_be_named(tmp_path):
    seen = {"file": "seen.csv"}
    tiny = Tiny.write(
        tmp_path, {"problem": {"observations": {"seen": seen, "again": seen}}}, LIKELY
    )
    with pytest.raises(
        ConfigError, match=r"names 2 observations  Choose one: --observation NAME, of seen, again"
    ):
        only_observation(tiny.open())


# files that have a log_density alone

BANANA = """def log_density(a, b):
    return -(a**2) / 18 - (b - 0.1 * a**2) ** 2 / 2
"""
FREE = {
    "parameters": {"a": {"kind": "unknown"}, "b": {"kind": "unknown"}},
    "observations": {},
    "constants": {},
}


@pytest.fixture
def banana(tmp_path):
    tiny = Tiny.write(tmp_path, {}, BANANA)
    tiny.yaml.write_text(
        json.dumps({"name": "banana", "problem": {"simulator": "tiny.py", **FREE}})
    )
    return tiny


def test_a_density_alone_works_to_the_end(banana):
    project = banana.open()
    method = method_of("importance", ("proposal=normal", "width=4", "proposals=100000"))
    found = reference(project, only_observation(project), method, Recorder(), draws=2000, seed=0)
    facts = found.facts["density"]
    assert (
        facts["log_integral"] == pytest.approx(2.9365, abs=0.05) and "log_evidence" not in facts
    )  # log 6 pi: no data, no evidence
    assert [row.mean for row in found.rows] == pytest.approx([0, 0.9], abs=0.25)
    assert [row.sd for row in found.rows] == pytest.approx([3, 2.62**0.5], rel=0.1)
    names = {path.name for path in found.folder.iterdir()}
    assert {
        "draws.h5",
        "posterior.nc",
        "summary.json",
        "pairs.png",
        "method.json",
        "provenance.json",
    } <= names
    assert "predictive.png" not in names


def test_a_density_alone_is_not_simulated_from(banana):
    with pytest.raises(
        SimulatorError, match=r"has a log_density, and no function 'simulate'.*sbiwb reference"
    ):
        simulate(banana.open(), Recorder())


def test_a_density_alone_takes_no_observation(banana):
    project = banana.open()
    with pytest.raises(ConfigError, match=r"is a density by itself  Leave out --observation"):
        reference(
            project,
            NamedObservation("x", Observation(file="seen.csv"), banana.folder),
            method_of("metropolis", ()),
            Recorder(),
            draws=10,
            seed=0,
        )


@pytest.mark.parametrize(
    ("method", "package"), [("metropolis", "arviz"), ("nuts", "arviz"), ("ensemble", "emcee")]
)
def test_a_package_that_is_missing_is_told_before_anything_is_drawn(
    likely, recorder, monkeypatch, method, package
):
    def find(name: str) -> object:
        return None if name == package else name

    monkeypatch.setattr("importlib.util.find_spec", find)
    project = likely.open()
    [seen] = named_observations(project, "seen")
    with pytest.raises(ConfigError, match=f"needs the package {package}") as caught:
        reference(project, seen, method_of(method, []), recorder, draws=50, seed=0)
    assert caught.value.where == f"--method {method}"
    assert caught.value.todo == 'pip install "sbiwb[reference]"'
