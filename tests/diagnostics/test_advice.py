"""Advice: what verdicts look like, in words, with a key to change; nothing where nothing is
wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sbiwb.diagnostics import (
    STRATUM,
    Training,
    advise,
    advise_likelihood,
    coverage,
    data_budget,
    judge,
    sbc,
    self_consistency,
    zscore_contraction,
)
from sbiwb.evidence import Budget, Draws, LogEvidences
from tests.diagnostics.conjugate import normal

NOISE = 0.1 * np.random.default_rng(0).standard_normal(60)
CHECKS = (("sbc", sbc), ("coverage", coverage), ("zscore_contraction", zscore_contraction))


def advice(draws, *, strata=(), training=None):
    results = [
        (name, check.Config(), check.compute(draws, check.Config())) for name, check in CHECKS
    ]
    for label, rows in strata:
        results += [
            (
                f"{name}{STRATUM}{label}",
                check.Config(),
                check.compute(draws.at(rows), check.Config()),
            )
            for name, check in CHECKS
        ]
    return advise(judge(results), training)


def test_nothing_is_said_of_an_exact_posterior():
    assert advice(normal(800, 99, 3, seed=5)) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sd": 0.6}, "Overconfident"),
        ({"sd": 1.6}, "Underconfident"),
        ({"shift": 0.5}, "Biased high"),
        ({"shift": -0.5}, "Biased low"),
    ],
)
def test_a_fault_is_named_with_its_parameters_and_something_to_do(wrong, words):
    first = advice(normal(800, 99, 2, seed=5, **wrong))[0]
    assert first.finding.startswith(words) and "theta_0, theta_1" in first.finding
    assert first.severity == "fail" and first.causes and first.todo
    assert any(place.startswith("sbc: theta_0") for place in first.where)


def test_how_training_ended_says_what_to_do_first():
    draws = normal(800, 99, 1, seed=5, sd=0.6)
    assert (
        "Train longer" in advice(draws, training=Training(still_falling=True, gap=0.0))[0].todo[0]
    )
    more = advice(draws, training=Training(still_falling=False, gap=0.7))[0]
    assert "0.70 nats" in more.todo[0] and "by heart" in more.causes[0]
    wide = advice(
        normal(800, 99, 1, seed=5, sd=1.6), training=Training(still_falling=True, gap=0.0)
    )[0]
    assert "too early" in wide.causes[0]


def test_what_is_wrong_in_one_stratum_is_told_as_that():
    exact, narrow = normal(800, 99, 1, seed=7), normal(800, 99, 1, seed=7, sd=0.4)
    rows = np.arange(800) < 100
    mixed = replace(exact, draws=np.where(rows[:, None, None], narrow.draws, exact.draws))
    found = advice(
        mixed, strata=[("n 10 to 50", np.flatnonzero(rows)), ("n 51 to 200", np.flatnonzero(~rows))]
    )
    told = [one.finding for one in found if "n 10 to 50" in one.finding]
    assert len(told) == 1 and "more than on average" in told[0] and "overconfident" in told[0]
    assert not any("n 51 to 200" in one.finding for one in found)


def test_a_gross_error_suggests_a_coding_error():
    first = advice(normal(800, 99, 1, seed=5, shift=3))[0]
    assert first.finding.startswith("Grossly wrong") and any(
        "coding error" in cause for cause in first.causes
    )


def test_an_unidentified_parameter_is_a_finding_not_a_fault():
    draws = normal(800, 99, 1, seed=5)
    prior = replace(draws, prior_var=np.array([0.25]))  # as wide as the posterior
    (one,) = advice(prior)
    assert one.severity == "warn" and "not a fault" in one.finding and "theta_0" in one.finding


OVERFITTED = Training(
    still_falling=False,
    gap=0.1,
    overfits=True,
    best_step=300,
    best_loss=0.63,
    last_loss=1.37,
    last_train_loss=-0.2,
)


def correlated(n: int):
    """Each parameter alone is right, the two together are not: only log q sees it."""
    rng = np.random.default_rng(4)
    mix = np.linalg.cholesky([[1, 0.95], [0.95, 1]])
    cloud = rng.standard_normal((n, 99, 2))
    theta = rng.standard_normal((n, 2)) @ mix.T
    log_q = [-0.5 * (points**2).sum(axis=-1) for points in (theta, cloud)]
    return Draws(
        ("a", "b"), theta, cloud, np.ones(2), log_prob_theta=log_q[0], log_prob_draws=log_q[1]
    )


def test_an_overfitted_network_is_told_to_have_more_simulations_not_more_transforms():
    draws = correlated(800)
    before, after = advice(draws), advice(draws, training=OVERFITTED)
    assert any("Raise model.inference.transforms" in todo for one in before for todo in one.todo)
    first = after[0]
    assert first.finding == (
        "Overfitted: the validation loss rose from 0.63 at step 300 to 1.37, while the training "
        "loss fell to -0.20."
    )
    assert "by heart" in first.causes[0] and first.severity == "fail"
    assert "Raise simulate.train" in first.todo[0]
    assert any("ensemble" in todo for todo in first.todo)
    assert "Add data_budget to diagnose.checks" in first.todo[-1]
    assert not any("transforms" in todo for one in after for todo in one.todo)


def test_an_overfitted_network_is_told_what_the_data_budget_says():
    budget = Budget(np.array([50, 100, 200]), 1 + 100 / np.array([[50], [100], [200]]) + NOISE)
    config = data_budget.Config()
    results = [
        ("sbc", sbc.Config(), sbc.compute(normal(800, 99, 1, seed=5, sd=0.6), sbc.Config())),
        ("data_budget", config, data_budget.compute(budget, config)),
    ]
    first = advise(judge(results), OVERFITTED)[0]
    assert first.todo[-1].startswith(
        "data_budget: more simulations would help: doubling 200 pairs is expected to lower"
    )


def test_an_overfitted_network_that_passes_is_left_alone():
    assert advice(normal(800, 99, 3, seed=5), training=OVERFITTED) == []


def test_advice_reads_shapes_and_not_reasons():
    """A reason in other words, or another language, changes nothing."""
    config = sbc.Config()
    result = sbc.compute(normal(800, 99, 1, seed=5, sd=0.6), config)
    renamed = replace(result, values=tuple(replace(one, reason="zu eng") for one in result.values))
    (one,) = advise(judge([("sbc", config, renamed)]))
    assert one.finding == "Overconfident: the posterior of theta_0 is too narrow."


def of_likelihood(**wrong):
    """Judgments of a likelihood of two columns beside a posterior that passes."""
    good, bad = normal(400, 99, 2, seed=2), normal(400, 99, 2, seed=3, **wrong)
    results = [
        ("sbc", good),
        ("likelihood trials: sbc", bad),
        ("likelihood trials: sbc | n 1", bad),
    ]
    return judge(
        [(name, sbc.Config(), sbc.compute(draws, sbc.Config())) for name, draws in results]
    )


def test_a_finding_on_a_likelihood_is_none_on_the_posterior():
    judgments = of_likelihood(sd=0.6)
    assert {judgment.network for judgment in judgments} == {"", "likelihood trials"}
    assert advise(judgments) == []
    own = [judgment for judgment in judgments if judgment.network]
    (finding,) = advise_likelihood("trials", own)
    assert finding.finding == (
        "The likelihood of trials is off, not the posterior: too narrow in theta_0, theta_1."
    )
    assert finding.severity == "fail"
    assert finding.where[0] == "likelihood trials: sbc: theta_0"
    assert any("model.likelihood.train.steps" in todo for todo in finding.todo)
    assert own[0].alone().check == "sbc"


def test_a_likelihood_that_passes_needs_no_advice():
    own = [judgment for judgment in of_likelihood() if judgment.network]
    assert advise_likelihood("trials", own) == []


def test_a_likelihood_that_was_still_learning_was_stopped_too_early():
    own = [judgment for judgment in of_likelihood(sd=1.6) if judgment.network]
    (finding,) = advise_likelihood("trials", own, Training(still_falling=True, gap=0.0))
    assert finding.causes[0] == "its training stopped too early"
    (finding,) = advise_likelihood("trials", own, Training(still_falling=False, gap=1.0))
    assert finding.causes[0].startswith("it has seen too few data sets")


def test_a_posterior_that_contradicts_the_likelihood():
    rng = np.random.default_rng(0)
    evidences = LogEvidences(1 + rng.standard_normal(300), rng.standard_normal((300, 99)))
    config = self_consistency.Config()
    judgments = judge([("self_consistency", config, self_consistency.compute(evidences, config))])
    (finding,) = advise(judgments)
    assert finding.finding.startswith("The posterior misses what the likelihood has learned")
    assert "--refine importance --likelihood learned" in finding.todo[-1]
