r"""The temperature of a flow: the scale of its noise, fitted to validation pairs.

    q_t(z | h) = sum_m w_m N(u_m; 0, t^2 I) |du_m/dz|

Its logarithm is the maximum of the pairs' log-density times a normal around 0, which matters where
pairs are few.

References:
    Guo et al. (2017), On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

STEP = 0.04
LOG_TEMPERATURES = STEP * np.arange(-10, 11)
PRIOR_SD = 0.2  # of the logarithm


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
