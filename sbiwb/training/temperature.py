r"""The temperature of a flow: the scale of its noise, fitted to validation pairs.

    q_t(z | h) = sum_m w_m N(u_m; 0, t^2 I) |du_m/dz|

Its logarithm is the maximum of the pairs' log-density times a normal around 0, which matters where
pairs are few. Where each column has a scale of its own, theirs are drawn to the one of all columns.

References:
    Guo et al. (2017), On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

STEP = 0.04
LOG_TEMPERATURES = STEP * np.arange(-10, 11)
PRIOR_SD = 0.2  # of the logarithm
COLUMN_SD = 0.1  # of a column's logarithm around the one of all
ROUNDS = 20
MOST = 1.0  # size of a column's logarithm


def log_densities(squared: Tensor, log_det: Tensor, size: int, shares: Sequence[float]) -> Tensor:
    """Log-density of the mixture at each of K temperatures, (K, N) in float64.

    Args:
        squared: Squared length of the noise in each member, (M, N).
        log_det: Log-determinants, (M, N).
        size: D.
        shares: Of the members, (M,).
    """
    log_t = torch.from_numpy(LOG_TEMPERATURES).to(squared.device)[:, None, None]
    log_shares = torch.tensor(shares, dtype=torch.float64, device=squared.device).log()[:, None]
    constant = 0.5 * size * math.log(2 * math.pi)
    of_noise = -0.5 * squared.double() * (-2 * log_t).exp() - size * log_t - constant
    return torch.logsumexp(of_noise + log_det.double() + log_shares, dim=1)


def fitted(losses: np.ndarray, pairs: int) -> tuple[float, float]:
    """The logarithm of the temperature that does best, and its loss, by a parabola around it.

    Args:
        losses: Mean negative log-density at each temperature, (K,).
        pairs: N that it is the mean of.
    """
    if not np.isfinite(losses).all():
        return 0.0, math.nan
    penalised = losses + (LOG_TEMPERATURES / PRIOR_SD) ** 2 / (2 * pairs)
    best = int(np.clip(penalised.argmin(), 1, len(losses) - 2))
    around = slice(best - 1, best + 2)
    bend, slope, _ = np.polyfit([-1.0, 0.0, 1.0], penalised[around], 2)
    shift = float(np.clip(-slope / (2 * bend), -1, 1)) if bend > 0 else 0.0
    loss = np.polyval(np.polyfit([-1.0, 0.0, 1.0], losses[around], 2), shift)
    return float(LOG_TEMPERATURES[best] + STEP * shift), float(loss)


@dataclass(frozen=True)
class Noise:
    """The noise of a mixture's members at pairs, of which other processes may have more.

    Args:
        squares: Of the noise in each member and column, (M, D, N).
        log_det: Log-determinants, (M, N).
        shares: Of the members, (M,).
        pairs: How many all processes have.
        add_up: Makes a tensor the sum of that of all processes.
    """

    squares: Tensor
    log_det: Tensor
    shares: Sequence[float]
    pairs: int
    add_up: Callable[[Tensor], None]

    def scale_columns(self, around: float) -> tuple[Tensor, float]:
        """The logarithm of each column's scale (D,), by expectation maximisation, and the loss.

        Args:
            around: The one of all columns, where it starts.
        """
        log_scales = torch.full((self.squares.shape[1],), around, dtype=torch.float64)
        for _ in range(ROUNDS):
            mine = self._log_joint(log_scales).softmax(0)
            total = torch.einsum("mn,mdn->d", mine, self.squares.double())
            self.add_up(total)
            log_scales = _nearest(total.cpu() / self.pairs, around, self.pairs)
        density = torch.logsumexp(self._log_joint(log_scales), 0).sum()
        self.add_up(density)
        constant = len(log_scales) * 0.5 * math.log(2 * math.pi) + float(log_scales.sum())
        return log_scales, constant - float(density) / self.pairs

    def _log_joint(self, log_scales: Tensor) -> Tensor:
        """Of members and pairs, (M, N), less what is the same for all."""
        precision = (-2 * log_scales).exp().to(self.squares.device)
        of_noise = -0.5 * torch.einsum("mdn,d->mn", self.squares.double(), precision)
        log_shares = torch.tensor(self.shares, dtype=torch.float64, device=of_noise.device).log()
        return of_noise + self.log_det.double() + log_shares[:, None]


def _nearest(variances: Tensor, around: float, pairs: int) -> Tensor:
    """The most probable logarithms of scales, (D,), of noise with these mean squares over pairs.

    By Newton's method: minus log-probability is convex.
    """
    weight = 1 / (pairs * COLUMN_SD**2)
    log_scales = torch.full_like(variances, around)
    for _ in range(ROUNDS):
        wanted = variances * (-2 * log_scales).exp()
        slope = 1 - wanted + weight * (log_scales - around)
        log_scales = log_scales - (slope / (2 * wanted + weight)).clamp(-0.5, 0.5)
    return log_scales.clamp(-MOST, MOST)
