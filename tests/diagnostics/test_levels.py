"""Recovery of a discrete parameter: by the probabilities of its levels, not by r and R² of a
label."""

from __future__ import annotations

import numpy as np
import pytest

from sbiwb.diagnostics import _levels, judge, recovery
from sbiwb.diagnostics._levels import LevelPosterior
from sbiwb.evidence import Rule
from tests.diagnostics.conjugate import by_name, with_levels

POSTERIORS = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6], [0.34, 0.33, 0.33]])
CONFIG = recovery.Config()


def result(n=2000, seed=1, **wrong):
    return recovery.compute(with_levels(n, 199, POSTERIORS, seed, **wrong), CONFIG)


def one(values, name):
    (value,) = by_name(values, name)
    return value


def test_numbers_are_those_of_their_definitions():
    """Four pairs, two levels, ten draws: everything can be counted by hand."""
    counts = np.array([[9, 1], [6, 4], [2, 8], [5, 5]])
    posterior = LevelPosterior("k", np.array([0.0, 1.0]), np.array([0, 1, 1, 0]), counts, 10)
    values = list(_levels.level_values(posterior))
    assert one(values, _levels.ACCURACY).value == 0.75
    p = np.array([9.5, 4.5, 8.5, 5.5]) / 11
    assert one(values, _levels.LOG_SCORE).value == pytest.approx(-np.log(p).mean())
    brier = 2 * np.mean([0.1**2, 0.6**2, 0.2**2, 0.5**2])
    assert one(values, _levels.BRIER).value == pytest.approx(brier)
    np.testing.assert_allclose(posterior.confusion(), [[0.7, 0.3], [0.4, 0.6]])
    errors = by_name(values, _levels.LEVEL_ERROR)
    assert [error.parameter for error in errors] == ["k = 0", "k = 1"]
    assert [error.value for error in errors] == pytest.approx([0.05, 0.05])  # one bin: 0.55, 0.5


def test_a_label_has_no_correlation():
    names = {value.name for value in result().values}
    assert names == {
        "recovery_accuracy",
        "recovery_log_score",
        "recovery_brier",
        "recovery_level_error",
    }


def test_an_exact_posterior_has_the_scores_of_its_own_probabilities():
    values = result().values
    assert one(values, _levels.ACCURACY).value == pytest.approx(POSTERIORS.max(1).mean(), abs=0.03)
    entropy = -(POSTERIORS * np.log(POSTERIORS)).sum(1).mean()
    assert one(values, _levels.LOG_SCORE).value == pytest.approx(entropy, abs=0.04)
    brier = 1 - (POSTERIORS**2).sum(1).mean()
    assert one(values, _levels.BRIER).value == pytest.approx(brier, abs=0.02)
    assert all(error.value < 0.05 for error in by_name(values, _levels.LEVEL_ERROR))
    judged = judge([("recovery", CONFIG, result())])
    assert {number.verdict for number in judged} == {"info"}


def test_probabilities_that_are_too_sure_are_told_by_level():
    values = by_name(result(sharpen=4).values, _levels.LEVEL_ERROR)
    assert [value.parameter for value in values] == ["k = 2", "k = 4", "k = 6"]
    assert {value.warning for value in values} == {Rule.MISJUDGED_LEVELS}
    assert all(value.value > 0.1 for value in values)
    assert "is the truth in" in values[0].reason


def test_the_picture_is_a_confusion_matrix_and_a_line_for_each_level():
    figure = recovery.plot(result())
    confusion, reliability = figure.axes
    matrix = confusion.images[0].get_array()
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert confusion.get_title(loc="right").endswith("right")
    assert [text.get_text() for text in confusion.get_xticklabels()] == ["2", "4", "6"]
    legend = [text.get_text() for text in reliability.get_legend().get_texts()]
    assert legend == ["2", "4", "6"]
    line = reliability.lines[1]  # the first is the diagonal
    assert np.abs(line.get_ydata() - line.get_xdata()).max() < 0.12


def test_a_count_with_many_levels_is_a_number():
    draws = with_levels(300, 99, np.full((1, 30), 1 / 30), seed=0)
    names = {value.name for value in recovery.compute(draws, CONFIG).values}
    assert names == {"recovery_r", "recovery_r2", "recovery_slope"}


def test_a_level_that_never_is_the_truth_has_an_empty_row():
    draws = with_levels(200, 99, np.array([[0.5, 0.5, 0.0]]), seed=0)
    found = recovery.compute(draws, CONFIG)
    assert np.isnan(found.levels["k"].confusion()[2]).all()
    recovery.plot(found).canvas.draw()


def test_one_test_pair_has_reasons():
    values = recovery.compute(with_levels(1, 99, POSTERIORS, seed=0), CONFIG).values
    assert [value.value for value in values] == [None] * 3
    assert {value.reason for value in values} == {"1 test pair: judging needs hundreds"}
