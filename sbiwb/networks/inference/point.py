r"""Neural Bayes estimator: the posterior's mean, median or quantiles in microseconds, and no
density.

The estimate that minimizes the mean loss over simulated pairs is, for every h, the posterior's

    mean                    under |z - m|^2                               (`mse`)
    median of each column   under |z - m|                                 (`mae`)
    quantiles               under max(l (z - q_l), (l - 1) (z - q_l))     (`quantile`)

with l each of the levels, all of z, the standardized theta. A median or a quantile of z is carried
to that of theta, column by column; a mean is not where the map between them is curved. Quantiles
rise by construction, as a first one and positive gaps, and so never cross. Before training the
estimates are those of the standard normal, the prior.

Warning:
    Draws are not a joint posterior. Those of `mse` and `mae` are the estimate itself, each time;
    with uncertain weights they show what is uncertain about the estimate. Those of `quantile` have
    the right marginals, up to interpolation between the levels, and columns independent of each
    other.

References:
    Sainsbury-Dale, Zammit-Mangion & Huser (2024), Likelihood-Free Parameter Estimation with Neural
    Bayes Estimators, https://doi.org/10.1080/00031305.2023.2249522
    Koenker & Bassett (1978), Regression Quantiles, https://doi.org/10.2307/1913643
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, NoReturn

import torch
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from sbiwb.contracts import InferencePart, OutputKind
from sbiwb.contracts.network_modules import InferenceModule
from sbiwb.errors import ConfigError
from sbiwb.networks.inference._sizes import require_context
from sbiwb.networks.summary import _layers
from sbiwb.networks.summary._layers import Activation, Width

Level = Annotated[float, Field(gt=0, lt=1)]
_POWERS = {"mse": 2, "mae": 1}  # of the error in the loss


class Point(InferenceModule):
    """Estimates of z (B, D) given features (B, H); an abstract class.

    Args:
        net: From features to D L numbers, 0 at first.
        columns: D.
    """

    @property
    def output_kind(self) -> OutputKind:
        return OutputKind.ESTIMATE

    @property
    def likelihood(self) -> bool:
        return False

    def __init__(self, net: nn.Sequential, columns: int) -> None:
        super().__init__()
        self.net, self.columns = net, columns
        for parameter in net[-1].parameters():
            nn.init.zeros_(parameter)

    def estimate(self, features: Tensor) -> Tensor:
        """Estimates (B, D, L) given features (B, H)."""
        return self.net(features).unflatten(-1, (self.columns, -1))

    def loss(self, z: Tensor, features: Tensor) -> Tensor:
        """The loss of each pair of z (B, D) and features (B, H), summed over columns, (B,)."""
        raise NotImplementedError

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H); see the module's
        warning.
        """
        raise NotImplementedError

    def log_prob(self, z: Tensor, features: Tensor) -> NoReturn:
        """Refused.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "a point network gives estimates and has no density",
            where="model.inference.kind",
            todo=(
                "Use nsf, flow_matching or another density (see sbiwb parts), or leave out what "
                "needs one."
            ),
        )


class Single(Point):
    """One estimate a column (L = 1): the mean under squared errors, the median under absolute ones.

    Args:
        net: From features to D numbers.
        columns: D.
        power: Of the error in the loss, 2 or 1.
    """

    def __init__(self, net: nn.Sequential, columns: int, *, power: int) -> None:
        super().__init__(net, columns)
        self.power = power

    def loss(self, z: Tensor, features: Tensor) -> Tensor:
        return (z - self.estimate(features)[..., 0]).abs().pow(self.power).sum(-1)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        return self.estimate(features)[:, None, :, 0].expand(noise.shape).clone()


class Quantiles(Point):
    """L quantiles a column; a draw is the quantile function at the rank of its noise, linear
    between (and beyond) the normal scores.

    Args:
        net: From features to D L numbers: a shift of the lowest quantile, and gaps before softplus.
        columns: D.
        levels: L probabilities, rising.
    """

    @property
    def output_kind(self) -> OutputKind:
        return OutputKind.MARGINALS

    levels: Tensor
    scores: Tensor
    prior: Tensor

    def __init__(self, net: nn.Sequential, columns: int, *, levels: Sequence[float]) -> None:
        super().__init__(net, columns)
        exact = torch.tensor(levels, dtype=torch.float64)
        scores = torch.special.ndtri(exact)
        gaps = scores.diff().expm1().log()  # before softplus
        self._keep("levels", exact)
        self._keep("scores", scores)
        self._keep("prior", torch.cat([scores[:1], gaps]))

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.to(torch.get_default_dtype()), persistent=False)

    def estimate(self, features: Tensor) -> Tensor:
        """Quantiles (B, D, L) given features (B, H), rising along the last axis."""
        lowest, gaps = (super().estimate(features) + self.prior).tensor_split([1], -1)
        return torch.cat([lowest, nn.functional.softplus(gaps)], -1).cumsum(-1)

    def loss(self, z: Tensor, features: Tensor) -> Tensor:
        above = z[..., None] - self.estimate(features)
        return torch.maximum(self.levels * above, (self.levels - 1) * above).mean(-1).sum(-1)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        quantiles = self.estimate(features)[:, None].expand(*noise.shape, -1)
        slopes = quantiles.diff() / self.scores.diff()
        # the lowest for noise under it as well
        below = torch.searchsorted(self.scores[1:-1].contiguous(), noise.contiguous())[..., None]
        beyond = noise[..., None] - self.scores[below]
        return (quantiles.gather(-1, below) + slopes.gather(-1, below) * beyond)[..., 0]


class Config(InferencePart):
    """What is estimated, and the network."""

    loss: Literal["mse", "mae", "quantile"] = Field(
        "mse", description="What is estimated: mse the mean, mae the median, quantile the levels."
    )
    levels: Annotated[list[Level], Field(min_length=2, max_length=999)] = Field(
        [0.025, 0.25, 0.5, 0.75, 0.975],
        description="Probabilities of the quantiles, rising; for loss: quantile.",
    )
    hidden: Annotated[list[Width], Field(min_length=1, max_length=32)] = Field(
        [64, 64], description="Width of each hidden layer."
    )
    activation: Activation = Field("relu", description="Function after each hidden layer.")

    @field_validator("levels")
    @classmethod
    def _rise(cls, levels: list[float]) -> list[float]:
        for low, high in pairwise(levels):
            if high <= low:
                message = "levels must rise, and {low} stands before {high}"
                raise PydanticCustomError("levels", message, {"low": low, "high": high})
        return levels

    @property
    def output_kind(self) -> OutputKind:
        if self.loss == "quantile":
            return OutputKind.MARGINALS
        return OutputKind.ESTIMATE

    @property
    def theta_map(self) -> Literal["prior", "standardize"]:
        """A straight line for the mean, which is carried through no other map."""
        if self.loss == "mse":
            return "standardize"
        return "prior"

    @property
    def head_widths(self) -> list[int]:
        return self.hidden

    def build(self, features: int, context: int) -> Point:
        """The estimator of D columns given H features.

        Args:
            features: D.
            context: H.

        Raises:
            ConfigError: If there is no context.
        """
        require_context(context)
        if self.loss == "quantile":
            net = self._net(context, features * len(self.levels))
            return Quantiles(net, features, levels=self.levels)
        return Single(self._net(context, features), features, power=_POWERS[self.loss])

    def _net(self, context: int, outputs: int) -> nn.Sequential:
        return _layers.mlp(context, self.hidden, outputs, activation=self.activation)
