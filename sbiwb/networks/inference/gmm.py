r"""Mixture density network: a mixture of normal distributions whose weights, means and covariances
depend on the features.

    q(z | h) = sum_k w_k(h) N(z; mu_k(h), L_k(h) L_k(h)^T)

The first noise number of a draw also chooses its component: Phi(noise) falls into one of K
stretches of length w_k, and its place there is again uniform. Draws are exact and cost one
evaluation; they jump where the component changes. An untrained network is close to the standard
normal.

References:
    Bishop (1994), Mixture Density Networks, https://publications.aston.ac.uk/id/eprint/373/
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from zuko.distributions import Mixture
from zuko.mixtures import GMM

from sbiwb.contracts.network_modules import InferenceModule
from sbiwb.networks.inference._zuko import ACTIVATIONS, FlowConfig

SPREAD = 0.5  # of the means at first; the components' variance makes it up to 1


class Normals(InferenceModule):
    """Density of z (B, D) given features (B, H).

    Args:
        gmm: zuko's mixture of K normals.
    """

    def __init__(self, gmm: GMM) -> None:
        super().__init__()
        self.gmm = gmm
        self._begin()

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,)."""
        return self.gmm(features).log_prob(z)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H)."""
        mixture = self.gmm(features)
        component, first = _choose(mixture, noise[..., 0])
        noise = torch.cat([first[..., None], noise[..., 1:]], dim=-1)
        row = torch.arange(len(noise), device=noise.device)[:, None]
        scale = self._scale(mixture)[row, component]
        return mixture.base.mean[row, component] + (scale @ noise[..., None])[..., 0]

    def _scale(self, mixture: Mixture) -> Tensor:
        """L of each component, (N, K, D, D)."""
        normals = mixture.base
        if self.gmm.covariance_type == "full":
            scale = normals.scale_tril
        else:
            scale = normals.stddev.diag_embed()
        return scale.expand(*normals.batch_shape, -1, -1)

    @torch.no_grad()
    def _begin(self) -> None:
        """Means apart, everything else alike, nothing depending on the features."""
        last = self.gmm.hyper[-1]
        last.weight.zero_()
        logits, means, scales, *rest = (math.prod(shape) for shape in self.gmm.shapes)
        log_scale = 0.5 * math.log(1 - SPREAD**2)
        biases = [
            torch.zeros(logits),
            SPREAD * torch.randn(means),
            torch.full((scales,), log_scale),
            *map(torch.zeros, rest),
        ]
        last.bias.copy_(torch.cat(biases))


def _choose(mixture: Mixture, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The component of each noise number (N, S), and the standard normal number left of it.

    In float64, for its tails.
    """
    weights = mixture.logits.double().softmax(-1)
    ends, u = weights.cumsum(-1), torch.special.ndtr(noise.double())
    component = (ends[:, None, :-1] <= u[..., None]).sum(-1)
    start, length = (ends - weights).gather(1, component), weights.gather(1, component)
    share = ((u - start) / length).clamp(1e-300, 1 - 1e-16)
    return component, torch.special.ndtri(share).to(noise)


class Config(FlowConfig):
    """Components, and the network that sets them."""

    components: int = Field(10, ge=1, le=1024, description="Normal distributions in the mixture.")
    covariance: Literal["full", "diagonal", "spherical"] = Field(
        "full", description="Shape of each component's covariance."
    )

    def make(self, features: int, context: int) -> Normals:
        gmm = GMM(
            features,
            context,
            components=self.components,
            covariance_type=self.covariance,
            hidden_features=self.hidden,
            activation=ACTIVATIONS[self.activation],
        )
        return Normals(gmm)
