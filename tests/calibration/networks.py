"""A learned posterior and a learned likelihood that are nearly right, in closed form, and what can
be wrong with either.

The problem is that of `posteriors.py`, along the principal axes of V, where all is independent:

    theta ~ N(0, I),    x = theta + noise,    theta | x ~ N((I - V) x, V)    exactly.

The networks are q(theta | x) = N(mean, sd²) and l(x | theta) = N(x; theta + bias, noise²), each off
by errors of its own at every data set and axis. At theta = mean + sd z, each axis adds a quadratic
in z to c = log p + log l - log q, which is what `c` sums.

Shapes: N data sets, S draws, D axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tests.calibration.posteriors import CORRELATION, VARIANCE

EXACT_SD = np.sqrt(VARIANCE)
CORRELATED = CORRELATION.rho


@dataclass(frozen=True)
class Errors:
    """How far networks are off.

    Args:
        mean: Standard deviation of the error of a mean, in sds.
        log_sd: Standard deviation of the error of a log sd.
        size: That of the log of a factor on both, one for each data set and network: some data
            sets are harder than others.
    """

    mean: float
    log_sd: float
    size: float = 0.5

    def __str__(self) -> str:
        return f"{self.mean:g} sd, {100 * self.log_sd:g} %"


NONE, SMALL, USUAL, LARGE = Errors(0, 0), Errors(0.05, 0.05), Errors(0.1, 0.1), Errors(0.2, 0.15)


@dataclass(frozen=True)
class Fault:
    """What is wrong beside the errors; nothing by default.

    Args:
        name: As it stands in the tables.
        scale: Sd of the posterior, in what it would be.
        shift: Added to its mean, in exact sds, along each axis.
        noise: Sd of the likelihood's noise, in what it would be.
        prior: Whether the prior is shown as the posterior.
        uncorrelated: Whether the posterior leaves out the correlations of its columns.
        one: Whether only the first axis has the fault.
        gross: Whether it has to be found.
    """

    name: str
    scale: float = 1.0
    shift: float = 0.0
    noise: float = 1.0
    prior: bool = False
    uncorrelated: bool = False
    one: bool = False
    gross: bool = False


@dataclass(frozen=True)
class Networks:
    """Both at N data sets.

    Args:
        theta: What generated the data, (N, D).
        x: The data, (N, D).
        exact_sd: Of the exact posterior, (D,).
        mean: Of the posterior shown, (N, D).
        sd: Its standard deviations, (N, D).
        bias: Mean of x - theta by the likelihood shown, (N, D).
        noise: Standard deviation of x by the likelihood shown, (N, D).
    """

    theta: np.ndarray
    x: np.ndarray
    exact_sd: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    bias: np.ndarray
    noise: np.ndarray

    @property
    def z_true(self) -> np.ndarray:
        """The true theta in sds of the posterior shown, (N, D)."""
        return (self.theta - self.mean) / self.sd

    def c(self, z: np.ndarray) -> np.ndarray:
        """log p + log l - log q at theta = mean + sd z, z (N, S, D); (N, S)."""
        gap = (self.x - self.mean - self.bias) / self.noise
        ratio = self.sd / self.noise
        level = (np.log(ratio) - 0.5 * (self.mean**2 + gap**2 + np.log(2 * np.pi))).sum(1)
        slope = gap * ratio - self.mean * self.sd
        curve = 0.5 * (1 - self.sd**2 - ratio**2)
        linear = np.matmul(z, slope.astype(z.dtype)[:, :, None])
        square = np.matmul(np.square(z), curve.astype(z.dtype)[:, :, None])
        return level[:, None] + (linear + square)[:, :, 0]

    def draws(self, s: int, rng: np.random.Generator) -> np.ndarray:
        """S draws of the posterior shown, as z (N, S, D)."""
        return rng.standard_normal((*self.x.shape[:1], s, self.x.shape[1]), dtype=np.float32)

    def at(self, rows: slice | np.ndarray) -> Networks:
        shown = {name: getattr(self, name)[rows] for name in ("theta", "x", *SHOWN)}
        return replace(self, **shown)

    def with_fault(self, fault: Fault) -> Networks:
        """The same with something wrong."""
        sd, mean = self.sd * fault.scale, self.mean + fault.shift * self.exact_sd
        if fault.uncorrelated:
            sd = sd * EXACT_SD / self.exact_sd
        if fault.prior:
            sd, mean = np.ones_like(sd), np.zeros_like(mean)
        whole = replace(self, mean=mean, sd=sd, noise=self.noise * fault.noise)
        return self._on_first_axis(whole) if fault.one else whole

    def _on_first_axis(self, other: Networks) -> Networks:
        first = np.arange(self.x.shape[1]) == 0
        mixed = {name: np.where(first, getattr(other, name), getattr(self, name)) for name in SHOWN}
        return replace(self, **mixed)


SHOWN = ("mean", "sd", "bias", "noise")


def variances(d: int, rho: float) -> np.ndarray:
    """Of the exact posterior along its principal axes, (D,): the eigenvalues of `covariance`."""
    ratios = np.ones(d)
    ratios[0 : d - 1 : 2], ratios[1::2] = 1 + rho, 1 - rho
    return VARIANCE * ratios


def trained(
    n: int,
    d: int,
    rng: np.random.Generator,
    *,
    posterior: Errors = USUAL,
    likelihood: Errors = USUAL,
    rho: float = 0.0,
) -> Networks:
    """Both networks at N fresh data sets."""
    variance = variances(d, rho)
    exact_sd, exact_noise = np.sqrt(variance), np.sqrt(variance / (1 - variance))
    theta = rng.standard_normal((n, d))
    x = theta + exact_noise * rng.standard_normal((n, d))
    shift, scale = _off(posterior, (n, d), rng)
    bias, wider = _off(likelihood, (n, d), rng)
    return Networks(
        theta,
        x,
        exact_sd,
        mean=(1 - variance) * x + shift * exact_sd,
        sd=exact_sd * scale,
        bias=bias * exact_noise,
        noise=exact_noise * wider,
    )


def _off(
    errors: Errors, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Errors of means, in sds, and factors on sds, (N, D) each."""
    size = np.exp(errors.size * rng.standard_normal((shape[0], 1)))
    shift = errors.mean * size * rng.standard_normal(shape)
    return shift, np.exp(errors.log_sd * size * rng.standard_normal(shape))
