"""Picture of failed simulations: the share that fails along each parameter, and where failures lie in the two that matter most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.report.figures import GREY, ORANGE, _figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS, FEWEST = 12, 20  # bins of equal numbers of simulations, and the fewest in one
Z_95 = 1.959964
DOTS = 3_000


@dataclass(frozen=True)
class Profile:
    """Share of failures along one parameter.

    Args:
        name: The parameter's column.
        edges: Of K bins with about equal numbers of simulations, (K + 1,).
        share: That failed in each, (K,).
        low: Lower end of its 95 % interval, (K,).
        high: Upper end, (K,).
    """

    name: str
    edges: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def range(self) -> float:
        """How much of the difference between bins is no accident: the highest lower end above the lowest upper end."""
        return float(self.low.max() - self.high.min())


def profiles(
    valid: np.ndarray, failed: np.ndarray, names: Sequence[str], weight: float
) -> list[Profile]:
    """Share of failures along each column, the one they depend on most first.

    Args:
        valid: Parameters of simulations that came out, (V, D), a sample of all of them.
        failed: Parameters of those that failed, (F, D).
        names: Of the D columns.
        weight: Simulations that each row of `valid` stands for.
    """
    found = [_profile(valid[:, j], failed[:, j], name, weight) for j, name in enumerate(names)]
    return sorted(found, key=lambda one: -one.range)


def _profile(valid: np.ndarray, failed: np.ndarray, name: str, weight: float) -> Profile:
    every = np.sort(np.concatenate([valid, failed]))
    bins = max(1, min(BINS, len(every) // FEWEST))
    edges = np.unique(np.quantile(every, np.linspace(0, 1, bins + 1)))
    if len(edges) < 2:  # all are equal
        edges = np.array([edges[0] - 0.5, edges[0] + 0.5])
    good, bad = np.histogram(valid, edges)[0] * weight, np.histogram(failed, edges)[0]
    n = np.maximum(good + bad, 1)
    return Profile(name, edges, bad / n, *wilson(bad, n))


def wilson(hits: np.ndarray | int, n: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """95 % score interval of a share (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953), elementwise."""
    share, z2 = np.asarray(hits) / n, Z_95**2 / np.asarray(n)
    centre, half = share + z2 / 2, Z_95 * np.sqrt(share * (1 - share) / n + z2 / n / 4)
    return np.maximum(0.0, (centre - half) / (1 + z2)), np.minimum(1.0, (centre + half) / (1 + z2))


def failures_picture(
    valid: np.ndarray,
    failed: np.ndarray,
    names: Sequence[str],
    found: Sequence[Profile],
    *,
    reasons: Mapping[str, int],
    title: str,
) -> Figure:
    """The share that fails along the parameters it depends on most, and simulations over the first two of them.

    Args:
        valid: Parameters of simulations that came out, (V, D).
        failed: Of those that failed, (F, D).
        names: Of the D columns.
        found: What `profiles` found, as many as are to be drawn.
        reasons: Failures by reason.
        title: Of the picture.
    """
    two, top = len(found) > 1, 1.05 * max(one.high.max() for one in found)
    panels = len(found) + two
    columns = min(3, panels)
    rows = -(-panels // columns)
    figure = _figure(4.6 * columns, 3.6 * rows)
    all_axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes, one in zip(all_axes, found, strict=False):
        _draw_profile(axes, one, top)
    if two:
        _draw_pairs(
            all_axes[len(found)], valid, failed, [names.index(one.name) for one in found[:2]], names
        )
    for axes in all_axes[panels:]:
        axes.axis("off")
    told = ", ".join(f"{reason} {count:,}" for reason, count in list(reasons.items())[:4])
    figure.suptitle(f"{title}\n{told}", fontsize=10)
    return figure


def _draw_profile(axes: Axes, one: Profile, top: float) -> None:
    axes.stairs(one.share, one.edges, color=ORANGE, lw=1.8)
    axes.fill_between(
        np.repeat(one.edges, 2)[1:-1],
        np.repeat(one.low, 2),
        np.repeat(one.high, 2),
        color=ORANGE,
        alpha=0.25,
        lw=0,
    )
    axes.set(xlabel=one.name, ylabel="share that fails", ylim=(0, top))


def _draw_pairs(
    axes: Axes, valid: np.ndarray, failed: np.ndarray, pair: Sequence[int], names: Sequence[str]
) -> None:
    for points, colour, label in ((valid, GREY, "valid"), (failed, ORANGE, "failed")):
        x, y = points[:DOTS, list(pair)].T
        axes.scatter(
            x, y, s=4, color=colour, alpha=0.4 if label == "valid" else 0.8, lw=0, label=label
        )
    axes.set(xlabel=names[pair[0]], ylabel=names[pair[1]])
    axes.legend(loc="upper right", markerscale=3, framealpha=0.9)
