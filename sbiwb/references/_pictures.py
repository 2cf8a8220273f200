"""Pictures of reference methods: the paths of their chains, and what they report of their
iterations. Never pyplot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.contracts import Reference
from sbiwb.pictures import new_figure
from sbiwb.references._chains import RHAT_NOT_CONVERGED, RHAT_OK, Judged, judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, safe for the colour-blind.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
BLUE, RED, INK, FAINT = "#0072B2", "#D55E00", "#222222", "#777777"
MAX_COLUMNS = 8
MAX_CHAINS = 12  # paths that can be told apart in one panel
SMOOTHED_POINTS = 50  # points of a noisy curve for each that is averaged


def plot_trace(
    reference: Reference, columns: Sequence[str], judged: Judged | None = None
) -> Figure:
    """The draws of each column in their order, one path a chain, with R-hat.

    At most 8 columns are drawn, those of the largest R-hat.

    Args:
        reference: Draws (S, D), of chains or independent.
        columns: D names.
        judged: Their R-hat, where it is known already.
    """
    judged = judged or judge(reference, columns)
    shown = _worst(judged, len(columns))
    figure, axes = _panels(len(shown), width=7.5, height=1.5)
    for panel, column in zip(axes, shown, strict=True):
        _draw_paths(panel, reference, column)
        panel.set_title(columns[column], fontsize=9, loc="left", color=INK)
        _draw_facts(panel, judged, column)
    label = "draw of its chain, after warm-up and thinning" if reference.chains else "draw"
    axes[-1].set_xlabel(label)
    heading = "Trace" + _left_out(len(columns), len(shown))
    _headed(figure, heading, _note(reference.chains, len(reference.theta)))
    return figure


def plot_curves(reference: Reference) -> Figure:
    """Every curve of a reference over its iterations, with its running mean where it is long.

    Raises:
        ValueError: The reference has no curves.
    """
    if not reference.curves:
        raise ValueError("this reference method reports no curves")
    figure, axes = _panels(len(reference.curves), width=7.5, height=2.4)
    for panel, (name, curve) in zip(axes, reference.curves.items(), strict=True):
        panel.set_title(name, fontsize=9, loc="left", color=INK)
        _draw_curve(panel, np.asarray(curve, float))
        _cut_outliers(panel, np.asarray(curve, float))
    axes[-1].set_xlabel("iteration")
    note = "faint: each iteration; dark: mean of those around it; outliers are cut off"
    _headed(figure, "Iterations of the method", note)
    return figure


def _draw_paths(panel: Axes, reference: Reference, column: int) -> None:
    alpha = 0.8 if reference.chains else 1.0
    paths = np.array_split(reference.theta[:, column], max(1, reference.chains))
    for chain, path in enumerate(paths[:MAX_CHAINS]):
        panel.plot(path, color=COLOURS[chain % len(COLOURS)], lw=0.6, alpha=alpha)


def _draw_curve(panel: Axes, curve: np.ndarray) -> None:
    """The curve; where it is long, faint, and its running mean."""
    width = len(curve) // SMOOTHED_POINTS
    if width <= 1:
        panel.plot(curve, color=BLUE, lw=1.4)
        return
    panel.plot(curve, color=BLUE, lw=0.8, alpha=0.35)
    mean = np.convolve(curve, np.ones(width) / width, "valid")
    panel.plot(np.arange(len(mean)) + width / 2, mean, color=BLUE, lw=1.6)


def _cut_outliers(panel: Axes, curve: np.ndarray) -> None:
    settled = curve[len(curve) // 10 :]
    settled = settled[np.isfinite(settled)]
    if len(settled) > 1 and np.ptp(settled) > 0:
        low, high = np.percentile(settled, [0.5, 99.5])
        margin = 0.15 * (high - low)
        panel.set_ylim(low - margin, high + margin)


def _worst(judged: Judged, columns: int) -> list[int]:
    """Up to 8 columns, those of the largest R-hat, in the order of the columns."""
    order = np.arange(columns)
    if judged.rhat is not None:
        order = np.argsort(-np.nan_to_num(judged.rhat, nan=np.inf), kind="stable")
    return sorted(order[:MAX_COLUMNS].tolist())


def _draw_facts(panel: Axes, judged: Judged, column: int) -> None:
    """R-hat and effective draws at the right, red where R-hat gives a warning."""
    if judged.rhat is None or judged.ess is None:
        return
    text = f"R-hat {judged.rhat[column]:.3f}, {judged.ess[column]:,.0f} effective draws"
    doubt = _doubt(judged.rhat[column])
    if np.isnan(judged.rhat[column]):
        text = ""
    colour = RED if doubt else FAINT
    panel.set_title(text + doubt, fontsize=8, loc="right", color=colour)


def _doubt(rhat: float) -> str:
    if np.isnan(rhat):
        return "R-hat cannot be judged"
    if rhat > RHAT_NOT_CONVERGED:
        return " — not converged"
    return " — hardly mixed" if rhat > RHAT_OK else ""


def _panels(rows: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels one above the other, with a common horizontal axis."""
    figure = new_figure(width, height * rows + 1.0, dpi=120)
    axes = figure.subplots(rows, 1, squeeze=False, sharex=height < 2)[:, 0]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=7, length=3, color=FAINT)
        panel.xaxis.label.set_fontsize(8)
        panel.margins(x=0.01)
    return figure, list(axes)


def _headed(figure: Figure, heading: str, note: str) -> None:
    figure.suptitle(heading, fontsize=11, color=INK, x=0.01, ha="left", weight="bold")
    figure.supxlabel(textwrap.fill(note, 120), fontsize=7.5, color=FAINT, x=0.01, ha="left")


def _left_out(columns: int, shown: int) -> str:
    if shown == columns:
        return ""
    return f" of {shown} of {columns} columns, those of the largest R-hat"


def _note(chains: int, draws: int) -> str:
    if not chains:
        return f"{draws:,} independent draws"
    some = f", the first {MAX_CHAINS} drawn" if chains > MAX_CHAINS else ""
    return (
        f"{draws:,} draws of {chains} chains{some}; "
        "chains that have converged lie over each other and look like noise"
    )
