"""L-C2ST: is the posterior right at this very data set? A classifier of (theta, x) tells draws from truths, or cannot.

Calibration pairs give one draw (class 0) and the truth (class 1) for the same x. Where the posterior is exact nothing can tell them
apart, and the classifier's d(theta, x) is 1/2. At a data set o with posterior draws theta_s

    t(o) = mean_s (d(theta_s, x_o) - 1/2)²,    p = (1 + #{null t >= t}) / (1 + R),

the null from R classifiers trained alike with truth and draw of each pair swapped at random, which is exact where the posterior is right
for all x. Beyond all of them the tail goes on by `_statistics.tail`: Holm over many tests asks for less than 1/(1 + R).

    effect = sqrt(max(0, t - mean null t))

what is left of the typical |d - 1/2| once the noise of training is taken out. 0.05 means that the classifier is right about 55 times in
100. The classifier is kept simple, so that the effect is rather too small than too large.

All classifiers are multilayer perceptrons trained together, as one batch of matrix products. They see theta as what a ridge regression on
x, fitted to truths and draws together, leaves of it: a spread that is wrong is then a plain thing to see, and swapping changes nothing.

Warning: a local test finds less than a global one from the same pairs; take thousands. A classifier that sees nothing proves nothing.

References:
    Linhart, Gramfort, Rodrigues 2023, L-C2ST: Local diagnostics for posterior approximations in simulation-based inference,
    https://arxiv.org/abs/2306.03580.
    Lopez-Paz, Oquab 2017, Revisiting classifier two-sample tests, https://arxiv.org/abs/1610.06545.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.diagnostics._calibration import CalibrationConfig, missing
from sbiwb.diagnostics._statistics import tail
from sbiwb.evidence import EvidenceKind, LC2STData, Value
from sbiwb.families import Count
from sbiwb.seeds import generator, torch_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Generator, Tensor

NAME = "lc2st_rms"
FEWEST = 50  # calibration pairs
MOST_DRAWS = 1_000  # of a data set: more do not change t
HIDDEN = 16
ROWS = 256  # pairs of a batch
RATE, DECAY = 3e-3, 2.0  # strong: weaker decay learns the pairs by heart and finds less
FARTHEST = 6.0  # standardised inputs are cut there
RIDGE = 1.0
QUIET = 0.5  # standard deviation of all inputs from x together: loud ones are learned by heart


class Config(CalibrationConfig):
    """Options of L-C2ST."""

    takes: ClassVar[EvidenceKind] = EvidenceKind.LOCAL

    tolerance: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest effect, the typical |d - 1/2| of the classifier, that warns only, where the check rejects.",
    )
    nulls: Count = Field(200, ge=20, le=10_000, description="Classifiers of the null.")
    steps: Count = Field(300, ge=10, description="Steps of training.")


@dataclass(frozen=True)
class Result:
    """The classifiers at M data sets.

    Args:
        labels: M data sets.
        statistic: t, (M,); NaN where not judged.
        null: t of each null classifier, (M, R).
        n: Calibration pairs.
        values: `lc2st_rms` of each data set, sqrt(t).
    """

    labels: tuple[str, ...]
    statistic: np.ndarray
    null: np.ndarray
    n: int
    values: tuple[Value, ...]

    definitions: ClassVar[dict[str, str]] = {
        NAME: (
            "root mean square of d - 1/2 over posterior draws of the data set, d the probability by a classifier of (theta, x) that it "
            "sees a truth; effect: the same with the mean square of the null taken off [Linhart et al. 2023]"
        )
    }


def compute(local: LC2STData, config: Config) -> Result:
    """Trains the classifiers, true and null, and asks them at each real data set."""
    trouble, own = _trouble(local), _own_troubles(local)
    judged = np.array([trouble is None and reason is None for reason in own], bool)
    found = np.full((len(own), config.nulls + 1), np.nan)
    if judged.any():
        found[judged] = _statistics(local, np.flatnonzero(judged), config)
    statistic, null = found[:, 0], found[:, 1:]
    values = tuple(
        missing(NAME, label, trouble or own[m] or "")
        if not judged[m]
        else _value(label, statistic[m], null[m])
        for m, label in enumerate(local.labels)
    )
    return Result(
        local.labels,
        statistic,
        null,
        len(local.z),
        values or (missing(NAME, "observations", "there is no real data set"),),
    )


def _trouble(local: LC2STData) -> str | None:
    """Why no data set can be judged."""
    n = len(local.z)
    if n < FEWEST:
        return f"{n} calibration pair{'' if n == 1 else 's'}: judging needs hundreds"
    bad = ~np.isfinite(np.hstack([local.z, local.draws, local.x])).all(axis=1)
    if bad.any():
        return (
            f"truth, draw or features are not finite in {int(bad.sum())} of {n} calibration pairs"
        )
    if not np.ptp(np.concatenate([local.z, local.draws]), axis=0).any():
        return "truths and draws are all the same: nothing to compare"
    return None


def _own_troubles(local: LC2STData) -> list[str | None]:
    """Why a data set cannot be judged, else None, M entries."""
    if len(local.labels) and not local.observed_draws.shape[1]:
        return ["there are no posterior draws of it"] * len(local.labels)
    fine = np.isfinite(local.observed_x).all(axis=1) & np.isfinite(local.observed_draws).all(
        axis=(1, 2)
    )
    return [None if good else "its features or posterior draws are not finite" for good in fine]


def _value(label: str, statistic: float, null: np.ndarray) -> Value:
    p, usual = float(tail(null, np.array([statistic]))[0]), null.mean()
    low, high = np.quantile(null - usual, [0.025, 0.975])
    effect, least, most = np.sqrt(np.maximum(0.0, statistic - usual - np.array([0.0, high, low])))
    said = (
        "a classifier tells draws from truths"
        if p <= 0.05
        else "the classifier does not tell draws from truths"
    )
    reason = f"{said}: off 1/2 by {np.sqrt(statistic):.3f}, by {np.sqrt(usual):.3f} where there is nothing to tell"
    return Value(
        NAME,
        label,
        float(np.sqrt(statistic)),
        p=p,
        effect=float(effect),
        effect_interval=(float(least), float(most)),
        reason=reason,
    )


def _statistics(local: LC2STData, rows: np.ndarray, config: Config) -> np.ndarray:
    """t of the true and the null classifiers (M, R + 1) at the real data sets `rows`, the true one first."""
    import torch

    inputs = _Inputs.of(local)
    rng = generator(local.seed, "bands", 2)
    truth, draw = (torch.from_numpy(inputs(z, local.x)) for z in (local.z, local.draws))
    classifiers = _train(truth, draw, rng, networks=config.nulls + 1, steps=config.steps)
    found = np.empty((len(rows), config.nulls + 1))
    with torch.no_grad():
        for at, m in enumerate(rows):
            draws = local.observed_draws[m]
            draws = draws[np.unique(np.linspace(0, len(draws) - 1, MOST_DRAWS).astype(int))]
            seen = inputs(
                draws, np.broadcast_to(local.observed_x[m], (len(draws), local.x.shape[1]))
            )
            found[at] = (
                ((torch.sigmoid(_logits(classifiers, torch.from_numpy(seen))) - 0.5) ** 2)
                .mean(dim=1)
                .double()
                .numpy()
            )
    return found


@dataclass(frozen=True)
class _Inputs:
    """(z, x) to the classifiers' inputs: what a ridge regression on x leaves of z, and x, each standardised."""

    centre_x: np.ndarray
    scale_x: np.ndarray
    slope: np.ndarray  # (H + 1, D)
    scale: np.ndarray  # (D,)

    @classmethod
    def of(cls, local: LC2STData) -> _Inputs:
        """From truths and draws together, so that swapping them changes nothing."""
        centre_x, scale_x = local.x.mean(axis=0), _spread(local.x)
        unit = cls._unit(local.x, centre_x, scale_x)
        middle = (local.z + local.draws) / 2
        penalty = RIDGE * np.eye(unit.shape[1])
        penalty[0, 0] = 1e-9
        slope = np.linalg.solve(unit.T @ unit + penalty, unit.T @ middle)
        left = np.concatenate([local.z, local.draws]) - np.concatenate([unit, unit]) @ slope
        return cls(centre_x, scale_x, slope, _spread(left))

    @staticmethod
    def _unit(x: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.hstack([np.ones((len(x), 1)), np.clip((x - centre) / scale, -FARTHEST, FARTHEST)])

    def __call__(self, z: np.ndarray, x: np.ndarray) -> np.ndarray:
        """z (n, D), x (n, H) to (n, D + H), float32."""
        unit = self._unit(x, self.centre_x, self.scale_x)
        left = np.clip((z - unit @ self.slope) / self.scale, -FARTHEST, FARTHEST)
        return np.hstack(
            [left, unit[:, 1:] * QUIET / max(1, self.slope.shape[0] - 1) ** 0.5]
        ).astype(np.float32)


def _spread(rows: np.ndarray) -> np.ndarray:
    """Standard deviation of each column; 1 where it is constant, rounding aside."""
    sd = rows.std(axis=0)
    return np.where(sd > 1e-9 * np.abs(rows).max(axis=0, initial=0.0), sd, 1.0)


def _train(
    truth: Tensor, draw: Tensor, rng: np.random.Generator, *, networks: int, steps: int
) -> list[Tensor]:
    """Weights of K classifiers that tell truths (N, I) from draws (N, I); all but the first see each pair swapped or not at random."""
    import torch

    n = len(truth)
    noise = torch.Generator().manual_seed(torch_seed(rng))
    sign = 1.0 - 2.0 * torch.randint(2, (networks, n), generator=noise)  # -1 where swapped
    sign[0] = 1.0
    weights = _initial(truth.shape[1], networks, noise)
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(n, (min(ROWS, n),), generator=noise)
        logits = _logits(weights, torch.cat([truth[rows], draw[rows]]))
        signs = torch.cat([sign[:, rows], -sign[:, rows]], dim=1)
        loss = torch.nn.functional.softplus(-signs * logits).mean(dim=1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return [weight.detach() for weight in weights]


def _initial(inputs: int, networks: int, noise: Generator) -> list[Tensor]:
    """Weights and biases of two hidden layers and an output that begins at 0, each with the networks first."""
    import torch

    def normal(*shape: int) -> Tensor:
        return (torch.randn(shape, generator=noise) * (2 / shape[-2]) ** 0.5).requires_grad_()

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape).requires_grad_()

    first, second = normal(networks, inputs, HIDDEN), normal(networks, HIDDEN, HIDDEN)
    return [
        first,
        zeros(networks, 1, HIDDEN),
        second,
        zeros(networks, 1, HIDDEN),
        zeros(networks, HIDDEN, 1),
        zeros(networks, 1, 1),
    ]


def _logits(weights: list[Tensor], inputs: Tensor) -> Tensor:
    """Logits (K, n) of all classifiers for the same inputs (n, I)."""
    import torch

    first, bias, second, bias_second, last, bias_last = weights
    hidden = torch.relu(inputs @ first + bias)
    hidden = torch.relu(torch.baddbmm(bias_second, hidden, second))
    return torch.baddbmm(bias_last, hidden, last).squeeze(2)


def plot(result: Result) -> Figure:
    """The classifier's distance from 1/2 at each data set, and that of the null classifiers."""
    from sbiwb.diagnostics import _grid

    heading = "L-C2ST: is the posterior right at your data?"
    judged = np.flatnonzero(np.isfinite(result.statistic))
    if not len(judged):
        return _grid.empty(heading, result.values[0].reason)
    order = sorted(judged, key=lambda m: result.values[m].p or 0.0)
    shown = np.sort(order[: _grid.MOST_ROWS])
    figure, axes = _grid.rows([result.labels[m] for m in shown])
    at, null = np.arange(len(shown)), np.sqrt(result.null[shown])
    low, middle, high = np.quantile(null, [0.025, 0.5, 0.975], axis=1)
    axes.hlines(at, low, high, color=_grid.SKY, lw=6)
    axes.plot(middle, at, "|", color=_grid.INK, ms=6)
    values = np.sqrt(result.statistic[shown])
    colors = [
        _grid.VERMILLION if (result.values[m].p or 0.0) <= 0.05 else _grid.BLUE for m in shown
    ]
    axes.scatter(values, at, s=22, color=colors, lw=0, zorder=3)
    axes.set(
        xlim=(0, 1.1 * max(float(values.max()), float(high.max()))),
        xlabel="root mean square of d - 1/2 over posterior draws",
    )
    left = (
        f"; the {len(shown)} most extreme of {len(judged)} data sets"
        if len(shown) < len(judged)
        else ""
    )
    note = f"{result.n} calibration pairs; bars: central 95 % of {null.shape[1]} null classifiers; red: p at most 0.05 alone{left}"
    _grid.finish(figure, heading, note)
    return figure
