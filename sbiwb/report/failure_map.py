"""Picture of failed simulations: the share that fails along each parameter, and where failures lie
in the two that matter most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.intervals import binomial_intervals
from sbiwb.report.figures import GREY, ORANGE, Panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 12  # of equal numbers of simulations
MIN_IN_BIN = 20
MAX_DOTS = 3_000
MAX_REASONS = 4


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
        """How much of the difference between bins is no accident: the highest lower end above the
        lowest upper end."""
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
    columns = zip(names, valid.T, failed.T, strict=True)
    by_column = [_profile(name, good, bad, weight) for name, good, bad in columns]
    return sorted(by_column, key=lambda profile: -profile.range)


def _profile(name: str, valid: np.ndarray, failed: np.ndarray, weight: float) -> Profile:
    edges = _edges(np.concatenate([valid, failed]))
    good, bad = np.histogram(valid, edges)[0] * weight, np.histogram(failed, edges)[0]
    trials = np.maximum(good + bad, 1)
    return Profile(name, edges, bad / trials, *binomial_intervals(bad, trials))


def _edges(values: np.ndarray) -> np.ndarray:
    """Of bins with about equal numbers of values."""
    bins = max(1, min(BINS, len(values) // MIN_IN_BIN))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    if len(edges) > 1:
        return edges
    return edges[0] + np.array([-0.5, 0.5])  # all values are equal


def failures_picture(
    valid: np.ndarray,
    failed: np.ndarray,
    names: Sequence[str],
    found: Sequence[Profile],
    *,
    reasons: Mapping[str, int],
    title: str,
) -> Figure:
    """The share that fails along the parameters it depends on most, and simulations over the first
    two of them.

    Args:
        valid: Parameters of simulations that came out, (V, D).
        failed: Of those that failed, (F, D).
        names: Of the D columns.
        found: What `profiles` found, as many as are to be drawn.
        reasons: Failures by reason.
        title: Of the picture.
    """
    has_pair = len(found) > 1
    panels = Panels.of(len(found) + has_pair, width=4.6, height=3.6)
    top = 1.05 * max(profile.high.max() for profile in found)
    for axes, profile in zip(panels.axes, found, strict=False):
        _draw_profile(axes, profile, top)
    if has_pair:
        pair = [names.index(profile.name) for profile in found[:2]]
        _draw_pair(panels.axes[-1], valid[:, pair], failed[:, pair])
        panels.axes[-1].set(xlabel=found[0].name, ylabel=found[1].name)
    panels.figure.suptitle(f"{title}\n{_reason_words(reasons)}", fontsize=10)
    return panels.figure


def _reason_words(reasons: Mapping[str, int]) -> str:
    shown = list(reasons.items())[:MAX_REASONS]
    return ", ".join(f"{reason} {count:,}" for reason, count in shown)


def _draw_profile(axes: Axes, profile: Profile, top: float) -> None:
    axes.stairs(profile.share, profile.edges, color=ORANGE, lw=1.8)
    sides = np.repeat(profile.edges, 2)[1:-1]
    low, high = np.repeat(profile.low, 2), np.repeat(profile.high, 2)
    axes.fill_between(sides, low, high, color=ORANGE, alpha=0.25, lw=0)
    axes.set(xlabel=profile.name, ylabel="share that fails", ylim=(0, top))


def _draw_pair(axes: Axes, valid: np.ndarray, failed: np.ndarray) -> None:
    """Simulations (n, 2) over two parameters."""
    good, bad = valid[:MAX_DOTS].T, failed[:MAX_DOTS].T
    axes.scatter(good[0], good[1], s=4, color=GREY, alpha=0.4, lw=0, label="valid")
    axes.scatter(bad[0], bad[1], s=4, color=ORANGE, alpha=0.8, lw=0, label="failed")
    axes.legend(loc="upper right", markerscale=3, framealpha=0.9)
