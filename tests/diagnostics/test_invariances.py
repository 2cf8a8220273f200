"""What must not change a number: the order of pairs, units, how the draws are read, and in what
pieces."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from sbiwb.diagnostics import _inputs, family
from sbiwb.evidence import Draws, Quantity
from tests.diagnostics.conjugate import full
from tests.diagnostics.test_contract import ON_DRAWS, assert_same

LEFT_TO_CHANCE = ("tarp",)  # its references are drawn by the position of a pair


@dataclasses.dataclass(frozen=True)
class Lazy:
    """Rows that allow what evidence promises, and nothing else."""

    whole: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.whole.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.whole.dtype

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray:
        assert isinstance(rows, slice | np.ndarray)
        return self.whole[rows].copy()


def lazy(draws: Draws) -> Draws:
    quantities = {
        name: Quantity(one.truth, Lazy(one.draws)) for name, one in draws.quantities.items()
    }
    return dataclasses.replace(
        draws,
        draws=Lazy(draws.draws),
        log_prob_draws=Lazy(draws.log_prob_draws),
        quantities=quantities,
    )


def scaled(draws: Draws, factor: np.ndarray) -> Draws:
    """In other units; the data and z stay as they are."""
    shift = np.log(np.abs(factor)).sum()
    return dataclasses.replace(
        draws,
        theta=draws.theta * factor,
        draws=draws.draws * factor,
        prior_var=draws.prior_var * factor**2,
        prior_draws=draws.prior_draws * factor,
        unconstrain=lambda theta: draws.unconstrain(theta / factor),
        log_prob_theta=draws.log_prob_theta - shift,
        log_prob_draws=draws.log_prob_draws - shift,
    )


def numbers(kind: str, draws: Draws) -> dict[tuple[str, str], tuple]:
    result = family.module(kind).compute(draws, family.parse(kind))
    return {
        (value.name, value.parameter): (value.value, value.p, value.effect)
        for value in result.values
    }


@pytest.mark.parametrize("kind", ON_DRAWS)
def test_lazily_read_draws_are_the_same(kind):
    draws = full(60, 99, 3, seed=1)
    module, config = family.module(kind), family.parse(kind)
    assert_same(module.compute(draws, config), module.compute(lazy(draws), config))
    some = np.array([3, 40, 7, 9, 22])
    assert_same(
        module.compute(draws.at(some), config), module.compute(lazy(draws).at(some), config)
    )


@pytest.mark.parametrize("kind", ON_DRAWS)
def test_pieces_do_not_matter(kind, monkeypatch):
    draws = full(60, 99, 3, seed=1)
    draws = dataclasses.replace(
        draws, theta=np.round(draws.theta, 1), draws=np.round(draws.draws, 1)
    )  # with ties
    whole = numbers(kind, draws)
    monkeypatch.setattr(_inputs, "MAX_NUMBERS", 99 * 3 * 7)
    assert numbers(kind, draws) == whole


@pytest.mark.parametrize("kind", [kind for kind in ON_DRAWS if kind not in LEFT_TO_CHANCE])
def test_order_of_pairs_does_not_matter(kind):
    draws = full(60, 99, 3, seed=1)
    mixed = draws.at(np.random.default_rng(0).permutation(60))
    for key, found in numbers(kind, mixed).items():
        assert found == pytest.approx(numbers(kind, draws)[key], nan_ok=True)


@pytest.mark.parametrize("kind", ON_DRAWS)
def test_units_do_not_matter(kind):
    draws, factor = full(60, 99, 3, seed=1), np.array([0.01, 1.0, 300.0])
    before, after = numbers(kind, draws), numbers(kind, scaled(draws, factor))
    shift = np.log(factor).sum() if kind == "nlpd" else 0.0
    for key, found in after.items():
        if key[1] != "total":
            assert found[0] == pytest.approx(before[key][0] + shift, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in ON_DRAWS if kind not in LEFT_TO_CHANCE])
def test_order_of_draws_does_not_matter(kind):
    draws = full(60, 99, 2, seed=1)
    order = np.random.default_rng(0).permutation(99)
    quantities = {
        name: Quantity(one.truth, one.draws[:, order]) for name, one in draws.quantities.items()
    }
    mixed = dataclasses.replace(
        draws,
        draws=draws.draws[:, order],
        log_prob_draws=draws.log_prob_draws[:, order],
        quantities=quantities,
    )
    for key, found in numbers(kind, mixed).items():
        assert found == pytest.approx(numbers(kind, draws)[key])
