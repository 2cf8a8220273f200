"""SBC: rank statistics of true parameters among posterior draws.

For an exact posterior the number of draws below the truth is uniform on {0..S}. The shape of the histogram says what is wrong:
a U is overconfident, a hump underconfident, a slope biased.

Beside the columns of theta, ranks of other quantities of theta and x are judged: log q, the simulator file's own, and for every
column theta_j * h_j(x), where h_j(x) is what the data alone predict, named `theta_j·x`. As it rises with theta_j where h_j > 0 and
falls where h_j < 0, its rank is that of the column, or S minus it.

Warning: the draws of one test pair have to be independent, and a few hundred pairs are needed. A posterior that equals the prior
passes for the columns and for log q; theta_j·x sees it.

References:
    Talts et al. 2018, https://arxiv.org/abs/1804.06788.
    Säilynoja, Bürkner, Vehtari 2022, https://arxiv.org/abs/2103.10522.
    Modrák et al. 2025, https://arxiv.org/abs/2211.02383.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sbiwb.contracts import OutputKind
from sbiwb.diagnostics import _calibration, _ecdf, _inputs
from sbiwb.errors import DataError
from sbiwb.evidence import Draws, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BINS, FEWEST_BINS = 20, 5
MAIN = "sbc_log_gamma"
WITH_DATA = "·x"  # ends the name of theta_j * h_j(x)


class Config(_calibration.CalibrationConfig):
    """Options of SBC."""

    needs: ClassVar[OutputKind] = OutputKind.MARGINALS


@dataclass(frozen=True)
class Result:
    """Ranks of Q quantities and what they say.

    Args:
        names: Q names: D columns, log q where it is known, the simulator file's own; then the columns times the data, ending in `·x`.
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

    @property
    def marginal(self) -> list[int]:
        """Positions of all quantities but those ending in `·x`."""
        return [q for q, name in enumerate(self.names) if not name.endswith(WITH_DATA)]

    @property
    def data_dependent(self) -> list[int]:
        """Positions of those ending in `·x`."""
        return [q for q, name in enumerate(self.names) if name.endswith(WITH_DATA)]

    definitions: ClassVar[dict[str, str]] = {
        MAIN: (
            "log(gamma / its 5 % quantile under uniform ranks), below 0 rejects; with alpha in place of 5 % where it is set; "
            "`NAME·x` is NAME times what a ridge regression on the data predicts of it, which sees a posterior that ignores the data; "
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
    raise DataError(
        f"{s} draws make {s + 1} possible ranks, which 5 to 20 equal bins cannot share",
        where="sbc",
        todo=todo,
    )


def _divisor(s: int) -> int:
    return max(b for b in range(1, MOST_BINS + 1) if (s + 1) % b == 0)


def compute(draws: Draws, config: Config) -> Result:
    """Ranks of every column of theta, and of every other quantity that the draws carry."""
    n, s, b = draws.n, draws.s, bins(draws.s)
    judged = _quantities(draws)
    names, troubles = tuple(one.name for one in judged), tuple(one.trouble for one in judged)
    ranks = np.stack([one.ranks for one in judged], axis=1)
    test = _ecdf.uniformity(ranks, s, alpha=config.alpha)
    counts = np.stack([np.bincount(column * b // (s + 1), minlength=b) for column in ranks.T])
    lower, upper = _ecdf.band(max(n, 1), s, alpha=config.alpha)
    rejected = {name: bool(p <= config.alpha) for name, p in zip(names, test.p, strict=True)}
    values = tuple(
        _calibration.missing(MAIN, one.name, one.trouble)
        if one.trouble
        else _calibration.value(MAIN, one.name, test, q, reason=_words(one, rejected, s) + one.note)
        for q, one in enumerate(judged)
    )
    edges, z = np.linspace(-0.5, s + 0.5, b + 1), _ecdf.grid(s)
    pointwise, simultaneous = _bin_band(n, b, 0.05), _bin_band(n, b, 0.05 / b)
    return Result(
        names,
        n,
        s,
        ranks,
        edges,
        counts,
        pointwise,
        simultaneous,
        z,
        test.ecdf,
        lower,
        upper,
        troubles,
        config.alpha,
        values,
    )


@dataclass(frozen=True)
class _Judged:
    """One quantity: its ranks (N,), why it cannot be judged, what else to say, and the column that it is made of."""

    name: str
    ranks: np.ndarray
    trouble: str | None
    note: str = ""
    column: _Judged | None = None


def _quantities(draws: Draws) -> list[_Judged]:
    """The columns, log q, the simulator file's own, and the columns times the data."""
    ranks, troubles, notes = (
        _inputs.theta_ranks(draws),
        _inputs.troubles(draws),
        _inputs.leak_notes(draws),
    )
    columns = [_Judged(*one) for one in zip(draws.names, ranks.T, troubles, notes, strict=True)]
    return [*columns, *_log_q(draws), *_own(draws), *_with_data(draws, columns)]


def _log_q(draws: Draws) -> list[_Judged]:
    density = _inputs.log_q(draws)
    if density is None:
        return []
    trouble = _inputs.quantity_trouble(_inputs.LOG_Q, density)
    return [_Judged(_inputs.LOG_Q, _inputs.log_q_ranks(density, draws.seed)[:, 0], trouble)]


def _own(draws: Draws) -> list[_Judged]:
    """The simulator file's test quantities, each with ties of its own."""
    found = []
    for k, (name, quantity) in enumerate(draws.quantities.items()):
        ranks = _inputs.quantity_ranks(quantity, generator(draws.seed, "ranks", 2, k))
        found.append(_Judged(name, ranks[:, 0], _inputs.quantity_trouble(name, quantity)))
    return found


def _with_data(draws: Draws, columns: list[_Judged]) -> list[_Judged]:
    """theta_j * h_j(x) for every column; where h_j(x) is 0 all draws tie with the truth."""
    if draws.ridge_prediction is None:
        return []
    ties = generator(draws.seed, "ranks", 3).integers(0, draws.s + 1, draws.ridge_prediction.shape)
    found = []
    for d, one in enumerate(columns):
        ridge_prediction = draws.ridge_prediction[:, d]
        ranks = np.where(
            ridge_prediction > 0,
            one.ranks,
            np.where(ridge_prediction < 0, draws.s - one.ranks, ties[:, d]),
        )
        bad = int((~np.isfinite(ridge_prediction)).sum())
        trouble = one.trouble or (
            f"nothing can be predicted from the data in {bad} of {draws.n} test pairs"
            if bad
            else None
        )
        found.append(_Judged(one.name + WITH_DATA, ranks, trouble, one.note, one))
    return found


def _words(one: _Judged, rejected: dict[str, bool], s: int) -> str:
    if not rejected[one.name]:
        return "ranks look uniform"
    if one.name == _inputs.LOG_Q:
        return _calibration.density_shape(one.ranks, s)
    if one.column is None:
        return _calibration.shape(one.ranks, s)
    own = _calibration.data_shape(one.ranks, s)
    if own is None or (
        rejected[one.column.name] and _shift(one.column.ranks, s) > _shift(one.ranks, s)
    ):
        return _calibration.shape(one.column.ranks if rejected[one.column.name] else one.ranks, s)
    return own


def _shift(ranks: np.ndarray, s: int) -> float:
    return abs(_calibration.moments(ranks, s)[0])


def _bin_band(n: int, b: int, alpha: float) -> tuple[float, float]:
    from scipy.stats import binom

    return float(binom.ppf(alpha / 2, n, 1 / b)), float(binom.ppf(1 - alpha / 2, n, 1 / b))


def plot(result: Result) -> Figure:
    """Rank histogram and ECDF difference of every quantity but those ending in `·x`, each with what an exact posterior would show."""
    return _pairs(result, result.marginal, "Simulation-based calibration: are the ranks uniform?")


def plot_data_dependent(result: Result) -> Figure:
    """The same of the columns times what the data predict of them: where these alone fail, the posterior does not follow the data."""
    return _pairs(
        result,
        result.data_dependent,
        "Simulation-based calibration: does the posterior follow the data?",
    )


def _pairs(result: Result, shown: list[int], heading: str) -> Figure:
    from sbiwb.diagnostics import _grid

    if not shown:
        return _grid.empty(heading, "there is no prediction from the data alone")
    figure, axes = _grid.panels(len(shown), per=2)
    for q, (histogram, difference) in zip(shown, axes, strict=True):
        _histogram(histogram, result, q)
        _difference(difference, result, q)
    _grid.finish(figure, heading, _grid.keys(result.n, result.s))
    return figure


def _histogram(axes: Axes, result: Result, q: int) -> None:
    from sbiwb.diagnostics import _grid

    _grid.title(axes, result.names[q])
    axes.set(
        xlabel="rank of the truth among the draws", ylabel="test pairs", xlim=(-0.5, result.s + 0.5)
    )
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
    axes.fill_between(
        result.z,
        result.lower - result.z,
        result.upper - result.z,
        color=_grid.GREY,
        alpha=0.35,
        lw=0,
        step="post",
    )
    axes.axhline(0, color=_grid.INK, lw=0.6)
    axes.step(result.z, result.ecdf[q] - result.z, where="post", color=_grid.VERMILLION, lw=1.4)


def plot_ecdf(result: Result) -> Figure:
    """The ECDF itself, for readers who are used to it; the difference shows the same more clearly."""
    from sbiwb.diagnostics import _grid

    figure, axes = _grid.panels(len(result.marginal))
    for q, (panel,) in zip(result.marginal, axes, strict=True):
        _grid.title(panel, result.names[q])
        panel.set(xlabel="fractional rank z", ylabel="ECDF of the ranks", xlim=(0, 1), ylim=(0, 1))
        if result.troubles[q]:
            _grid.message(panel, result.troubles[q])
            continue
        panel.fill_between(
            result.z, result.lower, result.upper, color=_grid.GREY, alpha=0.35, lw=0, step="post"
        )
        panel.step(result.z, result.ecdf[q], where="post", color=_grid.VERMILLION, lw=1.4)
    _grid.finish(
        figure, "Simulation-based calibration: ECDF of the ranks", _grid.keys(result.n, result.s)
    )
    return figure
