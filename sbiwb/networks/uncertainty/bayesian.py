r"""Bayesian weights: a normal distribution for every weight, so that draws also tell how unsure the
network is of itself.

    loss = E_w[-log q(z | x; w)] + kl_weight * KL(N(mean, sd^2) || N(0, prior_var)),
    w = mean + sd * noise

the evidence lower bound of the training data divided by their number N, with `kl_weight: auto` = 1
/ N. Posterior draws mix `weight_samples` draws of the weights. Patterns, their softly clipped
log-variances and the local trick are those of `zuko.bayesian`; a step without the local trick is
our own, one node of autograd over all weights side by side, three to four times faster.

Weights that share one draw in a step give noisier gradients than a draw for each row of the batch,
which the local trick has (for linear layers: its layers of nsf and lstm share a draw all the same).

References:
    Blundell et al. (2015), Weight Uncertainty in Neural Networks, https://arxiv.org/abs/1505.05424
    Kingma, Salimans & Welling (2015), Variational Dropout and the Local Reparameterization Trick,
    https://arxiv.org/abs/1506.02557
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from zuko.bayesian import BayesianModel
from zuko.nn import Linear, MaskedLinear

from sbiwb.contracts import OutputKind, UncertaintyPart
from sbiwb.contracts.network_modules import NetworkInputs, TrainableModule
from sbiwb.errors import ConfigError
from sbiwb.families import Count
from sbiwb.networks.estimator import Estimator
from sbiwb.networks.uncertainty._drawn_weights import DrawnWeights, softclip

VALIDATION_DRAWS = 4  # of the weights, which a validation mixes
SEED = 2**31 - 1  # of the draws of weights that validate, and that the posterior mixes
Pattern = Annotated[str, Field(pattern=r"^[\w.*]*$")]


class Bayesian(TrainableModule):
    """An estimator whose matched weights are means; the logarithms of their variances are one
    vector.

    Args:
        base: The estimator.
        names: Its parameters that are uncertain.
        init_logvar: Of all variances at first.
        prior_var: Variance of the weights' prior, around 0.
        kl_weight: What the divergence is multiplied by.
        local_trick: Whether linear layers draw their outputs row by row instead of their weights.
        weight_samples: Draws of the weights that the posterior mixes.
        about: What to tell people of it.
    """

    decays = False  # the divergence takes the place of weight decay

    @property
    def random(self) -> bool:
        return True

    def __init__(
        self,
        base: Estimator,
        names: Sequence[str],
        *,
        init_logvar: float,
        prior_var: float,
        kl_weight: float,
        local_trick: bool,
        weight_samples: int,
        about: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.base, self.uncertain, self.about = base, tuple(names), tuple(about)
        self.weight_samples, self.local_trick = weight_samples, local_trick
        self.prior_var, self.kl_weight = prior_var, kl_weight
        self.initial = float(softclip(torch.tensor(init_logvar))[0])
        self._owners = [_owner(base, name) for name in names]
        self.shapes = [mean.shape for mean in self._means()]
        self.sizes = [shape.numel() for shape in self.shapes]
        self.log_variance = nn.Parameter(torch.full((sum(self.sizes),), float(init_logvar)))

    @property
    def terms(self) -> tuple[str, ...]:
        return (*self.base.terms, "kl")

    @property
    def output_kind(self) -> OutputKind:
        return self.base.output_kind

    @property
    def likelihood(self) -> bool:
        return self.base.likelihood

    @property
    def begins(self) -> bool:
        return self.base.begins

    def begin(self, z: Tensor, inputs: NetworkInputs) -> None:
        self.base.begin(z, inputs)

    def forward(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        """In training under one draw of the weights, else under a mixture of a few of them."""
        if not self.training:
            return self._mixed(z, inputs)
        if self.local_trick:
            return self._with_local_trick(z, inputs)
        divergence, *weights = DrawnWeights.apply(self.log_variance, self.prior_var, *self._means())
        with self._holding(weights):
            objective, penalties = self.base(z, inputs)
        return objective, self._with_divergence(penalties, divergence)

    def _with_local_trick(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        model = self._zuko()
        with model.reparameterize(local_trick=True) as estimator:
            objective, penalties = estimator(z, inputs)
        return objective, self._with_divergence(penalties, model.kl_divergence(self.prior_var))

    def _with_divergence(self, penalties: Tensor, divergence: Tensor) -> Tensor:
        return torch.cat([penalties, self.kl_weight * divergence.reshape(1)])

    @torch.no_grad()
    def components(self) -> list[Estimator]:
        """Estimators with drawn weights, the same at every call and on every device."""
        estimators = []
        for weights in self._draws(self.weight_samples):
            estimator = copy.deepcopy(self.base)
            for name, weight in zip(self.uncertain, weights, strict=True):
                estimator.get_parameter(name).copy_(weight)
            estimators.append(estimator)
        return estimators

    def mixture(self) -> list[float]:
        return [1 / self.weight_samples] * self.weight_samples

    def log_variances(self) -> dict[str, Tensor]:
        """Learned log-variances of each parameter, by its name."""
        clipped = softclip(self.log_variance.detach())[0]
        return dict(zip(self.uncertain, clipped.split(self.sizes), strict=True))

    def _means(self) -> list[nn.Parameter]:
        return [owner._parameters[leaf] for owner, leaf in self._owners]  # type: ignore[misc]

    @contextmanager
    def _holding(self, weights: Sequence[Tensor]) -> Iterator[None]:
        """The base with these tensors in place of its uncertain parameters; torch's own way to do
        so takes a millisecond.
        """
        means = self._means()
        try:
            for (owner, leaf), weight in zip(self._owners, weights, strict=True):
                owner._parameters[leaf] = weight  # type: ignore[assignment]
            yield
        finally:
            for (owner, leaf), mean in zip(self._owners, means, strict=True):
                owner._parameters[leaf] = mean

    def _draws(self, count: int) -> Iterator[list[Tensor]]:
        """Draws of the uncertain parameters, always the same; their noise is made on the CPU, for
        each device has numbers of its own.
        """
        deviation = (0.5 * softclip(self.log_variance)[0]).exp()
        noise = torch.Generator().manual_seed(SEED)
        for _ in range(count):
            move = deviation * torch.randn(len(deviation), generator=noise).to(deviation)
            yield _added(self._means(), move.split(self.sizes))

    def _mixed(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        draws = []
        for weights in self._draws(VALIDATION_DRAWS):
            with self._holding(weights):
                draws.append(self.base(z, inputs)[0])
        return self._mixture_of(torch.stack(draws)), z.new_zeros(len(self.terms))

    def _mixture_of(self, objectives: Tensor) -> Tensor:
        """The objective (B,) of the mixture of draws, from theirs (S, B)."""
        if not self.likelihood:
            return objectives.mean(0)
        return torch.logsumexp(objectives, 0) - math.log(VALIDATION_DRAWS)

    def _zuko(self) -> BayesianModel:
        """zuko's model of the same estimator, with these very means and log-variances."""
        model = BayesianModel(self.base, include_params=())
        del model.means, model.logvars
        keys = [name.replace(".", "-") for name in self.uncertain]
        pieces = self.log_variance.split(self.sizes)
        model.means = dict(zip(keys, self._means(), strict=True))
        model.logvars = {}
        for key, piece, shape in zip(keys, pieces, self.shapes, strict=True):
            model.logvars[key] = piece.view(shape)
        return model


def _owner(base: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds a parameter, and its name there."""
    module, _, leaf = name.rpartition(".")
    return base.get_submodule(module), leaf


def _added(means: Sequence[Tensor], moves: Sequence[Tensor]) -> list[Tensor]:
    """Each mean with its move, which is flat."""
    return [mean + move.view_as(mean) for mean, move in zip(means, moves, strict=True)]


class Config(UncertaintyPart):
    """Which weights are uncertain, how much at first, and what holds them near 0."""

    init_logvar: float = Field(
        -9.0, ge=-17, le=5, description="Logarithm of every weight's variance at first."
    )
    include_params: Annotated[list[Pattern], Field(min_length=1)] = Field(
        [""],
        description=(
            "Beginnings of the names of uncertain parameters; * stands for one part of a name, ** "
            "for several; default: all."
        ),
    )
    exclude_params: list[Pattern] = Field(
        [], description="Beginnings of the names of parameters that are not uncertain after all."
    )
    prior_var: float = Field(
        1.0, gt=0, description="Variance of the normal prior of every weight, around 0."
    )
    local_trick: bool = Field(
        False,
        description=(
            "Whether linear layers draw outputs row by row (less noisy gradients, steps several "
            "times slower) or weights."
        ),
    )
    kl_weight: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description=(
            "Factor of the divergence of the weights from their prior; auto: 1 / training pairs."
        ),
    )
    weight_samples: Count = Field(
        20, ge=1, le=1000, description="Draws of the weights that posterior draws mix."
    )

    def build(self, make: Callable[[int], Estimator], pairs: int) -> Bayesian:
        """What is trained.

        Args:
            make: The untrained network of a member, by its number.
            pairs: Training pairs N.

        Raises:
            ConfigError: A pattern matches no parameter, or none is left.
        """
        base = make(0)
        sizes = {name: parameter.numel() for name, parameter in base.named_parameters()}
        about = self._matches(base, sizes)
        names = self._uncertain(base, sizes)
        about += [*_shares(names, sizes), *self._reached(base, names)]
        return Bayesian(
            base,
            names,
            init_logvar=self.init_logvar,
            prior_var=self.prior_var,
            kl_weight=self._factor(pairs),
            local_trick=self.local_trick,
            weight_samples=self.weight_samples,
            about=about,
        )

    def _factor(self, pairs: int) -> float:
        """What the divergence is multiplied by."""
        if self.kl_weight == "auto":
            return 1 / pairs
        return float(self.kl_weight)

    def _matches(self, base: nn.Module, sizes: Mapping[str, int]) -> list[str]:
        """What each pattern matches, in words."""
        sentences = []
        patterns = {"include_params": self.include_params, "exclude_params": self.exclude_params}
        for key, pattern in _pairs(patterns):
            names = _names(BayesianModel(base, include_params=[pattern]))
            if not names:
                what = f"model.uncertainty.{key}  '{pattern}' matches no parameter"
                raise ConfigError(what, todo=f"There are: {', '.join(sizes)}.")
            weights = sum(sizes[name] for name in names)
            sentences.append(f"{key} '{pattern}': {len(names)} parameters, {weights:,} weights.")
        return sentences

    def _uncertain(self, base: nn.Module, sizes: Mapping[str, int]) -> list[str]:
        """Names of the uncertain parameters."""
        names = _names(
            BayesianModel(
                base, include_params=self.include_params, exclude_params=self.exclude_params
            )
        )
        if not names:
            what = "model.uncertainty  excludes every parameter that it includes"
            raise ConfigError(what, todo=f"There are: {', '.join(sizes)}.")
        return names

    def _reached(self, base: nn.Module, names: Sequence[str]) -> list[str]:
        """How many weights the local trick reaches, in words.

        Those of linear layers, but not of nsf and recurrent networks, which have none.
        """
        if not self.local_trick:
            return []
        reached = 0
        for name in names:
            module, _ = _owner(base, name)
            if type(module) in (nn.Linear, Linear, MaskedLinear):
                reached += base.get_parameter(name).numel()
        if not reached:
            raise ConfigError(
                "model.uncertainty.local_trick  reaches none of the uncertain weights: no linear "
                "layer has any",
                todo="Use local_trick: false.",
            )
        return [f"The local trick reaches {reached:,} of them; the others share one draw a step."]


def _pairs(patterns: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Each pattern with the key under which it stands."""
    for key, values in patterns.items():
        for value in values:
            yield key, value


def _shares(names: Sequence[str], sizes: Mapping[str, int]) -> list[str]:
    """How many of all weights are uncertain, in words."""
    uncertain, all_weights = sum(sizes[name] for name in names), sum(sizes.values())
    sentences = [
        f"Uncertain: {uncertain:,} of {all_weights:,} weights, "
        f"in {len(names)} of {len(sizes)} parameters."
    ]
    if uncertain < all_weights:
        sentences.append("The others have no weight decay.")
    return sentences


def _names(model: BayesianModel) -> list[str]:
    return [key.replace("-", ".") for key in model.means]
