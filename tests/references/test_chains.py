"""R-hat, effective sample size and the sentences they give; where chains start; the pictures of
both."""

import dataclasses

import numpy as np
import pytest
import torch

from sbiwb.contracts import Reference
from sbiwb.errors import DataError
from sbiwb.references._chains import (
    acceptance_warning,
    ess,
    joined,
    judge,
    rhat,
    split,
    warnings_of,
)
from sbiwb.references._pictures import MAX_COLUMNS, plot_curves, plot_trace
from sbiwb.references._start import map_point, starts
from tests.references import targets


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize(("total", "chains"), [(12, 4), (14, 4), (3, 5), (7, 1)])
def test_draws_are_joined_chain_by_chain_and_split_again(total, chains):
    draws = np.arange(chains * 20.0).reshape(chains, 20, 1)
    theta = joined(draws, total)
    assert len(theta) == total
    back = split(theta, chains)
    assert np.array_equal(back, draws[:, : total // chains])


def test_good_chains_raise_no_warning(rng):
    draws = rng.standard_normal((4, 1000, 3))
    assert rhat(draws).max() < 1.01 and ess(draws) == pytest.approx([4000] * 3, rel=0.3)
    judged = judge(Reference(joined(draws, 4000), chains=4), ("a", "b", "c"))
    assert judged.warnings == () and judged.columns == ("a", "b", "c")
    assert judged.rhat == pytest.approx(rhat(draws)) and judged.ess == pytest.approx(ess(draws))


def test_effective_draws_of_a_correlated_chain_are_those_of_theory(rng):
    rho, noise = 0.8, rng.standard_normal((8, 4000))
    chains = np.empty_like(noise)
    chains[:, 0] = noise[:, 0]
    for i in range(1, 4000):
        chains[:, i] = rho * chains[:, i - 1] + np.sqrt(1 - rho**2) * noise[:, i]
    assert ess(chains[..., None])[0] == pytest.approx(32000 * (1 - rho) / (1 + rho), rel=0.15)


def test_a_chain_elsewhere_is_named_with_its_number(rng):
    draws = rng.standard_normal((4, 500, 2))
    draws[0, :, 1] += 3
    judged = judge(Reference(joined(draws, 2000), chains=4), ("fine", "apart"))
    assert judged.warnings[0].startswith(
        "the chains have not converged: R-hat above 1.05 for apart (1."
    )
    assert not any("fine" in warning for warning in judged.warnings)


def test_a_chain_that_is_wider_than_the_others_is_found(rng):
    draws = rng.standard_normal((4, 1000, 1))
    draws[0] *= 4
    assert rhat(draws)[0] > 1.05  # plain R-hat, of means alone, sees nothing


def test_independent_draws_are_not_judged(rng):
    judged = judge(Reference(rng.standard_normal((10, 2)), warnings=("its own",)), ("a", "b"))
    assert judged.rhat is None and judged.ess is None and judged.warnings == ("its own",)


@pytest.mark.parametrize("shape", [(1, 100, 2), (4, 3, 2), (4, 0, 2)])
def test_too_little_to_judge_is_said(shape, rng):
    draws = rng.standard_normal(shape)
    assert np.isnan(rhat(draws)).all()
    assert "cannot be judged for a, b" in warnings_of(("a", "b"), rhat(draws), ess(draws))[0]


def test_chains_that_never_move_are_not_trusted():
    judged = judge(Reference(np.zeros((400, 1)), chains=4), ("a",))
    assert np.isnan(judged.rhat).all() and np.isnan(judged.ess).all()
    assert "cannot be judged for a" in judged.warnings[0]


def test_sentences_say_which_columns_are_worst():
    columns = tuple("abcdefgh")
    said = warnings_of(columns, np.linspace(1.011, 1.018, 8), np.linspace(400, 393, 8))
    assert said[0].startswith(
        "the chains have hardly mixed: R-hat above 1.01 for h (1.018), g (1.017)"
    )
    assert "c (1.013) and 2 more;" in said[0]
    assert (
        said[1].startswith("fewer than 400 effective draws for h (393), g (394)")
        and " a (" not in said[1]
    )
    assert warnings_of(columns, np.full(8, 1.009), np.full(8, 400.0)) == []


def test_acceptance_outside_its_bounds_is_said():
    assert acceptance_warning(0.3, 0.1, 0.8, "x") == ()
    assert acceptance_warning(0.05, 0.1, 0.8, "do this") == (
        "acceptance of 0.050, outside of 0.1 to 0.8: do this",
    )


@pytest.mark.parametrize("d", [1, 3])
def test_the_mode_of_a_normal_is_its_mean(d, rng):
    target = targets.normal(np.arange(d) - 2.0, targets.correlated(d))
    assert target.theta(map_point(target, rng)[None])[0] == pytest.approx(
        np.arange(d) - 2.0, abs=1e-4
    )


def test_the_mode_without_a_gradient(rng):
    target = targets.normal([4.0, -3.0], targets.correlated(2))
    blind = dataclasses.replace(
        target, amortized=None, log_density=lambda z: target.log_density(z.detach())
    )
    assert target.theta(map_point(blind, rng)[None])[0] == pytest.approx([4.0, -3.0], abs=1e-3)


def test_the_higher_of_two_modes(rng):
    def two(z):
        return torch.logaddexp(-2 * ((z - 3) ** 2).sum(1), 1 - 2 * ((z + 3) ** 2).sum(1))

    assert map_point(targets.plain(two, ("a", "b")), rng) == pytest.approx([-3, -3], abs=1e-4)


def test_the_way_up_may_end_at_a_wall(rng):
    def rising(z):
        return torch.where(
            z[:, 0] < 1, 3 * z[:, 0] - 0.5 * z[:, 1] ** 2, torch.tensor(-torch.inf, dtype=z.dtype)
        )

    target = targets.plain(rising, ("a", "b"))
    mode = map_point(target, rng)
    assert 0.9 < mode[0] < 1
    assert (starts(target, "map", 20, rng)[:, 0] < 1).all()


def test_starts_around_the_mode_are_wider_than_the_posterior(rng):
    covariance = targets.correlated(2)
    target = targets.normal([1.0, 2.0], covariance)
    begin = target.theta(starts(target, "map", 4000, rng))
    assert begin.mean(0) == pytest.approx([1.0, 2.0], abs=0.2)
    assert np.cov(begin.T) == pytest.approx(1.5**2 * covariance, rel=0.15)


def test_starts_from_the_amortized_posterior_are_its_draws(rng):
    target = targets.normal([1.0, 2.0], targets.correlated(2))
    assert np.array_equal(
        starts(target, "amortized", 70, rng), target.amortized.sample(70, np.random.default_rng(5))
    )


def test_impossible_starts_are_drawn_again(rng):
    def rare(z):
        return torch.where(z[:, 0] > 1.5, -z[:, 0], torch.tensor(-torch.inf, dtype=z.dtype))

    assert (starts(targets.plain(rare, ("a",)), "prior", 30, rng) > 1.5).all()
    with pytest.raises(DataError, match="only 0 of 6,400 draws of the prior"):
        starts(
            targets.plain(lambda z: torch.log(z[:, 0] - 50), ("a",)), "prior", 1, rng
        )  # NaN counts as impossible


def test_the_trace_shows_every_chain_with_its_rhat(rng):
    draws = rng.standard_normal((3, 100, 2))
    draws[0, :, 1] += 5
    figure = plot_trace(Reference(joined(draws, 300), chains=3), ("alpha", "beta"))
    first, second = figure.axes
    assert [len(axes.lines) for axes in (first, second)] == [3, 3]
    assert np.array_equal(first.lines[1].get_ydata(), draws[1, :, 0])
    assert first.get_title(loc="left") == "alpha" and first.get_title(loc="right").startswith(
        "R-hat 1.0"
    )
    assert "not converged" in second.get_title(loc="right")


def test_the_trace_of_many_columns_shows_the_worst(rng):
    draws = rng.standard_normal((4, 50, 12))
    draws[0, :, 11] += 5
    figure = plot_trace(Reference(joined(draws, 200), chains=4), [f"c{i}" for i in range(12)])
    assert len(figure.axes) == MAX_COLUMNS and figure.axes[-1].get_title(loc="left") == "c11"


def test_the_trace_of_independent_draws_has_one_path(rng):
    (axes,) = plot_trace(Reference(rng.standard_normal((50, 1))), ("a",)).axes
    assert len(axes.lines) == 1 and axes.get_title(loc="right") == ""


def test_every_curve_is_drawn(rng):
    figure = plot_curves(
        Reference(
            np.zeros((1, 1)),
            curves={"elbo": rng.standard_normal(1000), "variance": np.array([1.0])},
        )
    )
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["elbo", "variance"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    with pytest.raises(ValueError, match="no curves"):
        plot_curves(Reference(np.zeros((1, 1))))
