"""Pictures of reference methods: the paths of their chains, and what they report of their
iterations. Never pyplot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sbiwb.contracts import Reference
from sbiwb.pictures import new_figure
from sbiwb.references._chains import CONVERGED, MIXED, Judged, judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, safe for the colour-blind.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
BLUE, RED, INK, FAINT = "#0072B2", "#D55E00", "#222222", "#777777"
MOST_COLUMNS = 8
MOST_CHAINS = 12  # paths that can be told apart in one panel
SMOOTH = 50  # points of a noisy curve for each that is averaged


def plot_trace(
    reference: Reference, columns: Sequence[str], judged: Judged | None = None
) -> Figure:
    """The draws of each column in their order, one path a chain, with R-hat; at most 8 columns,
    those of the largest R-hat.

    Args:
        reference: Draws (S, D), of chains or independent.
        columns: D names.
        judged: Their R-hat, where it is known already.
    """
    judged = judged or judge(reference, columns)
    shown = _worst(judged, len(columns))
    figure, axes = _panels(len(shown), width=7.5, height=1.5)
    paths = np.array_split(reference.theta, max(1, reference.chains))
    for panel, d in zip(axes, shown, strict=True):
        for c, path in enumerate(paths[:MOST_CHAINS]):
            panel.plot(
                path[:, d],
                color=COLOURS[c % len(COLOURS)],
                lw=0.6,
                alpha=0.8 if reference.chains else 1.0,
            )
        panel.set_title(columns[d], fontsize=9, loc="left", color=INK)
        _facts(panel, judged, d)
    axes[-1].set_xlabel(
        "draw" + (" of its chain, after warm-up and thinning" if reference.chains else "")
    )
    _headed(
        figure,
        "Trace" + _left_out(len(columns), len(shown)),
        _note(reference.chains, len(reference.theta)),
    )
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
        _curve(panel, name, np.asarray(curve, float))
    axes[-1].set_xlabel("iteration")
    _headed(
        figure,
        "Iterations of the method",
        "faint: each iteration; dark: mean of those around it; outliers are cut off",
    )
    return figure


def _curve(panel: Axes, name: str, curve: np.ndarray) -> None:
    panel.set_title(name, fontsize=9, loc="left", color=INK)
    width = len(curve) // SMOOTH
    panel.plot(curve, color=BLUE, lw=0.8 if width > 1 else 1.4, alpha=0.35 if width > 1 else 1.0)
    if width > 1:
        panel.plot(
            np.arange(len(curve) - width + 1) + width / 2,
            np.convolve(curve, np.ones(width) / width, "valid"),
            color=BLUE,
            lw=1.6,
        )
    settled = curve[len(curve) // 10 :][np.isfinite(curve[len(curve) // 10 :])]
    if len(settled) > 1 and np.ptp(settled) > 0:
        low, high = np.percentile(settled, [0.5, 99.5])
        panel.set_ylim(low - 0.15 * (high - low), high + 0.15 * (high - low))


def _worst(judged: Judged, d: int) -> list[int]:
    """Up to 8 columns, those of the largest R-hat, in the order of the columns."""
    order = (
        np.arange(d)
        if judged.rhat is None
        else np.argsort(-np.nan_to_num(judged.rhat, nan=np.inf), kind="stable")
    )
    return sorted(order[:MOST_COLUMNS].tolist())


def _facts(panel: Axes, judged: Judged, d: int) -> None:
    """R-hat and effective draws at the right, red where R-hat gives a warning."""
    if judged.rhat is None or judged.ess is None:
        return
    said = (
        "R-hat cannot be judged"
        if np.isnan(judged.rhat[d])
        else f"R-hat {judged.rhat[d]:.3f}, {judged.ess[d]:,.0f} effective draws"
    )
    mark = (
        " — not converged"
        if judged.rhat[d] > CONVERGED
        else " — hardly mixed"
        if judged.rhat[d] > MIXED
        else ""
    )
    panel.set_title(
        said + mark,
        fontsize=8,
        loc="right",
        color=RED if mark or np.isnan(judged.rhat[d]) else FAINT,
    )


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
    return (
        f" of {shown} of {columns} columns, those of the largest R-hat" if shown < columns else ""
    )


def _note(chains: int, draws: int) -> str:
    if not chains:
        return f"{draws:,} independent draws"
    some = f", the first {MOST_CHAINS} drawn" if chains > MOST_CHAINS else ""
    return f"{draws:,} draws of {chains} chains{some}; chains that have converged lie over each other and look like noise"
