"""SBC: rank statistics of true parameters among posterior draws.

For an exact posterior the number of draws below the truth is uniform on {0..S}. The shape of the histogram says what is wrong:
a U is overconfident, a hump underconfident, a slope biased.

Warning: the draws of one test pair have to be independent, and a few hundred pairs are needed. SBC of the parameters alone cannot
see a posterior that equals the prior.

References:
    Talts et al. 2018, https://arxiv.org/abs/1804.06788.
    Säilynoja, Bürkner, Vehtari 2022, https://arxiv.org/abs/2103.10522.
    Modrák et al. 2025, https://arxiv.org/abs/2211.02383.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sbiwb.diagnostics import _calibration, _ecdf, _inputs
from sbiwb.errors import DataError
from sbiwb.evidence import Draws, Quantity, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BINS, FEWEST_BINS = 20, 5
MAIN = "sbc_log_gamma"
LOG_Q = "log q"  # the test quantity beside the parameters


class Config(_calibration.CalibrationConfig):
    """Options of SBC."""


@dataclass(frozen=True)
class Result:
    """Ranks of Q quantities (D parameters and, where known, log q) and what they say.

    Args:
        names: Q names.
        n: Test pairs.
        s: Draws each.
        ranks: (N, Q).
        edges: Of the B bins, from -0.5 to S + 0.5, (B + 1,).
        counts: Ranks in each bin, (Q, B).
        bin_pointwise: Where a bin's count lies with 95 % for an exact posterior.
        bin_simultaneous: The same for all bins at once, by Bonferroni.
        z: Grid of the ECDF, (K,).
        ecdf: (Q, K).
        lower: Lower end of the simultaneous band, (K,).
        upper: Upper end, (K,).
        troubles: Why a quantity was not judged, else None, Q entries.
        alpha: Level of the band.
        values: `sbc_log_gamma` of each quantity.
    """

    names: tuple[str, ...]
    n: int
    s: int
    ranks: np.ndarray
    edges: np.ndarray
    counts: np.ndarray
    bin_pointwise: tuple[float, float]
    bin_simultaneous: tuple[float, float]
    z: np.ndarray
    ecdf: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    troubles: tuple[str | None, ...]
    alpha: float
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        MAIN: (
            "log(gamma / its 5 % quantile under uniform ranks), below 0 rejects; with alpha in place of 5 % where it is set; "
            "effect: max |ECDF - z|, with a 95 % DKW interval [Talts et al. 2018; Säilynoja et al. 2022; Modrák et al. 2025]"
        )
    }


def bins(s: int) -> int:
    """Bins of the rank histogram: the largest divisor of S + 1 not above 20.

    Raises:
        DataError: Where it is below 5: unequal bins would show a pattern of their own.

    Example:
        >>> bins(999), bins(50)
        (20, 17)
    """
    found = _divisor(s)
    if found >= FEWEST_BINS:
        return found
    usable = [other for other in range(max(4, s - 20), s + 21) if _divisor(other) >= FEWEST_BINS]
    near = min(usable, key=lambda other: abs(other - s))
    todo = f"Take {near} draws (the nearest that works), or 999."
    raise DataError(f"{s} draws make {s + 1} possible ranks, which 5 to 20 equal bins cannot share", where="sbc", todo=todo)


def _divisor(s: int) -> int:
    return max(b for b in range(1, MOST_BINS + 1) if (s + 1) % b == 0)


def compute(draws: Draws, config: Config) -> Result:
    """Ranks of every column of theta, and of log q where the draws carry it."""
    n, s, b = draws.n, draws.s, bins(draws.s)
    names, ranks, troubles, notes = _quantities(draws)
    test = _ecdf.uniformity(ranks, s, alpha=config.alpha)
    counts = np.stack([np.bincount(column * b // (s + 1), minlength=b) for column in ranks.T])
    lower, upper = _ecdf.band(max(n, 1), s, alpha=config.alpha)
    said = [_words(name, test.p[q] <= config.alpha, ranks[:, q], s) + notes[q] for q, name in enumerate(names)]
    values = tuple(
        _calibration.missing(MAIN, name, trouble) if trouble else _calibration.value(MAIN, name, test, q, reason=said[q])
        for q, (name, trouble) in enumerate(zip(names, troubles, strict=True))
    )
    edges, z = np.linspace(-0.5, s + 0.5, b + 1), _ecdf.grid(s)
    pointwise, simultaneous = _bin_band(n, b, 0.05), _bin_band(n, b, 0.05 / b)
    return Result(names, n, s, ranks, edges, counts, pointwise, simultaneous, z, test.ecdf, lower, upper, troubles, config.alpha, values)


def _quantities(draws: Draws) -> tuple[tuple[str, ...], np.ndarray, tuple[str | None, ...], tuple[str, ...]]:
    """Names, ranks, troubles and notes of the parameters, and of log q where it is there."""
    names, ranks = draws.names, _inputs.theta_ranks(draws)
    troubles, notes = _inputs.troubles(draws), _inputs.leak_notes(draws)
    if draws.log_prob_theta is None or draws.log_prob_draws is None:
        return names, ranks, troubles, notes
    log_q = Quantity(draws.log_prob_theta, draws.log_prob_draws)
    extra = _inputs.quantity_ranks(log_q, generator(draws.seed, "ranks", 1))
    trouble = _density_trouble(log_q)
    return (*names, LOG_Q), np.hstack([ranks, extra]), (*troubles, trouble), (*notes, "")


def _density_trouble(log_q: Quantity) -> str | None:
    n = len(log_q.truth)
    if n < 2:
        return f"{n} test pairs: judging needs hundreds"
    bad = np.isnan(log_q.truth)  # -inf has a rank: q excludes the truth
    for rows, block in _inputs.blocks(log_q.draws):
        bad[rows] |= np.isnan(block).any(axis=(1, 2))
    return f"log q is not a number in {int(bad.sum())} of {n} test pairs" if bad.any() else None


def _words(name: str, rejected: bool, ranks: np.ndarray, s: int) -> str:
    if not rejected:
        return "ranks look uniform"
    return _calibration.density_shape(ranks, s) if name == LOG_Q else _calibration.shape(ranks, s)


def _bin_band(n: int, b: int, alpha: float) -> tuple[float, float]:
    from scipy.stats import binom

    return float(binom.ppf(alpha / 2, n, 1 / b)), float(binom.ppf(1 - alpha / 2, n, 1 / b))


def plot(result: Result) -> Figure:
    """Rank histogram and ECDF difference of every quantity, each with what an exact posterior would show."""
    from sbiwb.diagnostics import _grid

    figure, axes = _grid.panels(len(result.names), per=2)
    for q, (histogram, difference) in enumerate(axes):
        _histogram(histogram, result, q)
        _difference(difference, result, q)
    _grid.finish(figure, "Simulation-based calibration: are the ranks uniform?", _grid.keys(result.n, result.s))
    return figure


def _histogram(axes: Axes, result: Result, q: int) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, result.names[q])
    axes.set(xlabel="rank of the truth among the draws", ylabel="test pairs", xlim=(-0.5, result.s + 0.5))
    if result.troubles[q]:
        return _grid.message(axes, result.troubles[q])
    axes.axhspan(*result.bin_simultaneous, color=_grid.GREY, alpha=0.25, lw=0)
    axes.axhspan(*result.bin_pointwise, color=_grid.GREY, alpha=0.35, lw=0)
    axes.stairs(result.counts[q], result.edges, fill=True, color=_grid.SKY, alpha=0.6)
    axes.stairs(result.counts[q], result.edges, color=_grid.BLUE, lw=1.2)
    for limit in result.bin_simultaneous:
        axes.axhline(limit, color=_grid.FAINT, lw=0.8, ls="--")
    axes.axhline(result.n / len(result.counts[q]), color=_grid.INK, lw=0.6)
    axes.set_ylim(bottom=0)


def _difference(axes: Axes, result: Result, q: int) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, "ECDF difference")
    axes.set(xlabel="fractional rank z", ylabel="ECDF minus z", xlim=(0, 1))
    if result.troubles[q]:
        return _grid.message(axes, result.troubles[q])
    axes.fill_between(result.z, result.lower - result.z, result.upper - result.z, color=_grid.GREY, alpha=0.35, lw=0, step="post")
    axes.axhline(0, color=_grid.INK, lw=0.6)
    axes.step(result.z, result.ecdf[q] - result.z, where="post", color=_grid.VERMILLION, lw=1.4)


def plot_ecdf(result: Result) -> Figure:
    """The ECDF itself, for readers who are used to it; the difference shows the same more clearly."""
    from sbiwb.diagnostics import _grid

    figure, axes = _grid.panels(len(result.names))
    for q, (panel,) in enumerate(axes):
        _grid.title(panel, result.names[q])
        panel.set(xlabel="fractional rank z", ylabel="ECDF of the ranks", xlim=(0, 1), ylim=(0, 1))
        if result.troubles[q]:
            _grid.message(panel, result.troubles[q])
            continue
        panel.fill_between(result.z, result.lower, result.upper, color=_grid.GREY, alpha=0.35, lw=0, step="post")
        panel.step(result.z, result.ecdf[q], where="post", color=_grid.VERMILLION, lw=1.4)
    _grid.finish(figure, "Simulation-based calibration: ECDF of the ranks", _grid.keys(result.n, result.s))
    return figure
