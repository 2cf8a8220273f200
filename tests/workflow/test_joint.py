"""Posterior and likelihood together: repaired draws, self-consistency, evidence, leave-one-out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from sbiwb.errors import ConfigError, RunError
from sbiwb.project.observation_choice import named_observations
from sbiwb.rundir import Provenance, read_provenance
from sbiwb.steps.joint.observed import consistencies, inconsistent, warning_of
from sbiwb.workflow.reference import reference
from sbiwb.workflow.reference_options import method_of
from sbiwb.workflow.sample import sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train_likelihoods import (
    Agreement,
    LikelihoodTrained,
    agreement_of,
    train_all,
)
from tests.tiny import Recorder, Tiny

SEEN = np.array([1.0, 0.5, 1.5, 1.0])
MEAN, SD = SEEN.sum() / 5, np.sqrt(0.2)
EVIDENCE = stats.multivariate_normal(np.zeros(4), np.eye(4) + np.ones((4, 4))).logpdf(SEEN)
CHANGES = {
    "problem": {"structure": {"y": "iid"}},
    "simulate": {"train": 2_000, "validation": 200, "test": 200},
    "train": {"steps": 60},  # too few: the posterior alone is wrong
    "model": {
        "likelihood": {
            "inference": {"kind": "nsf", "transforms": 1, "linear": True},
            "uncertainty": {"kind": "none"},
            "train": {
                "steps": 800, "batch_size": 256, "learning_rate": 3e-3, "patience": None,
            },
        }
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("joint"), CHANGES)
    simulate(tiny.open(), Recorder())
    events = list(train_all(tiny.open(), Recorder()))
    assert [type(event) for event in events][1:] == [LikelihoodTrained, Agreement]
    return tiny


def infer(tiny, **options):
    project = tiny.open()
    observations = named_observations(project, None)
    options = {"draws": 2_000, "seed": 1, **options}
    (result,) = sample(project, observations, Recorder(), **options)
    return result, next(row for row in result.rows if row.name == "mu")


def test_the_pool_of_a_poor_posterior_is_mostly_likelihood(joint):
    agreement = agreement_of(joint.open(), Recorder())
    assert agreement.share > 0.8 and agreement.gain > 5 * agreement.gain_error
    assert len(agreement.spreads) == 200
    assert any("better" in line or "beat" in line for line in agreement.lines())


def test_draws_repaired_by_the_learned_likelihood_are_the_posterior(joint):
    _, row = infer(joint)
    repaired, better = infer(joint, how="importance", likelihood="learned", ess=1_500)
    assert abs(better.mean - MEAN) < 0.06 and better.sd == pytest.approx(SD, rel=0.1)
    assert abs(row.sd - SD) > 2 * abs(better.sd - SD)
    (refined,) = repaired.refined
    assert refined.efficiency * refined.proposals >= 1_500
    provenance = json.loads((repaired.folder / "provenance.json").read_text())
    assert provenance["likelihood"] == "learned"
    assert read_provenance(repaired.folder, Provenance).weights


def test_chains_by_the_learned_likelihood_are_the_posterior(joint):
    project = joint.open()
    method = method_of("metropolis", ["warmup=500"])
    result = reference(project, project.observations[0], method, Recorder(), draws=4_000, seed=0)
    row = next(row for row in result.rows if row.name == "mu")
    assert result.folder.parent.name == "metropolis-learned" and not result.warnings
    assert abs(row.mean - MEAN) < 0.08 and row.sd == pytest.approx(SD, rel=0.12)


def test_the_evidence_is_the_exact_one(joint):
    result, _ = infer(joint)
    (consistency,) = result.consistency
    assert consistency.log_evidence == pytest.approx(EVIDENCE, abs=0.15)
    saved = json.loads((result.folder / "consistency.json").read_text())["data_sets"][0]
    assert saved["log_evidence"] == pytest.approx(consistency.log_evidence)


def test_leave_one_out_by_arviz(joint):
    arviz = pytest.importorskip("arviz")
    result, _ = infer(joint, how="importance", likelihood="learned")
    idata = arviz.from_netcdf(result.folder / "posterior.nc")
    assert idata.log_likelihood["y"].shape == (1, 2_000, 4)
    loo = arviz.loo(idata, var_name="y")
    each = []
    for left in range(4):
        others = np.delete(SEEN, left)
        mean, variance = others.sum() / 4, 1 / 4
        each.append(stats.norm.logpdf(SEEN[left], mean, np.sqrt(1 + variance)))
    assert float(loo.elpd_loo) == pytest.approx(np.sum(each), abs=max(0.15, float(loo.se)))


def test_without_any_likelihood_the_message_says_what_to_write(tmp_path, joint):
    tiny = Tiny.write(tmp_path, {})
    simulate(tiny.open(), Recorder())
    assert [type(event).__name__ for event in train_all(tiny.open(), Recorder())] == ["TrainResult"]
    with pytest.raises(ConfigError, match="log_likelihood"):
        infer(tiny, how="importance")
    with pytest.raises(RunError, match="no learned likelihood") as error:
        infer(tiny, how="importance", likelihood="learned")
    assert "structure" in error.value.todo


def test_only_data_sets_that_contradict_are_named():
    rng = np.random.default_rng(0)
    usual = 0.1 * rng.chisquare(5, 400)
    c = np.stack([0.3 * rng.standard_normal(500), 40 * rng.standard_normal(500)])
    results = consistencies(["fine", "odd"], c, usual, 400)
    assert [result.data_set for result in inconsistent(results, 400)] == ["odd"]
    assert "contradict each other at odd" in warning_of(results, 400)[0]
    assert not warning_of(results[:1], 400)


def test_among_many_data_sets_those_below_5_percent_count_where_they_are_too_many():
    rng = np.random.default_rng(1)
    usual = np.sort(0.1 * rng.chisquare(5, 200))
    labels = [str(place) for place in range(40)]
    fine = consistencies(labels, rng.standard_normal((40, 300)) * 0.3, usual, 300)
    assert not inconsistent(fine, 200)
    scales = np.where(np.arange(40) < 12, 40.0, 0.3)[:, None]
    mixed = consistencies(labels, rng.standard_normal((40, 300)) * scales, usual, 300)
    assert {result.data_set for result in inconsistent(mixed, 200)} == set(labels[:12])
