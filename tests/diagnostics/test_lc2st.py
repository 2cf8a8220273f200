"""L-C2ST on local posteriors that are exact, shifted and overconfident."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from sbiwb.diagnostics import _classifiers
from sbiwb.diagnostics.lc2st import Config, compute, plot
from sbiwb.evidence import LC2STData

QUICK = Config(nulls=39, steps=60)


def local(
    n: int, seed: int, *, d: int = 2, h: int = 3, m: int = 2, sd: float = 1.0, shift: float = 0.0
) -> LC2STData:
    """theta given x is Normal(x_1..d, 1/4); the draws' sd and mean, in posterior sds, set right or
    wrong."""
    rng = np.random.default_rng(seed)
    x, real = rng.standard_normal((n, h)), np.linspace(-1, 1, m)[:, None] * np.ones(h)

    def draws(centre: np.ndarray) -> np.ndarray:
        return centre + 0.5 * (shift + sd * rng.standard_normal(centre.shape))

    z = x[:, :d] + 0.5 * rng.standard_normal((n, d))
    names, labels = tuple(f"theta_{j}" for j in range(d)), tuple(f"mine {i}" for i in range(m))
    return LC2STData(
        names,
        z,
        draws(x[:, :d]),
        x,
        labels,
        real,
        draws(np.repeat(real[:, None, :d], 200, axis=1)),
        seed,
    )


def test_exact_posterior_passes():
    values = compute(local(400, 0), QUICK).values
    assert all(value.p > 0.05 and value.effect < 0.05 for value in values)


@pytest.mark.parametrize("wrong", [{"shift": 1.0}, {"sd": 0.5}, {"sd": 2.0}])
def test_wrong_posterior_is_found(wrong):
    for value in compute(local(1000, 1, **wrong), Config(nulls=39, steps=150)).values:
        assert value.p <= 1 / 40 and value.effect > 0.05
        assert (
            value.effect_interval[0] <= value.effect <= value.effect_interval[1]
            and value.effect < value.value
        )


def test_only_the_place_where_it_is_wrong_is_accused():
    made = local(2000, 2, d=1, h=1)
    wrong = made.x[:, 0] > 0
    draws = np.where(wrong[:, None], made.draws + 0.75, made.draws)
    real = made.observed_draws + np.array([0.0, 0.75])[:, None, None]
    values = compute(
        dataclasses.replace(made, draws=draws, observed_draws=real), Config(nulls=39, steps=150)
    ).values
    assert values[1].p <= 1 / 40 and values[1].effect > 2 * values[0].effect


def test_swapping_truth_and_draw_everywhere_changes_nothing_to_speak_of():
    """The classifier's inputs are made from both alike."""
    made = local(300, 4, shift=0.7)
    first = _classifiers.ClassifierInputs.of(made)
    second = _classifiers.ClassifierInputs.of(dataclasses.replace(made, z=made.draws, draws=made.z))
    np.testing.assert_allclose(first(made.z, made.x), second(made.z, made.x), rtol=1e-5, atol=1e-6)


def test_networks_trained_together_are_independent():
    """Each answers from its own weights, and only the first sees labels with something to learn."""
    made = local(600, 5, shift=1.0)
    inputs = _classifiers.ClassifierInputs.of(made)
    truth, draw = inputs(made.z, made.x), inputs(made.draws, made.x)
    weights = _classifiers.train(truth, draw, np.random.default_rng(0), networks=5, steps=150)
    logits = _classifiers._logits(weights, truth)
    alone = [weight[:1] for weight in weights]
    np.testing.assert_allclose(_classifiers._logits(alone, truth)[0], logits[0], atol=1e-5)
    margins = (logits - _classifiers._logits(weights, draw)).mean(dim=1)
    assert margins[0] > 3 * margins[1:].abs().max()


def test_numbers_follow_the_seed_and_leave_torch_alone():
    made, before = local(100, 6), torch.random.get_rng_state()
    first, second = compute(made, QUICK), compute(made, QUICK)
    np.testing.assert_array_equal(first.null, second.null)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not np.array_equal(first.null, compute(dataclasses.replace(made, seed=7), QUICK).null)


TROUBLES = {
    "30 calibration pairs": lambda made: dataclasses.replace(
        made, z=made.z[:30], draws=made.draws[:30], x=made.x[:30]
    ),
    "not finite in 1 of 100": lambda made: dataclasses.replace(
        made, z=np.where(np.arange(100)[:, None] == 3, np.nan, made.z)
    ),
    "all the same": lambda made: dataclasses.replace(
        made, z=np.ones_like(made.z), draws=np.ones_like(made.draws)
    ),
    "features or posterior draws": lambda made: dataclasses.replace(
        made, observed_x=np.full_like(made.observed_x, np.inf)
    ),
    "no posterior draws": lambda made: dataclasses.replace(
        made, observed_draws=made.observed_draws[:, :0]
    ),
    "no real data set": lambda made: dataclasses.replace(
        made, labels=(), observed_x=made.observed_x[:0], observed_draws=made.observed_draws[:0]
    ),
}


@pytest.mark.parametrize("words", TROUBLES)
def test_troubles_are_told(words):
    result = compute(TROUBLES[words](local(100, 7)), QUICK)
    assert result.values and all(
        value.value is None and value.p is None and words in value.reason for value in result.values
    )
    assert plot(result).get_suptitle()


@pytest.mark.parametrize("spoil", ["constant features", "huge", "no features"])
def test_odd_inputs_still_give_numbers(spoil):
    made = local(100, 8)
    if spoil == "huge":
        made = dataclasses.replace(
            made,
            z=1e150 * made.z,
            draws=1e150 * made.draws,
            observed_draws=1e150 * made.observed_draws,
        )
    else:
        keep = 0 if spoil == "no features" else 3
        made = dataclasses.replace(made, x=np.ones((100, keep)), observed_x=np.ones((2, keep)))
    assert all(
        0 < value.p <= 1 and np.isfinite(value.value) for value in compute(made, QUICK).values
    )


def test_picture_of_many_data_sets():
    figure = plot(compute(local(60, 9, m=100), Config(nulls=20, steps=10)))
    figure.canvas.draw()
    assert len(figure.axes[0].get_yticks()) == 100 and figure.get_size_inches()[1] < 24


@pytest.mark.slow
def test_exact_posterior_is_rejected_at_the_nominal_rate():
    p = np.array(
        [
            [value.p for value in compute(local(200, 10_000 + seed), QUICK).values]
            for seed in range(400)
        ]
    )
    for level in (0.025, 0.05, 0.1, 0.5):  # p takes the values 1/40, 2/40, ...
        np.testing.assert_allclose(
            (p <= level).mean(axis=0), level, atol=3.5 * np.sqrt(level * (1 - level) / 400)
        )
