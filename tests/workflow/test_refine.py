"""`sample --refine`: a wrong posterior is repaired where it can be, an exact one is kept, a
hopeless one is told."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from typer.testing import CliRunner

from sbiwb.cli.app import app
from sbiwb.errors import ConfigError, DataError, Stopped
from sbiwb.posterior import Posterior
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.target import refinement_targets, target_of
from sbiwb.project.trained import load_posterior
from sbiwb.steps.exact import refine as refining
from sbiwb.steps.exact.refine import Refined, refine, write_refined
from sbiwb.workflow import sample as sampling
from sbiwb.workflow import sample_draws
from sbiwb.workflow.sample import sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import Recorder, Tiny
from tests.workflow.test_reference import LIKELY, LOG_EVIDENCE, MEAN, SD

DRAWS = 1000


@dataclass(frozen=True)
class Wrong(Posterior):
    """A normal posterior, shifted and widened by so many of the exact one's standard deviations."""

    shift: float = 0.0
    width: float = 1.0
    calls: tuple = ()

    def sample(self, x, n, rng=None):
        y = np.asarray(self.read(x)["y"])
        noise = np.random.default_rng(rng).standard_normal((len(y), n))
        return (y.sum(1)[:, None] / 5 + SD * (self.shift + self.width * noise))[..., None]

    def log_prob(self, theta, x):
        y = np.asarray(self.read(x)["y"])
        return norm.logpdf(
            np.asarray(theta)[..., 0], y.sum(1)[:, None] / 5 + SD * self.shift, SD * self.width
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that hardly learned: stand-ins take its place."""
    tiny = Tiny.write(tmp_path_factory.mktemp("refine"), {"train": {"steps": 10}}, LIKELY)
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    return tiny


@pytest.fixture
def few(monkeypatch):
    """A tenth of the proposals: enough for one parameter."""
    monkeypatch.setattr(refining, "MIN_PROPOSALS", 20_000)
    monkeypatch.setattr(refining, "MAX_PROPOSALS", 320_000)


def stand_in(tiny: Tiny, shift: float, width: float) -> Wrong:
    own = load_posterior(tiny.run)
    return Wrong(
        **{name: getattr(own, name) for name in Posterior.__dataclass_fields__},
        shift=shift,
        width=width,
    )


def repaired(
    tiny: Tiny, monkeypatch, how: str, *, shift: float = 0.0, width: float = 1.0, draws: int = DRAWS
):
    """What `sample --refine` makes of a wrong posterior: draws (S,), the verdict, the result."""
    kept = {}

    def remember(*arguments, **options):
        kept["theta"], told = refine(*arguments, **options)
        kept["before"] = arguments[2]
        return kept["theta"], told

    monkeypatch.setattr(
        sampling, "posterior_of", lambda project, reporter: stand_in(tiny, shift, width)
    )
    monkeypatch.setattr(
        sampling._Sampler, "_misfit", lambda sampler, data: sampling.SimulationGap()
    )
    monkeypatch.setattr(sampling.TrustJudge, "baseline", None)  # nothing of a stand-in is kept
    monkeypatch.setattr(sample_draws, "refine", remember)
    project = tiny.open()
    (found,) = sample(
        project, named_observations(project, "seen"), Recorder(), draws=draws, seed=2, how=how
    )
    return kept["theta"][0, :, 0], kept["before"][0, :, 0], found


def assert_exact(theta: np.ndarray) -> None:
    error = SD / math.sqrt(len(theta))
    assert theta.mean() == pytest.approx(MEAN, abs=4 * error) and theta.std() == pytest.approx(
        SD, rel=0.1
    )


def test_importance_repairs_what_is_too_wide_and_shifted(trained, few, monkeypatch):
    theta, before, found = repaired(trained, monkeypatch, "importance", shift=0.5, width=1.5)
    assert before.mean() > MEAN + 0.15 and before.std() > 1.3 * SD
    assert_exact(theta)
    assert len(np.unique(theta)) == DRAWS
    (one,) = found.refined
    assert (
        (one.data_set, one.verdict) == ("seen", "refined")
        and one.pareto_k < 0.7
        and 0.3 < one.efficiency < 0.95
    )
    assert (
        one.log_evidence == pytest.approx(LOG_EVIDENCE, abs=0.05)
        and one.proposals >= 20_000
        and one.seconds > 0
    )
    assert found.rows[0].mean == pytest.approx(theta.mean()) and not found.warnings
    told = json.loads((found.folder / "refined.json").read_text())
    assert told["method"] == "importance"
    (row,) = told["data_sets"]
    assert (
        row["verdict"] == "refined"
        and row["pareto_k"] == one.pareto_k
        and set(row) == set(Refined.__dataclass_fields__)
    )


def test_what_is_exact_is_kept_untouched(trained, few, monkeypatch):
    theta, before, found = repaired(trained, monkeypatch, "importance")
    np.testing.assert_array_equal(theta, before)
    (one,) = found.refined
    assert (
        one.verdict == "kept"
        and one.efficiency > 0.99
        and one.log_evidence == pytest.approx(LOG_EVIDENCE, abs=0.001)
    )


def test_what_is_far_too_narrow_is_left_and_told(trained, few, monkeypatch):
    theta, before, found = repaired(trained, monkeypatch, "importance", shift=2.0, width=0.3)
    np.testing.assert_array_equal(theta, before)
    (one,) = found.refined
    assert (
        one.verdict == "left as it is" and one.pareto_k > 0.7 and "cannot be trusted" in one.reason
    )
    assert any("seen: Pareto k is" in warning for warning in found.warnings)


@pytest.mark.slow
def test_nuts_repairs_what_is_far_too_narrow(trained, few, monkeypatch):
    theta, _, found = repaired(trained, monkeypatch, "nuts", shift=2.0, width=0.3, draws=300)
    assert found.refined[0].verdict == "refined" and theta.shape == (300,)
    assert_exact(theta)


def test_nuts_that_finds_no_start_leaves_the_draws_and_says_so(trained, few, monkeypatch):
    class Nowhere:
        def run(self, target, draws, rng, reporter):
            raise DataError(
                "only 0 of 6,400 draws of the amortized have a finite log-density",
                where="start of the chains",
            )

    real = refining.references.family.parse
    monkeypatch.setattr(
        refining.references.family,
        "parse",
        lambda one: Nowhere() if one["kind"] == "nuts" else real(one),
    )
    theta, before, found = repaired(trained, monkeypatch, "nuts", shift=2.0, width=0.3)
    np.testing.assert_array_equal(theta, before)
    assert (
        found.refined[0].verdict == "left as it is"
        and "finite log-density" in found.refined[0].reason
    )


def test_data_unlike_the_simulations_count_as_in_need(trained, few):
    posterior, project = stand_in(trained, 0.0, 1.0), trained.open()
    data = seen(project)
    theta = posterior.sample(data.variables, 200, 0)
    targets = refinement_targets(project.densities, posterior, data, theta)
    found, (one,) = refine(targets, data, theta, "importance", Recorder(), unlike=["seen"], seed=0)
    assert one.verdict == "refined" and not (found == theta).any()


def seen(project):
    from sbiwb.project.observe import observe
    from sbiwb.simulation.layout import from_json

    (observation,) = named_observations(project, "seen")
    layout = from_json(json.loads(project.data_run.plan.read_text())["layout"])
    return observe(observation, layout, {})


def test_without_a_likelihood_it_refuses_before_anything_is_spent(trained, monkeypatch):
    project = trained.open()
    source = replace(project.source, module=type("Bare", (), {})())
    monkeypatch.setitem(project.__dict__, "source", source)
    data, theta = seen(project), np.zeros((1, 5, 1))
    with pytest.raises(
        ConfigError,
        match=r"has no log_likelihood\(x, \*\*theta\), without which no draw can be weighed",
    ):
        refinement_targets(project.densities, stand_in(trained, 0, 1), data, theta)


def test_a_network_without_a_density_is_refused(trained):
    class Marginal:
        output_kind = "marginals"

    project = trained.open()
    with pytest.raises(DataError, match="the network gives marginals, no joint density"):
        refinement_targets(project.densities, Marginal(), seen(project), np.zeros((1, 5, 1)))


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path):
    write_refined(
        tmp_path,
        [Refined("a", "left as it is", "none", math.inf, 0.0, -math.inf, 10, 0.1)],
        "importance",
    )
    (row,) = json.loads((tmp_path / "refined.json").read_text())["data_sets"]
    assert row["pareto_k"] is None and row["log_evidence"] is None and row["efficiency"] == 0.0


def test_the_option_of_the_command_line(trained, few, monkeypatch):
    monkeypatch.chdir(trained.folder)
    call = trained.arguments("sample", "seen", "--draws", "100")
    done = CliRunner().invoke(app, [*call, "--refine", "importance"])
    assert done.exit_code == 0, done.exception
    assert "likelihoods" in done.stdout and "log evidence" in done.stdout
    refined = trained.run / "sample" / "seen" / "refined.json"
    assert json.loads(refined.read_text())["data_sets"][0]["verdict"] in (
        "kept",
        "refined",
        "left as it is",
    )
    assert CliRunner().invoke(app, call).exit_code == 0
    assert not refined.exists()  # these draws are the network's own
    assert CliRunner().invoke(app, [*call, "--refine", "magic"]).exit_code == 2


def test_a_pilot_leaves_out_what_cannot_work(trained, monkeypatch):
    """Of a hopeless posterior few likelihoods are spent, and of one that can be repaired is said
    how many."""
    posterior, project = stand_in(trained, 6.0, 0.2), trained.open()
    data, recorder = seen(project), Recorder()
    theta = posterior.sample(data.variables, 100, 0)
    targets = refinement_targets(project.densities, posterior, data, theta)
    _, (one,) = refine(targets, data, theta, "importance", recorder, unlike=(), seed=0)
    assert (one.verdict, one.proposals) == ("left as it is", refining.PILOT_PROPOSALS)
    assert one.pareto_k > 0.85 and not recorder.said
    monkeypatch.setattr(refining, "MIN_PROPOSALS", 20_000)
    better = stand_in(trained, 0.5, 1.5)
    theta = better.sample(data.variables, 100, 0)
    targets = refinement_targets(project.densities, better, data, theta)
    refine(targets, data, theta, "importance", recorder, unlike=(), seed=0)
    assert recorder.said[0].startswith("seen: 20,000 likelihoods, about ")


def test_proposals_grow_until_they_are_worth_what_was_asked(trained, few):
    posterior, project = stand_in(trained, 0.5, 1.5), trained.open()
    data = seen(project)
    theta = posterior.sample(data.variables, 100, 0)
    targets = refinement_targets(project.densities, posterior, data, theta)

    def worth(ess):
        how = {"unlike": (), "seed": 0, "ess": ess}
        _, (one,) = refine(targets, data, theta, "importance", Recorder(), **how)
        return one.proposals, one.efficiency * one.proposals

    few_proposals, enough = worth(0)
    proposals, more = worth(int(2 * enough))
    assert proposals == refining.PROPOSALS_GROWTH * few_proposals and more >= 2 * enough


@pytest.mark.parametrize("function", ["log_likelihood", "posterior"])
def test_a_signal_that_comes_within_a_simulator_file_is_no_fault_of_it(trained, function):
    def stopped(*arguments, **parameters):
        raise Stopped("stopped by SIGTERM")

    project = trained.open()
    source = replace(project.source, module=SimpleNamespace(**{function: stopped}))
    object.__setattr__(project, "__dict__", {**project.__dict__, "source": source})
    target = target_of(project.densities, {"y": np.zeros((1, 4))}, {}, 0, None)
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        if function == "posterior":
            target.exact(3, np.random.default_rng(0))
        target.log_density(torch.zeros(3, 1, dtype=torch.float64))
