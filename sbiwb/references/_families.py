r"""Families of densities that variational inference chooses from, each of them the standard normal,
or close to it, before training.

A family gives draws that are smooth in its parameters (reparameterised), each with its share of the
whole. Of a mixture

    q(u) = sum_k w_k N(u; m_k, L_k L_k^T)

every component gets the same number of draws, and each of them the share w_k / number: expectations
are then smooth in the weights as well, with no gradient through a random choice.

Shapes: S draws, D columns, K components. Everything is float64.

References:
    Kingma & Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
    Roeder, Wu & Duvenaud (2017), Sticking the Landing, https://arxiv.org/abs/1703.09194 (section 4,
        on mixtures)
    Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import zuko
from torch import Tensor, nn

LOG_2_PI = math.log(2 * math.pi)
SPREAD = 0.9  # of the means of a mixture at first; the components' variance makes it up to 1


class Approximation(nn.Module, ABC):
    """A density of u (S, D); as a function it is log q(u), (S,)."""

    @abstractmethod
    def forward(self, u: Tensor) -> Tensor:
        """log q(u) of u (S, D), (S,)."""

    @abstractmethod
    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """About n reparameterised draws (S, D) and the share of each, (S,), which sum to 1."""

    def sample(self, n: int) -> Tensor:
        """n independent draws, (n, D), without gradient."""
        with torch.no_grad():
            return self.draw(n)[0]


class NormalApproximation(Approximation):
    """N(m, L L^T) with m (D,) and L (D, D)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(d, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.zeros(d, dtype=torch.float64))

    @abstractmethod
    def place(self, noise: Tensor) -> Tensor:
        """m + L noise, (S, D)."""

    @abstractmethod
    def noise(self, u: Tensor) -> Tensor:
        """The way back."""

    def forward(self, u: Tensor) -> Tensor:
        return -0.5 * (self.noise(u).square() + LOG_2_PI).sum(-1) - self.log_scale.sum()

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        return self.place(torch.randn(n, len(self.mean), dtype=torch.float64)), _equal(n)

    def nodes(self) -> tuple[Tensor, Tensor]:
        """2 D² + 1 places and their shares, by which expectations of polynomials up to degree 5 are
        exact."""
        noise, share = cubature(len(self.mean))
        return self.place(noise), share

    def entropy(self) -> Tensor:
        """-E[log q]."""
        return self.log_scale.sum() + 0.5 * len(self.mean) * (1 + LOG_2_PI)


class MeanField(NormalApproximation):
    """A normal distribution whose columns are independent: L is diagonal."""

    def place(self, noise: Tensor) -> Tensor:
        return self.mean + self.log_scale.exp() * noise

    def noise(self, u: Tensor) -> Tensor:
        return (u - self.mean) * (-self.log_scale).exp()


class FullRank(NormalApproximation):
    """Any normal distribution: L is lower triangular."""

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self.below = nn.Parameter(torch.zeros(d, d, dtype=torch.float64))

    def place(self, noise: Tensor) -> Tensor:
        return self.mean + noise @ _triangle(self.log_scale, self.below).mT

    def noise(self, u: Tensor) -> Tensor:
        scale = _triangle(self.log_scale, self.below)
        return torch.linalg.solve_triangular(scale, (u - self.mean).mT, upper=False).mT


class Mixture(Approximation):
    """A mixture of K normal distributions with any covariances, which begins with equal weights and
    means drawn at random."""

    def __init__(self, d: int, components: int) -> None:
        super().__init__()
        k = components
        self.logits = nn.Parameter(torch.zeros(k, dtype=torch.float64))
        self.mean = nn.Parameter(SPREAD * torch.randn(k, d, dtype=torch.float64))
        self.log_scale = nn.Parameter(
            torch.full((k, d), 0.5 * math.log(1 - SPREAD**2), dtype=torch.float64)
        )
        self.below = nn.Parameter(torch.zeros(k, d, d, dtype=torch.float64))

    def forward(self, u: Tensor) -> Tensor:
        noise = torch.linalg.solve_triangular(
            _triangle(self.log_scale, self.below), (u - self.mean[:, None]).mT, upper=False
        )
        each = -0.5 * (noise.square() + LOG_2_PI).sum(1) - self.log_scale.sum(-1, keepdim=True)
        return (self.logits.log_softmax(0)[:, None] + each).logsumexp(0)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        k, d = self.mean.shape
        each = max(1, n // k)
        noise = torch.randn(k, each, d, dtype=torch.float64)
        u = self.mean[:, None] + noise @ _triangle(self.log_scale, self.below).mT
        return u.flatten(0, 1), self.logits.softmax(0).repeat_interleave(each) / each

    def sample(self, n: int) -> Tensor:
        with torch.no_grad():
            chosen = torch.multinomial(self.logits.softmax(0), n, replacement=True)
            noise = torch.randn(n, self.mean.shape[1], dtype=torch.float64)
            scale = _triangle(self.log_scale, self.below)[chosen]
            return self.mean[chosen] + (scale @ noise[..., None])[..., 0]


class Spline(Approximation):
    """A neural spline flow, followed by an affine map that carries its [-5, 5] to where it is
    needed.

    Args:
        d: D.
        transforms: Spline transforms, the order of the columns reversed after each.
        passes: Steps to draw: 2 for coupling, None for one a column.
        hidden: Width of each hidden layer of every transform's network.
    """

    def __init__(
        self, d: int, *, transforms: int, passes: int | None, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.flow = zuko.flows.NSF(
            d, context=1, transforms=transforms, passes=passes, hidden_features=hidden
        ).double()
        self.affine = FullRank(d)
        for transform in self.flow.transform.transforms:
            for parameter in transform.hyper[-1].parameters():
                nn.init.zeros_(parameter)
        self.register_buffer("context", torch.ones(1, dtype=torch.float64))

    def forward(self, u: Tensor) -> Tensor:
        return self.flow(self.context).log_prob(self.affine.noise(u)) - self.affine.log_scale.sum()

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        return self.affine.place(self.flow(self.context).rsample((n,))), _equal(n)


def cubature(d: int) -> tuple[Tensor, Tensor]:
    """Nodes (2 D² + 1, D) and weights that integrate polynomials of total degree 5 against the
    standard normal exactly.

    Warning: the weights of 2 D of the nodes are negative beyond D = 4, so that it is no use for a
        function that is no such polynomial.

    References:
        Jia, Xin & Cheng (2013), High-degree cubature Kalman filter,
            https://doi.org/10.1016/j.automatica.2012.11.014
    """
    units = torch.eye(d, dtype=torch.float64)
    i, j = torch.triu_indices(d, d, offset=1)
    pairs = torch.cat([units[i] + units[j], units[i] - units[j]])
    far, near = math.sqrt(d + 2) * units, math.sqrt((d + 2) / 2) * pairs
    nodes = torch.cat([torch.zeros(1, d, dtype=torch.float64), far, -far, near, -near])
    counts = torch.tensor([1, 2 * d, 2 * len(near)])
    weights = [2 / (d + 2), (4 - d) / (2 * (d + 2) ** 2), (d + 2) ** -2]
    return nodes, torch.tensor(weights, dtype=torch.float64).repeat_interleave(counts)


def _equal(n: int) -> Tensor:
    return torch.full((n,), 1 / n, dtype=torch.float64)


def _triangle(log_scale: Tensor, below: Tensor) -> Tensor:
    """L (..., D, D) of the logarithm of its diagonal (..., D) and what is below it."""
    return below.tril(-1) + log_scale.exp().diag_embed()
