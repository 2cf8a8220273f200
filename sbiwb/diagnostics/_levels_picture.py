"""Pictures of a discrete parameter: its confusion matrix, and whether its probabilities hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sbiwb.diagnostics import _grid, _levels
from sbiwb.diagnostics._levels import LevelPosterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_COLORS = (_grid.BLUE, _grid.VERMILLION, _grid.GREEN, _grid.ORANGE, _grid.SKY, _grid.INK)
MAX_WRITTEN_LEVELS = 6  # numbers in the cells of a larger matrix would overlap
DARK = 0.5  # probability from which words in a cell are white


def draw_confusion(axes: Axes, posterior: LevelPosterior, accuracy: float) -> None:
    """Mean probability of each level (across) for every true level (down)."""
    matrix = posterior.confusion()
    _grid.title(axes, posterior.name, f"{accuracy:.0%} right")
    axes.imshow(np.nan_to_num(matrix), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    ticks = [f"{level:g}" for level in posterior.levels]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_yticks(range(len(ticks)), ticks)
    axes.set(xlabel="level of the draws", ylabel="true level")
    if len(ticks) <= MAX_WRITTEN_LEVELS:
        _write_cells(axes, matrix)


def _write_cells(axes: Axes, matrix: np.ndarray) -> None:
    for (row, column), probability in np.ndenumerate(matrix):
        if np.isfinite(probability):
            color = str(np.where(probability > DARK, "white", _grid.INK))
            words = f"{probability:.2f}"
            axes.text(column, row, words, ha="center", va="center", fontsize=8, color=color)


def draw_reliability(axes: Axes, posterior: LevelPosterior) -> None:
    """How often each level is the truth among pairs that give it about the same probability."""
    _grid.title(axes, f"p({posterior.name})")
    axes.set(xlabel="probability of the level", ylabel="share where it is true")
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    _grid.diagonal(axes)
    for k in range(len(posterior.levels)):
        _draw_level(axes, posterior, k)
    if len(posterior.levels) <= len(LINE_COLORS):
        axes.legend(fontsize=6, frameon=False, loc="upper left", handlelength=1.2)


def _draw_level(axes: Axes, posterior: LevelPosterior, k: int) -> None:
    """One line: a dot for each bin of pairs, with its 95 % interval."""
    p, is_level = posterior.probability[:, k], posterior.is_truth[:, k]
    rows = _levels.bins(p)
    said = np.array([p[bin_rows].mean() for bin_rows in rows])
    true = np.array([is_level[bin_rows].mean() for bin_rows in rows])
    sizes = np.array([len(bin_rows) for bin_rows in rows])
    low, high = binomial_interval(true * sizes, sizes)
    color = LINE_COLORS[k % len(LINE_COLORS)]
    axes.vlines(said, low, high, color=color, lw=0.8, alpha=0.6)
    label = f"{posterior.levels[k]:g}"
    axes.plot(said, true, "o-", ms=3, lw=0.8, color=color, label=label)


def binomial_interval(hits: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jeffreys' 95 % interval of shares, (B,) each [Brown, Cai, DasGupta 2001]."""
    from scipy.stats import beta

    return beta.ppf(0.025, hits + 0.5, n - hits + 0.5), beta.ppf(0.975, hits + 0.5, n - hits + 0.5)
