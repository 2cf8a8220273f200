"""Data sets as a few numbers each, and how far out such a number lies among simulated ones.

Numbers in, numbers out. Shapes: N data sets, M members or steps of one of them, C channels, K
statistics.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from sbiwb.records import Columns, Ragged, Variable, as_ragged

MAX_PLAIN_NUMBERS = 32  # of a data set that are statistics themselves
MAX_CHANNELS = 8  # beyond it (pictures, say) all numbers of a data set are described together
STATISTIC_NAMES = (
    "mean",
    "sd",
    "5 % quantile",
    "median",
    "95 % quantile",
    "min",
    "max",
    "lag-1 autocorrelation",
)
QUANTILE_LEVELS = (0.05, 0.5, 0.95)
MAX_NUMBERS = 4_000_000  # held at once
MIN_TAIL, MAX_TAIL = 10, 250  # largest simulated numbers that say how the tail goes on


@dataclass(frozen=True)
class NamedStatistics:
    """K statistics of N data sets.

    Args:
        names: K names.
        values: (N, K).
    """

    names: list[str]
    values: np.ndarray

    def and_more(self, columns: dict[str, np.ndarray]) -> NamedStatistics:
        """These and further ones, each (N,)."""
        values = np.column_stack([self.values, *columns.values()])
        return NamedStatistics([*self.names, *columns], values)


def statistics(x: Columns, missing: Collection[str] = ()) -> tuple[tuple[str, ...], np.ndarray]:
    """Summary statistics that people of any field understand.

    Of an observable with at most 32 numbers a data set, each number (`in_bed[3]`). Of a longer one,
    and of one whose number of members varies, per channel the mean, sd, 5, 50 and 95 % quantiles,
    smallest, largest, and the correlation of neighbours (`mean rt`, `sd eeg[2]`); where the number
    of members varies, also that (`number of rt`). An observable that may have missing values is
    described, too, however few its numbers: those statistics over the values there are, and the
    share that is missing (`missing in_bed`).

    Warning: which statistics there are follows from the kind of each column, `Ragged` or an array,
    from its shape, and from `missing`, never from its values; data sets to be compared come in the
    same kind.

    Args:
        x: Observables by name, each (N, ...) or `Ragged` with members (M, ...); NaN is a missing
            value.
        missing: Observables that may have missing values.

    Returns:
        K names, and values (N, K), float64. Finite wherever the data are finite or may be missing:
        sd and correlation are 0 where nothing varies, and of a data set without a value all is 0.

    Example:
        >>> statistics({"hits": np.array([3, 5])})
        (('hits',), array([[3.],
               [5.]]))
    """
    if not x:
        return (), np.zeros((0, 0))
    parts = [_of_one(name, variable, name in missing) for name, variable in x.items()]
    names = tuple(name for part in parts for name in part.names)
    return names, np.hstack([part.values for part in parts])


def _of_one(name: str, variable: Variable, may_miss: bool) -> NamedStatistics:
    """Statistics of one observable."""
    if isinstance(variable, Ragged):
        described = _described(name, variable)
        if may_miss:
            described = described.and_more({f"missing {name}": _missing_share(variable)})
        return described.and_more({f"number of {name}": variable.lengths})
    if may_miss:
        ragged = as_ragged(_with_members(variable))
        return _described(name, ragged).and_more({f"missing {name}": _missing_share(ragged)})
    return _of_array(name, variable)


def _of_array(name: str, variable: np.ndarray) -> NamedStatistics:
    """Each number of a data set, or a description where they are many."""
    shape = variable.shape[1:]
    if np.prod(shape) > MAX_PLAIN_NUMBERS:
        return _described(name, as_ragged(variable))
    values = variable.reshape(len(variable), int(np.prod(shape))).astype(float)
    return NamedStatistics(_places(name, shape), values)


def _with_members(variable: np.ndarray) -> np.ndarray:
    """(N,) as N data sets of one member each; arrays of more axes as they are."""
    return variable.reshape(len(variable), *(variable.shape[1:] or (1,)))


def _missing_share(ragged: Ragged) -> np.ndarray:
    """Share of the numbers of each data set that are missing, (N,)."""
    numbers = int(np.prod(ragged.values.shape[1:]))
    gaps = np.isnan(ragged.values.reshape(len(ragged.values), numbers)).sum(axis=1)
    before = np.concatenate([[0], np.cumsum(gaps)])
    return np.diff(before[ragged.offsets]) / np.maximum(ragged.lengths * numbers, 1)


def _places(name: str, shape: tuple[int, ...]) -> list[str]:
    """A name for each number of an array, such as `in_bed[3]` or `grid[0,2]`."""
    if not shape:
        return [name]
    return [f"{name}[{','.join(map(str, place))}]" for place in np.ndindex(*shape)]


def _described(name: str, ragged: Ragged) -> NamedStatistics:
    """The statistics of each channel, 8 C of them.

    Where the channels are many, all numbers are described together.
    """
    labels = _channel_labels(name, ragged.values.shape[1:])
    members = _by_channel(ragged, len(labels))
    described = np.zeros((len(ragged), len(labels), len(STATISTIC_NAMES)))
    for rows in _row_blocks(ragged):
        part = _rows_of(members, ragged.offsets, rows)
        for channel in range(len(labels)):
            one_channel = Ragged(part.values[:, channel], part.offsets)
            described[rows, channel] = _channel_statistics(one_channel)
    names = [f"{statistic} {label}" for label in labels for statistic in STATISTIC_NAMES]
    return NamedStatistics(names, described.reshape(len(ragged), len(names)))


def _channel_labels(name: str, member_shape: tuple[int, ...]) -> list[str]:
    channels = int(np.prod(member_shape))
    if channels > MAX_CHANNELS or member_shape == (1,):
        return [name]
    return _places(name, member_shape)


def _by_channel(ragged: Ragged, labels: int) -> np.ndarray:
    """Members as (total, C, numbers of a channel)."""
    channels = int(np.prod(ragged.values.shape[1:]))
    return ragged.values.reshape(len(ragged.values), labels, channels // max(1, labels))


def _rows_of(members: np.ndarray, offsets: np.ndarray, rows: slice) -> Ragged:
    """Some of the data sets, in float64."""
    span = slice(offsets[rows.start], offsets[rows.stop])
    own_offsets = offsets[rows.start : rows.stop + 1] - offsets[rows.start]
    return Ragged(members[span].astype(float), own_offsets)


def _row_blocks(ragged: Ragged) -> Iterator[slice]:
    """Rows in pieces of at most about `MAX_NUMBERS` numbers once all are padded to the longest."""
    sizes = ragged.lengths * int(np.prod(ragged.values.shape[1:]))
    step = max(1, MAX_NUMBERS // max(1, int(sizes.max(initial=1))))
    for start in range(0, len(sizes), step):
        yield slice(start, min(start + step, len(sizes)))


def _channel_statistics(ragged: Ragged) -> np.ndarray:
    """The eight statistics of N data sets of members (M, numbers of a member), (N, 8)."""
    values, mask = ragged.padded()  # (N, M, I), (N, M)
    present = mask[:, :, None] & ~np.isnan(values)
    values = np.where(present, values, 0.0)
    count = np.maximum(present.sum(axis=(1, 2)), 1)
    scale = np.abs(values).max(axis=(1, 2), initial=0.0)
    scale = np.where(scale > 0, scale, 1.0)  # squares of huge numbers overflow
    unit = values / scale[:, None, None]
    mean = unit.sum(axis=(1, 2)) / count
    centred = np.where(present, unit - mean[:, None, None], 0.0)
    low, middle, high, smallest, largest = _quantiles(values, present, count)
    varies = largest > smallest  # rounding aside
    square = (centred**2).sum(axis=(1, 2))
    cross = (centred[:, 1:] * centred[:, :-1]).sum(axis=(1, 2))
    correlation = np.where(varies, cross / np.where(square > 0, square, 1.0), 0.0)
    sd = np.where(varies, scale * np.sqrt(square / count), 0.0)
    return np.stack([scale * mean, sd, low, middle, high, smallest, largest, correlation], axis=-1)


def _quantiles(values: np.ndarray, present: np.ndarray, count: np.ndarray) -> np.ndarray:
    """5, 50 and 95 % quantiles, smallest and largest of the true members, (5, N).

    Interpolated as `numpy.quantile` does.
    """
    n = len(values)
    if values.size == 0:
        return np.zeros((5, n))
    ordered = np.sort(np.where(present, values, np.inf).reshape(n, -1), axis=1)
    ordered[~present.any(axis=(1, 2))] = 0.0
    position = np.array([*QUANTILE_LEVELS, 0.0, 1.0])[:, None] * (count - 1)
    floor = np.floor(position).astype(int)
    ceiling = np.ceil(position).astype(int)
    weight = position - floor
    row = np.arange(n)
    return ordered[row, floor] * (1 - weight) + ordered[row, ceiling] * weight


def tail(simulated: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Probability that one more simulation is as large as each value or larger.

    A p-value, never 0: p = (1 + #{simulated >= value}) / (1 + n). Beyond all simulations the tail
    goes on as a power of the distance from their median, with the exponent of the k largest (a
    tenth of them), whose uncertainty is integrated out:

        p = (k + 1)/(n + 1) (1 + log(v/u) / Σ_i log(u_i/u))^-k

    u the (k + 1)-th largest, u_i larger ones, all less the median. Exact for a power law; for
    lighter tails the p-value is too large, which costs power only.

    Args:
        simulated: (n,), finite.
        values: (M,), finite.

    Returns:
        (M,), in (0, 1].

    References:
        Hill 1975, A simple general approach to inference about the tail of a distribution,
        https://doi.org/10.1214/aos/1176343247.

    Example:
        >>> tail(np.arange(99.0), np.array([-1.0, 50.0])).tolist()
        [1.0, 0.5]
    """
    ordered = np.sort(simulated)
    n = len(ordered)
    p = (1 + n - np.searchsorted(ordered, values, side="left")) / (1 + n)
    if min(n // 10, MAX_TAIL) < MIN_TAIL:
        return p
    beyond = values > ordered[-1]
    if not beyond.any():
        return p
    p[beyond] = np.minimum(p[beyond], _power_tail(ordered, values[beyond]))
    return np.maximum(p, np.finfo(float).tiny)


def _power_tail(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The power law beyond all simulations; 1 where they do not say how their tail goes on."""
    n = len(ordered)
    k = min(n // 10, MAX_TAIL)
    middle = np.median(ordered)
    excess = ordered[-k - 1 :] - middle
    if excess[0] <= 0:
        return np.ones(len(values))
    total = np.log(excess[1:] / excess[0]).sum()
    if total <= 0:
        return np.ones(len(values))
    reach = np.log((values - middle) / excess[0])
    return (k + 1) / (n + 1) * np.exp(-k * np.log1p(reach / total))
