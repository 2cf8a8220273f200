"""Self-consistency: ranks of the log evidence see a wrong posterior, and only that."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from sbiwb.diagnostics import judge, self_consistency
from sbiwb.evidence import LogEvidences

N, S, SD = 300, 99, 0.5  # theta given the centre m of its data set is N(m, SD)


def evidences(*, sd: float = 1.0, believed: float = 1.0, shift: float = 0.0) -> LogEvidences:
    """Of a posterior whose sd is off by a factor, and a likelihood off in width and place."""
    rng = np.random.default_rng(0)
    centre = rng.standard_normal((N, 1))
    truth = centre + SD * rng.standard_normal((N, 1))
    theta = np.concatenate([truth, centre + sd * SD * rng.standard_normal((N, S))], axis=1)
    log_joint = norm.logpdf(theta, centre + shift, believed * SD)
    c = log_joint - norm.logpdf(theta, centre, sd * SD)
    return LogEvidences(c[:, 0], c[:, 1:])


def judged(made: LogEvidences):
    config = self_consistency.Config()
    result = self_consistency.compute(made, config)
    return judge([("self_consistency", config, result)])


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [
        ({"sd": 1.4}, "fail"),
        ({"sd": 0.6}, "fail"),
        ({"believed": 0.5}, "pass"),
        ({"shift": 1.0}, "pass"),
    ],
    ids=["posterior too wide", "too narrow", "likelihood too narrow", "likelihood shifted"],
)
def test_a_wrong_posterior_is_seen_and_a_wrong_likelihood_is_not(wrong, verdict):
    (ranks,) = judged(evidences(**wrong))
    assert ranks.verdict == verdict and ranks.p is not None
    if verdict == "fail":
        assert ranks.reason == "the likelihood tells the truth from draws of the posterior"
    else:
        assert ranks.reason.startswith("ranks look uniform")


def test_the_effect_is_the_distance_from_the_exact_posterior():
    """Of N(0, 1) and N(0, 1.4), whose densities cross at c."""
    cross = np.sqrt(2 * np.log(1.4) / (1 - 1.4**-2))
    distance = 2 * (norm.cdf(cross) - norm.cdf(cross / 1.4))
    (ranks,) = judged(evidences(sd=1.4))
    low, high = ranks.effect_interval
    assert ranks.effect == pytest.approx(distance, abs=0.06) and low < distance < high


def test_by_bayes_rule_it_does_not_vary():
    made = LogEvidences(np.full(N, -3.0), np.full((N, S), -3.0))
    (ranks,) = judged(made)
    assert ranks.verdict == "pass"


def test_a_draw_that_is_impossible_has_a_rank():
    made = evidences()
    made.draws[0, 0] = made.draws[1, :50] = -np.inf
    (ranks,) = judged(made)
    assert ranks.verdict == "pass"


def test_what_is_not_a_number_is_no_verdict():
    made = evidences()
    made.draws[0, 0] = np.nan
    (ranks,) = judged(made)
    assert ranks.value is None and "is not a number in 1 of 300" in ranks.reason
