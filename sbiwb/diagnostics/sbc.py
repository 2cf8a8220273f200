"""SBC: rank statistics of true parameters among posterior draws.

For an exact posterior the number of draws below the truth is uniform on {0..S}. The shape of the
histogram says what is wrong: a U is overconfident, a hump underconfident, a slope biased.

Beside the columns of theta, ranks of other quantities of theta and x are judged: log q, the
simulator file's own, and for every column theta_j * h_j(x), where h_j(x) is what the data alone
predict, named `theta_j·x`. As it rises with theta_j where h_j > 0 and falls where h_j < 0, its rank
is that of the column, or S minus it.

Warning: the draws of one test pair have to be independent, and a few hundred pairs are needed. A
posterior that equals the prior passes for the columns and for log q; theta_j·x sees it.

References:
    Talts et al. 2018, https://arxiv.org/abs/1804.06788.
    Säilynoja, Bürkner, Vehtari 2022, https://arxiv.org/abs/2103.10522.
    Modrák et al. 2025, https://arxiv.org/abs/2211.02383.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sbiwb.contracts import DiagnosticResult, OutputKind
from sbiwb.diagnostics import _calibration, _ecdf, _inputs, _sbc_pictures
from sbiwb.diagnostics._calibration import Finding
from sbiwb.diagnostics._ecdf import Uniformity
from sbiwb.diagnostics._inputs import WITH_DATA
from sbiwb.errors import DataError
from sbiwb.evidence import Draws, Quantity, Value
from sbiwb.seeds import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_BINS, MIN_BINS = 20, 5
MAIN = "sbc_log_gamma"
UNIFORM = Finding("ranks look uniform")
DEFINITION = (
    "log(gamma / its 5 % quantile under uniform ranks), below 0 rejects; with alpha in place of "
    "5 % where it is set; `NAME·x` is NAME times what a ridge regression on the data predicts of "
    "it, which sees a posterior that ignores the data; effect: max |ECDF - z|, with a 95 % DKW "
    "interval [Talts et al. 2018; Säilynoja et al. 2022; Modrák et al. 2025]"
)
HEADING = "Simulation-based calibration: are the ranks uniform?"
HEADING_DATA = "Simulation-based calibration: does the posterior follow the data?"
HEADING_ECDF = "Simulation-based calibration: ECDF of the ranks"


class Config(_calibration.CalibrationConfig):
    """Options of SBC."""

    needs: ClassVar[OutputKind] = OutputKind.MARGINALS


@dataclass(frozen=True)
class Result(DiagnosticResult):
    """Ranks of Q quantities and what they say.

    Args:
        names: Q names: D columns, log q where it is known, the simulator file's own; then the
            columns times the data, ending in `·x`.
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

    definitions: ClassVar[dict[str, str]] = {MAIN: DEFINITION}

    @property
    def marginal(self) -> list[int]:
        """Positions of all quantities but those ending in `·x`."""
        return [q for q, name in enumerate(self.names) if not name.endswith(WITH_DATA)]

    @property
    def data_dependent(self) -> list[int]:
        """Positions of those ending in `·x`."""
        return [q for q, name in enumerate(self.names) if name.endswith(WITH_DATA)]


def bins(s: int) -> int:
    """Bins of the rank histogram: the largest divisor of S + 1 not above 20.

    Raises:
        DataError: Where it is below 5: unequal bins would show a pattern of their own.

    Example:
        >>> bins(999), bins(50)
        (20, 17)
    """
    b = _divisor(s)
    if b >= MIN_BINS:
        return b
    usable = [other for other in range(max(4, s - 20), s + 21) if _divisor(other) >= MIN_BINS]
    nearest = min(usable, key=lambda other: abs(other - s))
    raise DataError(
        f"{s} draws make {s + 1} possible ranks, which 5 to 20 equal bins cannot share",
        where="sbc",
        todo=f"Take {nearest} draws (the nearest that works), or 999.",
    )


def _divisor(s: int) -> int:
    return max(b for b in range(1, MAX_BINS + 1) if (s + 1) % b == 0)


def compute(draws: Draws, config: Config) -> Result:
    """Ranks of every column of theta, and of every other quantity that the draws carry."""
    return judged(_ranked_quantities(draws), draws.s, config.alpha)


@dataclass(frozen=True)
class RankedQuantity:
    """One quantity and the ranks of its truths.

    Args:
        name: Of the quantity.
        ranks: (N,).
        trouble: Why it cannot be judged, else None.
        note: What else to say, a clause.
        column: The column that it is made of, where it is one times the data.
    """

    name: str
    ranks: np.ndarray
    trouble: str | None
    note: str = ""
    column: RankedQuantity | None = None


def judged(ranked: Sequence[RankedQuantity], s: int, alpha: float) -> Result:
    """What ranks of Q quantities say.

    Args:
        ranked: The quantities, each of the same N test pairs.
        s: Draws of each pair.
        alpha: Level of the band.

    Raises:
        DataError: So many ranks make no equal bins.
    """
    b = bins(s)
    ranks = np.stack([quantity.ranks for quantity in ranked], axis=1)
    n = len(ranks)
    test = _ecdf.uniformity(ranks, s, alpha=alpha)
    lower, upper = _ecdf.band(max(n, 1), s, alpha=alpha)
    return Result(
        names=tuple(quantity.name for quantity in ranked),
        n=n,
        s=s,
        ranks=ranks,
        edges=np.linspace(-0.5, s + 0.5, b + 1),
        counts=np.stack([np.bincount(column * b // (s + 1), minlength=b) for column in ranks.T]),
        bin_pointwise=_bin_band(n, b, 0.05),
        bin_simultaneous=_bin_band(n, b, 0.05 / b),
        z=_ecdf.grid(s),
        ecdf=test.ecdf,
        lower=lower,
        upper=upper,
        troubles=tuple(quantity.trouble for quantity in ranked),
        alpha=alpha,
        values=_values(ranked, test, s, alpha),
    )


def _ranked_quantities(draws: Draws) -> list[RankedQuantity]:
    """The columns, log q, the simulator file's own, and the columns times the data."""
    columns = _columns(draws)
    return [*columns, *_density(draws), *_own_quantities(draws), *_with_data(draws, columns)]


def _columns(draws: Draws) -> list[RankedQuantity]:
    ranks = _inputs.theta_ranks(draws).T
    parts = (draws.names, ranks, _inputs.troubles(draws), _inputs.leak_notes(draws))
    return [RankedQuantity(*column) for column in zip(*parts, strict=True)]


def _density(draws: Draws) -> list[RankedQuantity]:
    density = _inputs.log_q(draws)
    if density is None:
        return []
    ranks = _inputs.log_q_ranks(density, draws.seed)
    trouble = _inputs.quantity_trouble(_inputs.LOG_Q, density)
    return [RankedQuantity(_inputs.LOG_Q, ranks[:, 0], trouble)]


def _own_quantities(draws: Draws) -> list[RankedQuantity]:
    """The simulator file's test quantities, each with ties of its own."""
    named = enumerate(draws.quantities.items())
    return [_own_quantity(name, quantity, draws.seed, k) for k, (name, quantity) in named]


def _own_quantity(name: str, quantity: Quantity, seed: int, place: int) -> RankedQuantity:
    ranks = _inputs.quantity_ranks(quantity, generator(seed, "ranks", 2, place))
    return RankedQuantity(name, ranks[:, 0], _inputs.quantity_trouble(name, quantity))


def _with_data(draws: Draws, columns: Sequence[RankedQuantity]) -> list[RankedQuantity]:
    """theta_j * h_j(x) for every column; where h_j(x) is 0 all draws tie with the truth."""
    if draws.ridge_prediction is None:
        return []
    prediction = draws.ridge_prediction
    ties = generator(draws.seed, "ranks", 3).integers(0, draws.s + 1, prediction.shape)
    predicted = zip(columns, prediction.T, ties.T, strict=True)
    return [_times(column, h, ties, draws.s) for column, h, ties in predicted]


def _times(column: RankedQuantity, h: np.ndarray, ties: np.ndarray, s: int) -> RankedQuantity:
    """A column times what the data predict of it, h (N,)."""
    falling = np.where(h < 0, s - column.ranks, ties)
    ranks = np.where(h > 0, column.ranks, falling)
    trouble = column.trouble or _prediction_trouble(h)
    return RankedQuantity(column.name + WITH_DATA, ranks, trouble, column.note, column)


def _prediction_trouble(h: np.ndarray) -> str | None:
    bad = int((~np.isfinite(h)).sum())
    if bad:
        return f"nothing can be predicted from the data in {bad} of {len(h)} test pairs"
    return None


def _values(
    ranked: Sequence[RankedQuantity], test: Uniformity, s: int, alpha: float
) -> tuple[Value, ...]:
    rejected = {quantity.name: bool(p <= alpha) for quantity, p in zip(ranked, test.p, strict=True)}
    values = []
    for q, quantity in enumerate(ranked):
        if quantity.trouble:
            values.append(_calibration.missing(MAIN, quantity.name, quantity.trouble))
            continue
        finding = _finding(quantity, rejected, s).noted(quantity.note)
        values.append(_calibration.value(MAIN, quantity.name, test, q, finding))
    return tuple(values)


def _finding(quantity: RankedQuantity, rejected: Mapping[str, bool], s: int) -> Finding:
    """What the ranks say, where they are rejected."""
    if not rejected[quantity.name]:
        return UNIFORM
    if quantity.name == _inputs.LOG_Q:
        return _calibration.density_finding(quantity.ranks, s)
    if quantity.column is None:
        return _calibration.marginal_finding(quantity.ranks, s)
    return _data_finding(quantity, quantity.column, s, rejected[quantity.column.name])


def _data_finding(
    quantity: RankedQuantity, column: RankedQuantity, s: int, column_rejected: bool
) -> Finding:
    """What a column times the data says beyond the column itself."""
    finding = _calibration.data_finding(quantity.ranks, s)
    if not column_rejected:
        return finding or _calibration.marginal_finding(quantity.ranks, s)
    if finding is None or _shift(column.ranks, s) > _shift(quantity.ranks, s):
        return _calibration.marginal_finding(column.ranks, s)
    return finding


def _shift(ranks: np.ndarray, s: int) -> float:
    return abs(_calibration.moments(ranks, s)[0])


def _bin_band(n: int, b: int, alpha: float) -> tuple[float, float]:
    from scipy.stats import binom

    return float(binom.ppf(alpha / 2, n, 1 / b)), float(binom.ppf(1 - alpha / 2, n, 1 / b))


def plot(result: Result) -> Figure:
    """Rank histogram and ECDF difference of every quantity but those ending in `·x`."""
    return _sbc_pictures.histograms(result, result.marginal, HEADING)


def plot_data_dependent(result: Result) -> Figure:
    """The same of the columns times what the data predict of them.

    Where these alone fail, the posterior does not follow the data.
    """
    return _sbc_pictures.histograms(result, result.data_dependent, HEADING_DATA)


def plot_ecdf(result: Result) -> Figure:
    """The ECDF itself, for readers who are used to it; the difference shows the same better."""
    return _sbc_pictures.ecdfs(result, HEADING_ECDF)
