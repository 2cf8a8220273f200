"""Data budget: curves whose gain is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sbiwb.diagnostics.data_budget import Config, compute, fit, plot
from sbiwb.evidence import Budget

PAIRS = np.array([1000, 2000, 4000, 8000])


def budget(
    means: np.ndarray,
    n: int = 1000,
    *,
    common: float = 1.0,
    own: float = 0.1,
    seed: int = 0,
    pairs: np.ndarray = PAIRS,
) -> Budget:
    """Losses of given means; pairs differ by `common` in all trainings alike, and by `own` in
    each."""
    rng = np.random.default_rng(seed)
    noise = common * rng.standard_normal(n) + own * rng.standard_normal((len(means), n))
    return Budget(pairs, means[:, None] + noise - noise.mean(axis=1, keepdims=True))


@pytest.mark.parametrize("exponent", [0.2, 0.5, 1.0])
def test_a_power_law_is_found_again(exponent):
    curve = fit(PAIRS.astype(float), (0.3 + 40 * PAIRS**-exponent)[None])
    np.testing.assert_allclose([curve.a[0], curve.b[0], curve.c[0]], [0.3, 40, exponent], rtol=1e-6)
    np.testing.assert_allclose(
        curve.gain(8000.0), 40 * (8000.0**-exponent - 16000.0**-exponent), rtol=1e-6
    )


def test_two_trainings_fall_as_one_over_n():
    curve = fit(np.array([1000.0, 2000.0]), np.array([[1.5, 1.0]]))
    np.testing.assert_allclose(curve.at(np.array([1000.0, 2000.0, 4000.0])), [[1.5, 1.0, 0.75]])


def test_a_rising_loss_promises_nothing():
    result = compute(budget(1 - 100 / PAIRS), Config())
    assert result.values[0].value == 0.0 and result.values[0].warning is None
    assert result.values[1].value == pytest.approx(-0.0125)


def test_gain_with_its_warning():
    gain, last = compute(budget(2 + 2000 / PAIRS), Config()).values
    assert (
        gain.value == pytest.approx(0.125, rel=0.05)
        and gain.warning == "more simulations would help"
    )
    assert last.value == pytest.approx(0.25) and last.parameter == "4,000 to 8,000 pairs"
    assert compute(budget(2 + 2000 / PAIRS), Config(worth_nats=0.2)).values[0].warning is None


def test_a_gain_that_may_be_noise_does_not_warn():
    result = compute(budget(2 + 2000 / PAIRS, n=50, own=3.0), Config())
    assert result.values[0].warning is None


def test_differences_are_paired():
    quiet, loud = (
        compute(budget(2 + 2000 / PAIRS, common=common), Config()) for common in (0.0, 100.0)
    )
    np.testing.assert_allclose(quiet.error, loud.error)
    np.testing.assert_allclose(quiet.error[:-1], 0.1 * np.sqrt(2 / 1000), rtol=0.1)
    np.testing.assert_allclose(
        np.ptp(quiet.interval, axis=0), np.ptp(loud.interval, axis=0), atol=1e-6
    )
    assert quiet.error[-1] == 0


def test_interval_covers_the_true_gain():
    hits, gain = 0, 300 / 8000 / 2
    for seed in range(60):
        rng = np.random.default_rng(seed)
        losses = (
            1
            + 300 / PAIRS[:, None]
            + rng.standard_normal(400)
            + 0.02 * rng.standard_normal((4, 400))
        )
        reason = compute(Budget(PAIRS, losses), Config()).values[0].reason
        low, high = (float(word) for word in reason.split("95 %: ")[1].rstrip(")").split(" to "))
        hits += low - 5e-4 <= gain <= high + 5e-4
    assert hits >= 50


TROUBLES = {
    "1 training:": lambda b: Budget(b.pairs[:1], b.losses[:1]),
    "0 trainings": lambda b: Budget(b.pairs[:0], b.losses[:0]),
    "1 validation pair:": lambda b: Budget(b.pairs, b.losses[:, :1]),
    "do not rise": lambda b: dataclasses.replace(b, pairs=b.pairs[::-1]),
    "in 1 of 1000": lambda b: dataclasses.replace(
        b, losses=np.where(np.eye(4, 1000, 7), np.inf, b.losses)
    ),
    "beyond 1e+12 nats": lambda b: dataclasses.replace(b, losses=1e200 * b.losses),
}


@pytest.mark.parametrize("words", TROUBLES)
def test_troubles_are_told(words):
    made = budget(2 + 2000 / PAIRS)
    if words == "in 1 of 1000":
        losses = made.losses.copy()
        losses[1, 7] = np.nan
        made = dataclasses.replace(made, losses=losses)
    else:
        made = TROUBLES[words](made)
    result = compute(made, Config())
    assert all(value.value is None and words in value.reason for value in result.values)
    assert plot(result).get_suptitle()


def test_constant_losses_are_no_trouble():
    result = compute(Budget(PAIRS, np.ones((4, 50))), Config())
    assert [value.value for value in result.values] == [0.0, 0.0]
    plot(result).canvas.draw()


def test_picture_shows_twice_the_pairs():
    axes = plot(compute(budget(2 + 2000 / PAIRS), Config())).axes[0]
    assert (
        axes.get_xscale() == "log"
        and [tick.get_text() for tick in axes.get_xticklabels()][-1] == "16,000"
    )
