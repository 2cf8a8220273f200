r"""Squared maximum mean discrepancy between summaries and a standard normal distribution, with no
random numbers.

    MMD^2 = E k(x, x') - 2 E k(x, y) + E k(y, y'),   y, y' ~ N(0, I),
    k(x, y) = sum over s of exp(-|x - y|^2 / (2 s))

A Gaussian kernel against a Gaussian is a convolution, so the two expectations over y are known, for
H features:

    E k(x, y) = sum (s / (s + 1))^(H/2) exp(-|x|^2 / (2 (s + 1))),
    E k(y, y') = sum (s / (s + 2))^(H/2)

Each s is a multiple of H, for |y - y'|^2 is about 2 H.

References:
    Gretton et al. (2012), A Kernel Two-Sample Test, https://jmlr.org/papers/v13/gretton12a.html
    Schmitt et al. (2023), https://arxiv.org/abs/2112.08866
"""

from __future__ import annotations

import torch
from torch import Tensor

WIDTHS = (
    0.25,
    1.0,
    4.0,
    16.0,
)  # s / H: the widest still draws summaries home that begin 10 standard deviations away


def mmd_to_normal(features: Tensor) -> Tensor:
    """Unbiased estimate of MMD^2 between features (B, H) and N(0, I), a scalar; slightly negative
    where the two agree.

    It is at least float32, also under autocast. A single row, which has no pairs, is drawn to where
    N(0, I) is densest.
    """
    with torch.autocast(features.device.type, enabled=False):
        x = features.to(torch.promote_types(features.dtype, torch.float32))
        widths = x.shape[1] * x.new_tensor(WIDTHS)[:, None]
        return _among(x, widths) - 2 * _across(x, widths) + _within(x.shape[1], widths)


def _among(x: Tensor, widths: Tensor) -> Tensor:
    """Mean kernel over the pairs of different rows, summed over widths (K, 1)."""
    rows = len(x)
    first, second = torch.triu_indices(rows, rows, 1, device=x.device)
    distances = _squared_distances(x)[first, second]
    return torch.exp(-distances / (2 * widths)).sum() / max(1, len(first))


def _squared_distances(x: Tensor) -> Tensor:
    """|x - x'|^2 of all rows, (B, B); centred first, for rounding grows with |x|^2."""
    x = x - x.mean(0, keepdim=True)
    squares = x.square().sum(1)
    return (squares[:, None] + squares - 2 * x @ x.T).clamp(min=0)


def _across(x: Tensor, widths: Tensor) -> Tensor:
    """Mean over rows of the kernel's expectation against N(0, I), summed over widths."""
    level = 0.5 * x.shape[1] * torch.log(widths / (widths + 1))
    return torch.exp(level - x.square().sum(1) / (2 * (widths + 1))).mean(1).sum()


def _within(features: int, widths: Tensor) -> Tensor:
    """The kernel's expectation between two draws of N(0, I), summed over widths."""
    return torch.exp(0.5 * features * torch.log(widths / (widths + 2))).sum()
