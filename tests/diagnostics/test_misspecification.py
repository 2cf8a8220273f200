"""Misspecification: genuine simulations are seldom accused, an epidemic with two waves is."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from sklearn import covariance

from sbiwb.diagnostics import _ruler, distances
from sbiwb.diagnostics._ruler import ledoit_wolf
from sbiwb.diagnostics.misspecification import Config, Result, compute, plot
from sbiwb.evidence import FeatureSpace, Summaries

ONE_WAVE = [3, 8, 26, 76, 225, 298, 258, 233, 189, 128, 68, 29, 14, 4]  # boarding school 1978
TWO_WAVES = [
    [3, 30, 200, 300, 150, 20, 3, 2, 10, 80, 250, 280, 100, 20],
    [3, 8, 26, 76, 225, 298, 120, 20, 4, 12, 60, 220, 290, 120],
    [5, 40, 180, 320, 180, 40, 8, 8, 40, 180, 320, 180, 40, 8],
]


def outbreaks(n: int, seed: int) -> np.ndarray:
    """Boys in bed over 14 days, of 763: SIR with over-dispersed counts (n, 14), under the prior of
    configs/influenza.yaml."""
    rng = np.random.default_rng(seed)
    beta, gamma, phi = (
        positive(rng, n, 2.0, 1.0),
        positive(rng, n, 0.4, 0.5),
        rng.exponential(0.2, n),
    )
    susceptible, infected, days = np.full(n, 762.0), np.ones(n), []
    for step in range(14 * 20):
        new, gone = beta * susceptible * infected / 763 / 20, gamma * infected / 20
        susceptible, infected = susceptible - new, infected + new - gone
        if step % 20 == 19:
            days.append(infected)
    mean = np.maximum(np.stack(days, axis=1), 1e-6)
    return rng.poisson(
        mean * phi[:, None] * rng.standard_gamma(1 / phi[:, None], mean.shape)
    ).astype(float)


def positive(rng: np.random.Generator, n: int, loc: float, scale: float) -> np.ndarray:
    drawn = loc + scale * rng.standard_normal(20 * n)
    return drawn[drawn > 0][:n]


@cache
def school() -> FeatureSpace:
    return space(outbreaks(2000, 0), outbreaks(1000, 1), np.zeros((0, 14)))


def space(train: np.ndarray, test: np.ndarray, observed: np.ndarray) -> FeatureSpace:
    return FeatureSpace(tuple(f"c[{k}]" for k in range(train.shape[1])), train, test, observed)


def summaries(
    observed: np.ndarray, *, made: FeatureSpace | None = None, groups: tuple[str, ...] | None = None
) -> Summaries:
    labels = tuple(f"mine {m}" for m in range(len(observed)))
    return Summaries(
        labels,
        groups or labels,
        {"statistics": dataclasses.replace(made or school(), observed=np.asarray(observed, float))},
    )


def warned(result: Result) -> list[bool]:
    return [value.warning == "unlike the simulations" for value in result.values]


def test_two_waves_are_noticed_and_one_is_not():
    assert warned(compute(summaries(np.array([ONE_WAVE])), Config())) == [False]
    for waves in TWO_WAVES:
        assert warned(compute(summaries(np.array([waves])), Config())) == [True]


def test_genuine_outbreaks_are_seldom_accused():
    p = distances(dataclasses.replace(school(), observed=outbreaks(4000, 2))).p
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= 1.35 * level + 0.002


@pytest.mark.parametrize("columns", [1, 3, 30])
def test_p_values_of_heavy_tails_are_right_on_average(columns):
    """Over fresh simulations throughout, as one set of test simulations says more or less than it
    should."""
    rng, p = np.random.default_rng(3), []
    for _ in range(60):
        rows = rng.standard_t(2, (250, columns)) * np.exp(3 * rng.standard_normal((250, 1)))
        p.append(distances(space(rows[:100], rows[100:200], rows[200:])).p)
    for level in (0.02, 0.1, 0.5):
        assert np.mean(np.concatenate(p) <= level) == pytest.approx(level, abs=0.2 * level + 0.01)


def test_many_data_sets_share_one_level():
    false = [
        any(warned(compute(summaries(outbreaks(20, 100 + seed)), Config(below=0.1))))
        for seed in range(30)
    ]
    assert sum(false) <= 9


def test_odd_combination_of_ordinary_numbers():
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((1500, 1)) + 0.05 * rng.standard_normal((1500, 2))
    found = distances(space(rows[:1000], rows[1000:], np.array([[1.0, 1.0], [1.0, -1.0]])))
    assert found.p[0] > 0.1 and found.p[1] < 1e-3 and found.mahalanobis[1] > 10


def test_hole_inside_the_cloud():
    """A ring: its centre has the smallest Mahalanobis distance of all."""
    rng = np.random.default_rng(5)
    angle = rng.uniform(0, 2 * np.pi, 1500)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.05 * rng.standard_normal((1500, 2))
    found = distances(space(rows[:1000], rows[1000:], np.zeros((1, 2))))
    assert found.mahalanobis[0] < found.usual_mahalanobis.min() and found.p[0] < 0.005


def test_constant_column_that_wakes_up():
    rng = np.random.default_rng(6)
    rows = np.column_stack([rng.standard_normal(600), np.full(600, 0.3), np.zeros(600)])
    observed = np.array(
        [[0.0, 0.3, 0.0], [0.0, np.float32(0.3), 0.0], [0.0, 0.6, 0.0], [0.0, 0.3, 1.0]]
    )
    p = distances(space(rows[:300], rows[300:], observed)).p
    assert p[:2].min() > 0.2 and p[2:].max() <= 2 / 301


@pytest.mark.parametrize("factor", [1e-6, 1e6, 1e150])
def test_units_do_not_matter(factor):
    rng = np.random.default_rng(7)
    rows = np.hstack([rng.standard_normal((400, 2)), rng.gamma(1.0, 1.0, (400, 2))])
    first = distances(space(rows[:200], rows[200:390], rows[390:]))
    second = distances(space(*(factor * part for part in (rows[:200], rows[200:390], rows[390:]))))
    np.testing.assert_allclose(first.mahalanobis, second.mahalanobis, rtol=1e-6)
    np.testing.assert_allclose(first.p, second.p)


@pytest.mark.parametrize("n", [10, 50, 500])
def test_shrinkage_is_that_of_ledoit_and_wolf(n):
    rows = np.random.default_rng(8).standard_normal((n, 20)) @ np.diag(np.linspace(0.1, 3, 20))
    np.testing.assert_allclose(ledoit_wolf(rows), covariance.ledoit_wolf(rows)[0])


def gaussian(observed: np.ndarray) -> Result:
    rng = np.random.default_rng(9)
    made = space(*(rng.standard_normal((600, 2)) for _ in range(2)), np.zeros((0, 2)))
    return compute(summaries(observed, made=made, groups=("a",) * len(observed)), Config())


def named(result: Result, name: str):
    return next(value for value in result.values if value.name == name)


def test_too_many_data_sets_far_out_are_found_where_none_alone_is():
    """Eight of thirty at p of about 0.02 each."""
    rng = np.random.default_rng(9)
    angle = rng.uniform(0, 2 * np.pi, 8)
    ring = 2.75 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    odd = gaussian(np.vstack([0.7 * rng.standard_normal((22, 2)), ring]))
    assert not any(value.warning for value in odd.values if value.name == "statistics_p")
    assert named(odd, "statistics_far_p").warning and named(odd, "statistics_far_p").value < 1e-3


@pytest.mark.slow
def test_the_number_of_far_data_sets_keeps_its_level():
    """The cut is estimated from the simulations: by a plain binomial 10 % of such sets are accused
    at 5 %."""
    rng, p = np.random.default_rng(12), []
    for _ in range(300):
        made = space(rng.standard_normal((200, 2)), rng.standard_normal((200, 2)), np.zeros((0, 2)))
        p.append(
            named(
                compute(
                    summaries(rng.standard_normal((200, 2)), made=made, groups=("a",) * 200),
                    Config(),
                ),
                "statistics_far_p",
            ).value
        )
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 300)


def test_data_sets_more_alike_than_the_prior_are_no_misfit():
    """A narrow population: MMD² tells it from the prior, and nothing warns."""
    alike = gaussian(0.5 + 0.3 * np.random.default_rng(9).standard_normal((30, 2)))
    assert named(alike, "statistics_set_p").value < 0.01 and not any(warned(alike))


def test_sets_of_simulations_are_seldom_accused():
    rng, p = np.random.default_rng(10), []
    for _ in range(60):
        made = space(rng.standard_normal((100, 2)), rng.standard_normal((200, 2)), np.zeros((0, 2)))
        p.append(
            compute(
                summaries(rng.standard_normal((20, 2)), made=made, groups=("a",) * 20), Config()
            )
            .values[-1]
            .value
        )
    assert np.mean(np.array(p) <= 0.1) <= 0.22 and np.mean(p) == pytest.approx(0.5, abs=0.13)


def test_too_few_simulations_for_a_set_are_told():
    made = space(
        *(np.random.default_rng(11).standard_normal((100, 2)) for _ in range(2)), np.zeros((0, 2))
    )
    value = compute(summaries(np.zeros((30, 2)), made=made, groups=("a",) * 30), Config()).values[
        -1
    ]
    assert value.value is None and "150 would do" in value.reason


def test_troubles_are_told():
    fine = school()
    cases = {
        "no real data set": compute(summaries(np.zeros((0, 14))), Config()),
        "3 training and 1000 test": compute(
            summaries(np.array([ONE_WAVE]), made=dataclasses.replace(fine, train=fine.train[:3])),
            Config(),
        ),
        "2 simulations are not finite": compute(
            summaries(
                np.array([ONE_WAVE]),
                made=dataclasses.replace(
                    fine, test=np.where(np.arange(1000)[:, None] < 2, np.nan, fine.test)
                ),
            ),
            Config(),
        ),
        "numbers that are not finite": compute(summaries(np.full((1, 14), np.inf)), Config()),
        "no space": compute(Summaries((), (), {}), Config()),
        "no columns": compute(
            summaries(np.zeros((1, 0)), made=space(*np.zeros((2, 50, 0)), np.zeros((0, 0)))),
            Config(),
        ),
    }
    for words, result in cases.items():
        assert result.values[0].value is None and words in result.values[0].reason
        assert plot(result).get_suptitle()
    with pytest.raises(ValueError, match="no real data set"):
        distances(fine)


def test_one_bad_data_set_stays_alone():
    first, second = compute(summaries(np.array([ONE_WAVE, [np.nan] * 14])), Config()).values
    assert first.value is not None and second.value is None


@pytest.mark.parametrize("m", [1, 100])
def test_picture(m):
    result = compute(
        summaries(
            np.random.default_rng(12).standard_normal((m, 2)),
            made=space(*plain(), np.zeros((0, 2))),
        ),
        Config(),
    )
    figure = plot(result)
    figure.canvas.draw()
    assert len(figure.axes[0].get_yticks()) == m and figure.get_size_inches()[1] < 24


def plain() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(13)
    return rng.standard_normal((100, 2)), rng.standard_normal((100, 2))


def test_kernel_does_not_depend_on_blocks(monkeypatch):
    made = dataclasses.replace(school(), observed=np.array(TWO_WAVES, float))
    whole = distances(made)
    monkeypatch.setattr(_ruler, "BLOCK_ROWS", 37)
    np.testing.assert_allclose(distances(made).mmd2, whole.mmd2)


@pytest.mark.parametrize("rounding", [-1e-7, 0.0, 1e-7])
def test_a_boolean_is_as_usual_as_the_simulations_that_equal_it(rounding):
    """Features of one data set differ in their last bits from the same ones in a batch."""
    heads = np.arange(200.0)[:, None] % 2
    real = np.array([[rounding], [1.0 + rounding]])
    judged = distances(space(np.vstack([heads, heads[:21]]), heads, real))
    np.testing.assert_allclose(judged.p, [1.0, 101 / 201])
