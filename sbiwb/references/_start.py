r"""Where Markov chains begin: a draw of the prior, a draw of the amortized posterior, or around the
mode.

The mode is that of the density of z. Where theta's map to z is affine (normal priors) it is the
maximum a posteriori of theta as well; elsewhere theta's own density has its maximum at another
point, for densities change with the units and modes with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from scipy.optimize import minimize

from sbiwb.contracts import Target
from sbiwb.errors import DataError

Start = Literal["map", "prior", "amortized"]
Slope = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

ROUNDS = 100  # of drawing again where the density is zero
ROUND = 64  # draws in a round, at least
CANDIDATES = 256  # draws whose best begin the search for the mode
CLIMBS = 8
HUGE = 1e30  # instead of infinity, which an optimiser cannot subtract
MODE_WIDENING = 1.5  # sd of the starts around the mode, in sd of the normal approximation there
MIN_CURVATURE = (
    0.01  # curvature at the mode, in 1/z², below which a direction says nothing about its width
)


def density(target: Target, z: np.ndarray) -> np.ndarray:
    """log p(z) of z (N, D), (N,), without a graph; NaN counts as impossible."""
    with torch.no_grad():
        values = target.log_density(torch.from_numpy(z)).numpy()
    return np.where(np.isnan(values), -np.inf, values)


def starts(target: Target, start: Start, n: int, rng: np.random.Generator) -> np.ndarray:
    """n points z (n, D) of finite density.

    Raises:
        DataError: There is no amortized posterior, or hardly a point has a finite density.
    """
    if start == "map":
        return _finite(target, _around_mode(target, rng), n, "around the mode")
    return _finite(target, _drawer(target, start, rng), n, f"of the {start}")


def map_point(target: Target, rng: np.random.Generator) -> np.ndarray:
    """The mode z (D,): the best of several climbs by L-BFGS, from the likeliest of many draws of
    the prior and the amortized posterior.

    Where the density has no gradient, central differences stand in for it.

    Raises:
        DataError: No draw has a finite density.
    """
    names: list[Start] = ["prior"] if target.amortized is None else ["prior", "amortized"]
    drawn = []
    for name in names:
        draw = _drawer(target, name, rng)
        drawn.append(_finite(target, draw, CANDIDATES, f"of the {name}"))
    candidates = np.concatenate(drawn)
    best = candidates[np.argsort(-density(target, candidates))[:CLIMBS]]
    slope = slope_of(target, best)
    tops = np.stack([_climb(slope, point) for point in best])
    return tops[np.argmax(density(target, tops))]


def slope_of(target: Target, z: np.ndarray) -> Slope:
    """The function from points (N, D) to their log-density (N,) and its gradient (N, D); `z` (N, D)
    are points to try it at."""
    if has_gradient(target, z):
        return _automatic(target)
    return _differences(target)


def has_gradient(target: Target, z: np.ndarray) -> bool:
    """Whether torch can differentiate the density at points z (N, D), to finite numbers."""
    try:
        gradients = _automatic(target)(z)[1]
    except (RuntimeError, NotImplementedError):
        return False
    return bool(np.isfinite(gradients).all())


def _drawer(target: Target, start: Start, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    if start == "prior":
        return lambda n: target.prior(n, rng)
    if target.amortized is None:
        raise DataError(
            "there is no amortized posterior to start from",
            where="start: amortized",
            todo="Train the network first (sbiwb train), or choose start: prior or start: map.",
        )
    sample = target.amortized.sample
    return lambda n: sample(n, rng)


def _finite(target: Target, draw: Callable[[int], np.ndarray], n: int, what: str) -> np.ndarray:
    """The first n draws of finite density, (n, D)."""
    finite: list[np.ndarray] = []
    for _ in range(ROUNDS):
        points = np.ascontiguousarray(draw(max(n, ROUND)), np.float64)
        finite.append(points[np.isfinite(density(target, points))])
        if sum(map(len, finite)) >= n:
            return np.concatenate(finite)[:n]
    raise DataError(
        f"only {sum(map(len, finite))} of {ROUNDS * max(n, ROUND):,} draws {what} have a finite "
        f"log-density; {n} are needed to start",
        where="start of the chains",
        todo="Check the log-density at plausible parameters, narrow the prior, or choose another "
        "`start`: map, prior or amortized.",
    )


def _around_mode(target: Target, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """Draws of the normal approximation at the mode, somewhat widened, so that R-hat can see chains
    that do not meet."""
    mode = map_point(target, rng)
    curvature, axes = np.linalg.eigh(_precision(slope_of(target, mode[None]), mode))
    sd = MODE_WIDENING / np.sqrt(np.where(curvature > MIN_CURVATURE, curvature, 1.0))
    return lambda n: mode + (sd * rng.standard_normal((n, len(mode)))) @ axes.T


def _precision(slope: Slope, z: np.ndarray, width: float = 1e-3) -> np.ndarray:
    """Minus the matrix of second derivatives at z (D,), (D, D), by central differences of the
    gradient; zero where undefined."""
    step = width * np.eye(len(z))
    gradients = slope(np.concatenate([z + step, z - step]))[1]
    matrix = -(gradients[: len(z)] - gradients[len(z) :]) / (2 * width)
    return np.nan_to_num(matrix + matrix.T, nan=0.0, posinf=0.0, neginf=0.0) / 2


def _climb(slope: Slope, z: np.ndarray) -> np.ndarray:
    """The top of the hill on which z (D,) stands."""

    def descent(point: np.ndarray) -> tuple[float, np.ndarray]:
        values, gradients = slope(point[None])
        if np.isfinite(values).all() and np.isfinite(gradients).all():
            return -values[0], -gradients[0]
        return HUGE, np.zeros_like(point)

    return minimize(descent, z, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x


def _automatic(target: Target) -> Slope:
    def slope(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = torch.from_numpy(z).requires_grad_()
        with torch.enable_grad():
            values = target.log_density(points)
            (gradient,) = torch.autograd.grad(values.sum(), points)
        return values.detach().numpy(), gradient.numpy()

    return slope


def _differences(target: Target, width: float = 1e-4) -> Slope:
    def slope(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, d = z.shape
        step = width * np.eye(d)
        points = np.concatenate([z[:, None] + step, z[:, None] - step], axis=1)
        around = density(target, points.reshape(-1, d)).reshape(n, 2, d)
        with np.errstate(invalid="ignore"):
            return density(target, z), (around[:, 0] - around[:, 1]) / (2 * width)

    return slope
