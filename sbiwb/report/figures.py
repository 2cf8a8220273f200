"""Pictures of training and of posteriors; each draws what it is given and computes nothing but quantiles to draw."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sbiwb.pictures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
DPI = 130
LONGEST_INDEX = 200  # numbers of a vector drawn side by side
LABELLED = 40  # data sets that a forest can name


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    return new_figure(width, height)


def loss_picture(losses: Sequence[Sequence[float]], best_step: int) -> Figure:
    """Training and validation loss.

    Args:
        losses: [step, training loss, validation loss] of each validation, nats per pair.
        best_step: The step whose weights are kept.
    """
    figure = _figure(7, 4)
    axes = figure.subplots()
    steps, training, validation = np.asarray(losses, float).T if len(losses) else np.zeros((3, 0))
    marker = "o" if len(steps) == 1 else None  # a single validation makes no line
    axes.plot(steps, training, color=GREY, lw=1, marker=marker, label="training")
    axes.plot(
        steps, validation, color=BLUE, lw=1.8, marker=marker, label="validation (averaged weights)"
    )
    if len(steps):
        axes.axvline(best_step, color=ORANGE, lw=1, ls="--", label=f"best, step {best_step:,}")
        low, high = validation.min(), max(validation[0], np.percentile(validation, 90))
        axes.set_ylim(low - 0.08 * (high - low) - 0.02, high + 0.08 * (high - low) + 0.02)
    axes.set(
        xlabel="step",
        ylabel="negative log-density of z (nats), or the network's own loss",
        title="Loss",
    )
    axes.legend(frameon=False)
    return figure


def rates_picture(rates: np.ndarray, losses: np.ndarray, suggestion: float) -> Figure:
    """Loss against learning rate.

    Args:
        rates: Learning rate of each step, (n,).
        losses: Smoothed loss, in nats per pair, (n,).
        suggestion: The rate to take, marked.
    """
    figure = _figure(7, 4)
    axes = figure.subplots()
    axes.semilogx(rates, losses, color=BLUE, lw=1.8)
    axes.axvline(suggestion, color=ORANGE, lw=1, ls="--", label=f"suggested, {suggestion:.1g}")
    axes.set(
        xlabel="learning rate",
        ylabel="negative log-density of z (nats)",
        title="Learning-rate range test",
    )
    low = losses.min()
    axes.set_ylim(low - 0.1 * (losses[0] - low + 0.1), losses[0] + 0.5 * (losses[0] - low + 0.1))
    axes.legend(frameon=False)
    return figure


def pairs_picture(
    draws: np.ndarray,
    labels: Sequence[str],
    *,
    prior: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> Figure:
    """Pair plot of posterior draws.

    Args:
        draws: (S, D).
        labels: Of the D columns, with units.
        prior: Prior draws (R, D) behind them, clipped to the posterior's range.
        truth: True values (D,), marked.
    """
    size = 1.9 * max(2, draws.shape[1]) + 0.8
    figure = new_figure(size, size, layout=None)
    span = [_span(column) for column in draws.T]
    style: dict[str, Any] = {
        "range": span,
        "bins": 30,
        "labels": list(labels),
        "max_n_ticks": 4,
        "label_kwargs": {"fontsize": 10},
    }
    style |= {
        "titles": [label.partition(" (")[0] for label in labels],
        "show_titles": True,
        "title_fmt": ".3g",
        "title_kwargs": {"fontsize": 9},
        "fill_contours": True,
        "plot_datapoints": False,
    }
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        import corner  # it imports an installed ArviZ, which warns

        corner.corner(
            draws,
            fig=figure,
            color=BLUE,
            truths=truth,
            truth_color=ORANGE,
            smooth=0.7,
            levels=(0.5, 0.9),
            hist_kwargs={"density": True},
            **style,
        )
    if prior is not None:
        _add_prior(figure, prior, span)
    figure.suptitle(
        "Posterior" + (" (blue) and prior (grey)" if prior is not None else ""),
        x=0.72,
        y=0.97,
        fontsize=12,
    )
    return figure


def _add_prior(figure: Figure, prior: np.ndarray, span: Sequence[tuple[float, float]]) -> None:
    """The prior's histogram on the diagonal, as a density over the part of it in view."""
    d = len(span)
    for i in range(d):
        axes = figure.axes[i * (d + 1)]
        counts, edges = np.histogram(prior[:, i], bins=30, range=span[i])
        density = counts / max(1, len(prior)) / np.diff(edges)
        axes.stairs(density, edges, color=GREY, fill=True, alpha=0.35)


class _quiet:
    """corner warns through the root logger of too few points for a contour; the picture shows it."""

    def __enter__(self) -> None:
        import logging

        logging.disable(logging.WARNING)

    def __exit__(self, *error: object) -> None:
        import logging

        logging.disable(logging.NOTSET)


def _span(column: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(column, [0.2, 99.8])
    room = 0.08 * (high - low) or max(abs(low) * 0.1, 1e-6)  # a constant column would stop corner
    return float(low - room), float(high + room)


def predictive_picture(
    observed: Mapping[str, np.ndarray],
    simulated: Mapping[str, Any],
    kinds: Mapping[str, str],
    *,
    title: str,
) -> Figure:
    """Simulations from the posterior over the data, one panel an observable.

    Args:
        observed: Data of one data set by observable: (), (T,), (T, C) or a set.
        simulated: Simulated data by observable, a list of R arrays like the observed one.
        kinds: What each observable is to the network: vector, set, series or grid; those it does not see may be left out.
        title: Of the picture.
    """
    observed = {name: _as_panels(values, kinds.get(name)) for name, values in observed.items()}
    simulated = {
        name: [_as_panels(np.asarray(one), kinds.get(name)) for one in many]
        for name, many in simulated.items()
    }
    panels = [
        (name, channel) for name, values in observed.items() for channel in range(_channels(values))
    ]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(5.2 * columns, 3.6 * rows)
    all_axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes, (name, channel) in zip(all_axes, panels, strict=False):
        data, many = (
            _channel(observed[name], channel),
            [_channel(one, channel) for one in simulated[name]],
        )
        same_length = 1 < len(data) <= LONGEST_INDEX and all(len(one) == len(data) for one in many)
        _panel(axes, name, data, many, ordered=_has_order(kinds.get(name), same_length))
    for axes in all_axes[len(panels) :]:
        axes.axis("off")
    handles, names = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    return figure


def _as_panels(values: np.ndarray, kind: str | None) -> np.ndarray:
    """One data set as one panel a channel: all cells of a grid share a panel."""
    return values.ravel() if kind == "grid" or values.ndim > 2 else values


def _has_order(kind: str | None, same_length: bool) -> bool:
    """Whether an observable is drawn over its index: a series, and what is neither set nor grid but always as long."""
    return kind == "series" or (kind not in ("set", "grid") and same_length)


def _channels(values: np.ndarray) -> int:
    return values.shape[1] if values.ndim == 2 else 1


def _channel(values: np.ndarray, channel: int) -> np.ndarray:
    return values[:, channel] if values.ndim == 2 else np.atleast_1d(values)


def _panel(
    axes: Axes, name: str, data: np.ndarray, simulated: Sequence[np.ndarray], *, ordered: bool
) -> None:
    """Bands over the index where there is an order, histograms elsewhere."""
    if ordered:
        _bands(axes, data, simulated)
        axes.set(xlabel="time step or position", ylabel=name)
    else:
        _histograms(axes, data, np.concatenate(simulated))
        axes.set(xlabel=name, ylabel="density")


def _bands(axes: Axes, data: np.ndarray, simulated: Sequence[np.ndarray]) -> None:
    """Quantiles at each index, of the simulations that reach it, as far as the data go."""
    many = np.full((len(simulated), len(data)), np.nan)
    for row, one in zip(many, simulated, strict=True):
        row[: len(one)] = one[: len(data)]
    index = np.arange(1, len(data) + 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        for low, high, alpha, label in (
            (2.5, 97.5, 0.18, "95 % of simulations"),
            (25, 75, 0.4, "50 %"),
        ):
            axes.fill_between(
                index,
                *np.nanpercentile(many, [low, high], axis=0),
                color=BLUE,
                alpha=alpha,
                lw=0,
                label=label,
            )
        axes.plot(index, np.nanmedian(many, axis=0), color=BLUE, lw=1.2)
    axes.plot(index, data, "o-", color=ORANGE, ms=4, lw=0.8, label="observed")


def _histograms(axes: Axes, data: np.ndarray, simulated: np.ndarray) -> None:
    data, simulated = data[~np.isnan(data)], simulated[~np.isnan(simulated)]
    if not len(data) or not len(simulated):
        axes.text(0.5, 0.5, "all values are missing", ha="center", transform=axes.transAxes)
        return
    low, high = np.percentile(simulated, [0.5, 99.5])
    span = (float(min(low, data.min())), float(max(high, data.max())) + 1e-9)
    distinct = np.unique(np.concatenate([data, simulated]))
    bins: Any = np.append(distinct - 0.25, distinct[-1] + 0.25) if len(distinct) <= 12 else 40
    axes.hist(
        simulated,
        bins=bins,
        range=span,
        density=True,
        color=BLUE,
        alpha=0.35,
        label="simulated from the posterior",
    )
    if len(data) == 1:
        axes.axvline(float(data[0]), color=ORANGE, lw=2, label="observed")
    else:
        axes.hist(
            data,
            bins=bins,
            range=span,
            density=True,
            histtype="step",
            color=ORANGE,
            lw=1.5,
            label="observed",
        )


def shown_picture(
    show: Callable[..., Any],
    observed: Mapping[str, Any],
    simulated: Sequence[Mapping[str, Any]],
    *,
    title: str,
) -> Figure:
    """The simulator file's own `show(x, ax)`: the data first, then data sets simulated from the posterior.

    Args:
        show: Draws one data set on axes.
        observed: The data, by observable.
        simulated: Five data sets or fewer.
        title: Of the picture.
    """
    figure = _figure(12, 6.4)
    all_axes = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    for position, (axes, x) in enumerate(zip(all_axes, [observed, *simulated[:5]], strict=False)):
        show(x, axes)
        axes.set_title(
            "observed" if position == 0 else f"simulated {position}",
            color=ORANGE if position == 0 else "black",
            fontsize=10,
        )
    for axes in all_axes[1 + len(simulated) :]:
        axes.axis("off")
    figure.suptitle(title)
    return figure


def forest_picture(
    labels: Sequence[str],
    summaries: Mapping[str, Sequence[tuple[float, float, float, float, float]]],
    *,
    title: str,
) -> Figure:
    """Many data sets side by side: one panel a parameter, one line a data set.

    Args:
        labels: Of the N data sets.
        summaries: (q2.5, q25, median, q75, q97.5) of each data set, by parameter with its unit.
        title: Of the picture.
    """
    n = len(labels)
    colours = _condition_colours(labels)
    figure = _figure(1.6 + 2.7 * len(summaries), 1.6 + 0.26 * min(n, 4 * LABELLED))
    all_axes = np.atleast_1d(figure.subplots(1, len(summaries), sharey=True))
    heights = np.arange(n)[::-1]
    for axes, (name, rows) in zip(all_axes, summaries.items(), strict=True):
        _forest_panel(axes, heights, np.asarray(rows, float), colours)
        axes.set_xlabel(name)
    all_axes[0].set_yticks(heights, labels if n <= 4 * LABELLED else [""] * n, fontsize=8)
    all_axes[0].set_ylim(-0.8, n - 0.2)
    for text, colour in zip(all_axes[0].get_yticklabels(), colours, strict=True):
        text.set_color(colour if len(set(colours)) > 1 else "black")
    figure.suptitle(title)
    return figure


def _forest_panel(
    axes: Axes, heights: np.ndarray, rows: np.ndarray, colours: Sequence[str]
) -> None:
    """Intervals (N, 5) at their heights; dotted, the mean of the medians of each colour."""
    low, quarter, middle, three, high = rows.T
    axes.hlines(heights, low, high, color=colours, lw=1, alpha=0.6)
    axes.hlines(heights, quarter, three, color=colours, lw=3.2, alpha=0.8)
    axes.scatter(middle, heights, s=20, color="white", edgecolors=colours, zorder=3)
    for colour in dict.fromkeys(colours):
        mine = [one == colour for one in colours]
        axes.axvline(
            float(np.mean(middle[mine])),
            color=colour if len(set(colours)) > 1 else GREY,
            lw=0.9,
            ls=":",
        )
    axes.grid(axis="y", color="#eeeeee", lw=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _condition_colours(labels: Sequence[str]) -> list[str]:
    """One colour for each value of the last grouping column (`subject 3, conflict LC`), where it has two or three values that recur."""
    last = [label.rpartition(", ")[2] if ", " in label else "" for label in labels]
    values = list(dict.fromkeys(last))
    palette = (BLUE, ORANGE, GREEN)
    return [
        palette[values.index(one)] if 1 < len(values) <= len(palette) < len(labels) else BLUE
        for one in last
    ]
