"""Data sets as a few numbers each, and how far out such a number lies among simulated ones; numbers in, numbers out.

Shapes: N data sets, M members or steps of one of them, C channels, K statistics.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from sbiwb.records import Columns, Ragged, Variable, as_ragged

MOST_NUMBERS = 32  # numbers of a data set that are statistics themselves
MOST_CHANNELS = 8  # beyond it (pictures, say) all numbers of a data set are described together
WORDS = (
    "mean",
    "sd",
    "5 % quantile",
    "median",
    "95 % quantile",
    "min",
    "max",
    "lag-1 autocorrelation",
)
LEVELS = (0.05, 0.5, 0.95)
BLOCK = 4_000_000  # numbers held at once
FEWEST, MOST = 10, 250  # largest of the simulated numbers that say how the tail goes on


def statistics(x: Columns, missing: Collection[str] = ()) -> tuple[tuple[str, ...], np.ndarray]:
    """Summary statistics that people of any field understand.

    Of an observable with at most 32 numbers a data set, each number (`in_bed[3]`). Of a longer one, and of one whose number of
    members varies, per channel the mean, sd, 5, 50 and 95 % quantiles, smallest, largest, and the correlation of neighbours
    (`mean rt`, `sd eeg[2]`); where the number of members varies, also that (`number of rt`). An observable that may have missing
    values is described, too, however few its numbers: those statistics over the values there are, and the share that is missing
    (`missing in_bed`).

    Warning: which statistics there are follows from the kind of each column, `Ragged` or an array, from its shape, and from `missing`,
    never from its values; data sets to be compared come in the same kind.

    Args:
        x: Observables by name, each (N, ...) or `Ragged` with members (M, ...); NaN is a missing value.
        missing: Observables that may have missing values.

    Returns:
        K names, and values (N, K), float64. Finite wherever the data are finite or may be missing: sd and correlation are 0 where
        nothing varies, and of a data set without a value all is 0.

    Example:
        >>> statistics({"hits": np.array([3, 5])})
        (('hits',), array([[3.],
               [5.]]))
    """
    parts = [
        _with_gaps(name, variable) if name in missing else _of_one(name, variable)
        for name, variable in x.items()
    ]
    names = tuple(name for part, _ in parts for name in part)
    return names, np.hstack([values for _, values in parts]) if parts else np.zeros((0, 0))


def _of_one(name: str, variable: Variable) -> tuple[list[str], np.ndarray]:
    if isinstance(variable, Ragged):
        names, values = _described(name, variable)
        return [*names, f"number of {name}"], np.column_stack([values, variable.lengths])
    shape = variable.shape[1:]
    if np.prod(shape) > MOST_NUMBERS:
        return _described(name, as_ragged(variable))
    return _places(name, shape), variable.reshape(len(variable), int(np.prod(shape))).astype(float)


def _with_gaps(name: str, variable: Variable) -> tuple[list[str], np.ndarray]:
    """Statistics over the values there are, and the share missing, per data set."""
    ragged = (
        variable
        if isinstance(variable, Ragged)
        else as_ragged(variable.reshape(len(variable), *(variable.shape[1:] or (1,))))
    )
    names, values = _described(name, ragged)
    numbers = int(np.prod(ragged.values.shape[1:]))
    gaps = np.isnan(ragged.values.reshape(len(ragged.values), numbers)).sum(axis=1)
    share = np.diff(np.concatenate([[0], np.cumsum(gaps)])[ragged.offsets]) / np.maximum(
        ragged.lengths * numbers, 1
    )
    extra = {f"missing {name}": share} | (
        {f"number of {name}": ragged.lengths} if isinstance(variable, Ragged) else {}
    )
    return [*names, *extra], np.column_stack([values, *extra.values()])


def _places(name: str, shape: tuple[int, ...]) -> list[str]:
    """A name for each number of an array, such as `in_bed[3]` or `grid[0,2]`."""
    return [
        f"{name}[{','.join(map(str, place))}]" if place else name for place in np.ndindex(*shape)
    ]


def _described(name: str, ragged: Ragged) -> tuple[list[str], np.ndarray]:
    """Names and values (N, 8 C) of the statistics of each channel, or of all numbers together where the channels are many."""
    item = ragged.values.shape[1:]
    channels = int(np.prod(item))
    labels = _places(name, item) if channels <= MOST_CHANNELS and item != (1,) else [name]
    members = ragged.values.reshape(
        len(ragged.values), len(labels), channels // max(1, len(labels))
    )  # (total, C, I)
    found = np.zeros((len(ragged), len(labels), len(WORDS)))
    for rows in _blocks(ragged.lengths * channels):
        span = slice(ragged.offsets[rows.start], ragged.offsets[rows.stop])
        part = Ragged(
            members[span].astype(float),
            ragged.offsets[rows.start : rows.stop + 1] - ragged.offsets[rows.start],
        )
        for c in range(len(labels)):
            found[rows, c] = _channel(Ragged(part.values[:, c], part.offsets))
    return [f"{word} {label}" for label in labels for word in WORDS], found.reshape(
        len(ragged), len(labels) * len(WORDS)
    )


def _blocks(sizes: np.ndarray) -> Iterator[slice]:
    """Rows in pieces of at most about `BLOCK` numbers once all are padded to the longest."""
    step = max(1, BLOCK // max(1, int(sizes.max(initial=1))))
    for start in range(0, len(sizes), step):
        yield slice(start, min(start + step, len(sizes)))


def _channel(ragged: Ragged) -> np.ndarray:
    """The eight statistics of N data sets of members (M, numbers of a member), (N, 8)."""
    values, mask = ragged.padded()  # (N, M, I), (N, M)
    full = mask[:, :, None] & ~np.isnan(values)
    values = np.where(full, values, 0.0)
    count = np.maximum(full.sum(axis=(1, 2)), 1)
    scale = np.abs(values).max(axis=(1, 2), initial=0.0)
    scale = np.where(scale > 0, scale, 1.0)  # squares of huge numbers overflow
    unit = values / scale[:, None, None]
    mean = unit.sum(axis=(1, 2)) / count
    centred = np.where(full, unit - mean[:, None, None], 0.0)
    low, middle, high, smallest, largest = _quantiles(values, full, count)
    varies = largest > smallest  # rounding aside
    square = (centred**2).sum(axis=(1, 2))
    cross = (centred[:, 1:] * centred[:, :-1]).sum(axis=(1, 2))
    correlation = np.where(varies, cross / np.where(square > 0, square, 1.0), 0.0)
    sd = np.where(varies, scale * np.sqrt(square / count), 0.0)
    return np.stack([scale * mean, sd, low, middle, high, smallest, largest, correlation], axis=-1)


def _quantiles(values: np.ndarray, full: np.ndarray, count: np.ndarray) -> np.ndarray:
    """5, 50 and 95 % quantiles, smallest and largest of the true members, (5, N), interpolated as `numpy.quantile` does."""
    n = len(values)
    if values.size == 0:
        return np.zeros((5, n))
    ordered = np.sort(np.where(full, values, np.inf).reshape(n, -1), axis=1)
    ordered[~full.any(axis=(1, 2))] = 0.0
    position = np.array([*LEVELS, 0.0, 1.0])[:, None] * (count - 1)
    floor = np.floor(position).astype(int)
    ceiling, row = np.ceil(position).astype(int), np.arange(n)
    return ordered[row, floor] * (1 - (position - floor)) + ordered[row, ceiling] * (
        position - floor
    )


def tail(simulated: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Probability that one more simulation is as large as each value or larger: a p-value, never 0.

    p = (1 + #{simulated >= value}) / (1 + n). Beyond all simulations the tail goes on as a power of the distance from their median,
    with the exponent of the k largest (a tenth of them), whose uncertainty is integrated out:

        p = (k + 1)/(n + 1) (1 + log(v/u) / Σ_i log(u_i/u))^-k,    u the (k + 1)-th largest, u_i larger ones, all less the median.

    Exact for a power law; for lighter tails the p-value is too large, which costs power only.

    Args:
        simulated: (n,), finite.
        values: (M,), finite.

    Returns:
        (M,), in (0, 1].

    References:
        Hill 1975, A simple general approach to inference about the tail of a distribution, https://doi.org/10.1214/aos/1176343247.

    Example:
        >>> tail(np.arange(99.0), np.array([-1.0, 50.0])).tolist()
        [1.0, 0.5]
    """
    ordered = np.sort(simulated)
    n = len(ordered)
    p = (1 + n - np.searchsorted(ordered, values, side="left")) / (1 + n)
    k = min(n // 10, MOST)
    beyond = values > ordered[-1] if n else np.zeros(len(values), bool)
    if k < FEWEST or not beyond.any():
        return p
    middle = np.median(ordered)
    excess = ordered[-k - 1 :] - middle
    if excess[0] <= 0:
        return p
    total = np.log(excess[1:] / excess[0]).sum()
    reach = np.log((values[beyond] - middle) / excess[0])
    p[beyond] = (
        np.minimum(p[beyond], (k + 1) / (n + 1) * np.exp(-k * np.log1p(reach / total)))
        if total > 0
        else p[beyond]
    )
    return np.maximum(p, np.finfo(float).tiny)
