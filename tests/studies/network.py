"""A teaching notebook's network of tanh units through noisy points of a sine, by every road,
compared as curves.

    python -m tests.studies.network                    (HMC, Metropolis from the mode and mean-field
    VI, with a picture) python -m tests.studies.network --amortized runs/sine_network
    (and the trained run) python -m tests.studies.network --table            (hidden units, points
    and prior sd, by short chains of HMC)

Weights are not identified (units change places and signs), so that two good methods may share no
draw: what is compared is the curve f(u), its mean and its band of 90 %, over [-3, 3], where the
data are, and just beyond.

Warning: short random walks from the prior do not meet even as curves: R-hat 1.1 to 6.0 for 64
chains of 3,000 steps, 2 units and 5 to 50 points (measured). From the mode they see that mode and
what is near.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sbiwb.contracts import Reference, Target
from sbiwb.files import put
from sbiwb.project.target import target_of
from sbiwb.project.trained import load_posterior
from sbiwb.references import family, judge
from sbiwb.report import to_png
from sbiwb.seeds import generator
from tests.simulators.loaded import alone, project, simulator
from tests.tiny import Recorder

network = simulator("sine_network")

NOISE, HELD = 0.1, 0.9
INSIDE = np.linspace(-3, 3, 61)
OUTSIDE = np.concatenate([np.linspace(-4, -3, 11)[:-1], np.linspace(3, 4, 11)[1:]])
HIDDEN, POINTS, PRIOR_SD = (2, 5, 10, 20), (5, 20, 50), (0.1, 1.0, 10.0)
METHODS: dict[str, dict[str, Any]] = {
    "hmc": {"kind": "hmc", "chains": 4, "warmup": 300},
    "metropolis": {
        "kind": "metropolis",
        "start": "map",
        "chains": 64,
        "warmup": 10_000,
        "thin": 200,
    },
    "vi": {"kind": "vi", "family": "mean_field", "steps": 5_000},
}
SHORT = {"kind": "hmc", "chains": 2, "warmup": 150, "most_steps": 30}
DRAWS, SHORT_DRAWS = 2_000, 300


@dataclass(frozen=True)
class Setting:
    """What is asked.

    Args:
        hidden: Units, of 3 weights each and one besides.
        points: Noisy points of the sine.
        prior_sd: Standard deviation of every weight under the prior.
    """

    hidden: int = 5
    points: int = 20
    prior_sd: float = 1.0


@dataclass(frozen=True)
class Curves:
    """Posterior curves of one method: f (S, places) at `INSIDE`, at the data and at `OUTSIDE`, and
    their R-hat.

    Args:
        inside: (S, 61).
        at_data: (S, points).
        outside: (S, 20).
        rhat: The worst over `INSIDE`; NaN for independent draws and for one chain.
        seconds: Wall time.
    """

    inside: np.ndarray
    at_data: np.ndarray
    outside: np.ndarray
    rhat: float
    seconds: float

    @property
    def rmse(self) -> float:
        """Root mean square of mean curve less sine over [-3, 3]."""
        return float(np.sqrt(np.mean((self.inside.mean(0) - np.sin(INSIDE)) ** 2)))

    @property
    def widths(self) -> tuple[float, float]:
        """Mean width of the band at the data, and beyond |u| = 3."""
        return width(self.at_data), width(self.outside)


def band(curves: np.ndarray) -> np.ndarray:
    """Lower and upper end of the central 90 % of curves (S, places), (2, places)."""
    return np.quantile(curves, [(1 - HELD) / 2, (1 + HELD) / 2], axis=0)


def width(curves: np.ndarray) -> float:
    """Mean width of the band of curves (S, places)."""
    return float(np.diff(band(curves), axis=0).mean())


def target(setting: Setting, runs: Path) -> Target:
    """The exact posterior of the weights."""
    prior = f"{{kind: normal, shape: [{3 * setting.hidden + 1}], scale: {setting.prior_sd}}}"
    changes = {
        "parameters.weights": prior,
        "constants.hidden": setting.hidden,
        "constants.points": setting.points,
    }
    opened = project(
        "sine_network", runs, *(f"problem.{key}={value}" for key, value in changes.items())
    )
    return target_of(
        opened.densities, {"y": network.sine(setting.points, NOISE)[None]}, {}, 0, None
    )


def curves_of(found: Reference, points: int, seconds: float) -> Curves:
    """Weights (S, D) as curves."""
    inside, at_data, outside = (
        network.curve(found.theta, at) for at in (INSIDE, network.places(points), OUTSIDE)
    )
    mixing = judge(Reference(inside, found.chains), [f"{u:.1f}" for u in INSIDE]).rhat
    return Curves(
        inside, at_data, outside, np.nan if mixing is None else float(np.max(mixing)), seconds
    )


def by_method(
    method: Mapping[str, Any], setting: Setting, runs: Path, *, draws: int, seed: int = 0
) -> Curves:
    """Curves of a reference method."""
    begun = time.perf_counter()
    found = family.parse(dict(method)).run(
        target(setting, runs), draws, generator(seed, "reference"), Recorder()
    )
    return curves_of(found, setting.points, time.perf_counter() - begun)


def by_network(run: Path, *, draws: int, seed: int = 0) -> Curves:
    """Curves of a trained run of configs/sine_network.yaml, given its observation."""
    begun, setting = time.perf_counter(), Setting()
    theta = load_posterior(run, "cpu").sample(
        alone(y=network.sine(setting.points, NOISE)), draws, generator(seed, "sample")
    )[0]
    return curves_of(Reference(theta), setting.points, time.perf_counter() - begun)


def apart(one: Curves, other: Curves) -> float:
    """Largest difference of the mean curves over [-3, 3]."""
    return float(np.abs(one.inside.mean(0) - other.inside.mean(0)).max())


def picture(found: Mapping[str, Curves], setting: Setting) -> Any:
    """A panel a method: band of 90 %, mean curve, the sine and the data."""
    from matplotlib.figure import Figure

    places = np.concatenate([OUTSIDE[:10], INSIDE, OUTSIDE[10:]])
    figure = Figure(figsize=(1 + 3.6 * len(found), 3.6), layout="constrained")
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, curves) in zip(panels, found.items(), strict=True):
        every = np.concatenate(
            [curves.outside[:, :10], curves.inside, curves.outside[:, 10:]], axis=1
        )
        axes.fill_between(
            places, *band(every), color="#0072B2", alpha=0.25, lw=0, label="90 % of the curves"
        )
        axes.plot(places, every.mean(0), color="#0072B2", lw=1.5, label="mean")
        axes.plot(places, np.sin(places), color="#777777", lw=1, ls="--", label="sine")
        axes.plot(
            network.places(setting.points),
            network.sine(setting.points, NOISE),
            "o",
            color="#D55E00",
            ms=3.5,
            label="data",
        )
        axes.set_title(
            f"{name}: width {curves.widths[0]:.2f} at the data, {curves.widths[1]:.2f} beyond",
            fontsize=9,
        )
        axes.set_xlabel("u")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("f(u)")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def compared(found: Mapping[str, Curves]) -> Iterator[str]:
    """Lines of a table, the first method held against the others."""
    yield "| method | farthest mean curve from the first | width at the data | width beyond | rmse | R-hat of curves | seconds |"
    yield "|---|---|---|---|---|---|---|"
    first = next(iter(found.values()))
    for name, one in found.items():
        at_data, beyond = one.widths
        yield f"| {name} | {apart(first, one):.3f} | {at_data:.3f} | {beyond:.3f} | {one.rmse:.3f} | {one.rhat:.3f} | {one.seconds:.0f} |"


def table(runs: Path) -> Iterator[str]:
    """A line a setting, as it is done."""
    yield "| hidden | points | prior sd | width at the data | width beyond | rmse | R-hat of curves | seconds |"
    yield "|---|---|---|---|---|---|---|---|"
    for hidden, points, prior_sd in itertools.product(HIDDEN, POINTS, PRIOR_SD):
        one = by_method(SHORT, Setting(hidden, points, prior_sd), runs, draws=SHORT_DRAWS)
        at_data, beyond = one.widths
        numbers = (
            f"{at_data:.3f} | {beyond:.3f} | {one.rmse:.3f} | {one.rhat:.2f} | {one.seconds:.0f}"
        )
        yield f"| {hidden} | {points} | {prior_sd:g} | {numbers} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.studies.network", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="hidden sizes, points and prior sd instead of the methods",
    )
    parser.add_argument(
        "--amortized",
        type=Path,
        metavar="RUN",
        help="a trained run of configs/sine_network.yaml besides",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/network"), help="folder of the picture"
    )
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if chosen.table:
        for line in table(chosen.out):
            print(line, flush=True)
        return
    setting = Setting()
    found = {
        name: by_method(options, setting, chosen.out, draws=DRAWS)
        for name, options in METHODS.items()
    }
    if chosen.amortized:
        found["amortized"] = by_network(chosen.amortized, draws=DRAWS)
    print("\n".join(compared(found)))
    put(chosen.out / "network.png", to_png(picture(found, setting)))
    print(f"wrote {chosen.out / 'network.png'}")


if __name__ == "__main__":
    main()
