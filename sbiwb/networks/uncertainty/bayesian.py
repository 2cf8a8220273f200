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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from zuko.bayesian import BayesianModel
from zuko.nn import Linear, MaskedLinear

from sbiwb.contracts import OutputKind, UncertaintyPart
from sbiwb.contracts.modules import NetworkInputs, TrainableModule
from sbiwb.errors import ConfigError
from sbiwb.families import Count
from sbiwb.networks.estimator import Estimator

BOUND = 18.0  # beyond which zuko clips log-variances softly
VALIDATED = 4  # draws of the weights that a validation mixes
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
        self.base, self.uncertain, self.weight_samples, self.about = (
            base,
            tuple(names),
            weight_samples,
            tuple(about),
        )
        self.initial = float(_softclip(torch.tensor(init_logvar))[0])
        self.prior_var, self.kl_weight, self.local_trick = prior_var, kl_weight, local_trick
        self.shapes = [base.get_parameter(name).shape for name in names]
        self._owners = [
            (base.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names
        ]
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

    def forward(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        """In training under one draw of the weights, with all penalties; else under a mixture of a
        few, always the same.
        """
        if not self.training:
            return self._mixed(z, inputs)
        if self.local_trick:
            model = self._zuko()
            with model.reparameterize(local_trick=True) as estimator:
                objective, penalties = estimator(z, inputs)
            divergence = model.kl_divergence(self.prior_var)
        else:
            divergence, *weights = _Drawn.apply(self.log_variance, self.prior_var, *self._means())
            with self._holding(weights):
                objective, penalties = self.base(z, inputs)
        return objective, torch.cat([penalties, self.kl_weight * divergence.reshape(1)])

    @torch.no_grad()
    def components(self) -> list[Estimator]:
        """Estimators with drawn weights, the same at every call and on every device."""
        found = []
        for weights in self._draws(self.weight_samples):
            found.append(copy.deepcopy(self.base))
            for name, weight in zip(self.uncertain, weights, strict=True):
                found[-1].get_parameter(name).copy_(weight)
        return found

    def mixture(self) -> list[float]:
        return [1 / self.weight_samples] * self.weight_samples

    def log_variances(self) -> dict[str, Tensor]:
        """Learned log-variances of each parameter, by its name."""
        clipped = _softclip(self.log_variance.detach())[0]
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
        deviation = (0.5 * _softclip(self.log_variance)[0]).exp()
        noise = torch.Generator().manual_seed(SEED)
        for _ in range(count):
            moves = (deviation * torch.randn(len(deviation), generator=noise).to(deviation)).split(
                self.sizes
            )
            yield [
                mean + move.view_as(mean) for mean, move in zip(self._means(), moves, strict=True)
            ]

    def _mixed(self, z: Tensor, inputs: NetworkInputs) -> tuple[Tensor, Tensor]:
        found = []
        for weights in self._draws(VALIDATED):
            with self._holding(weights):
                found.append(self.base(z, inputs)[0])
        mixed = (
            torch.logsumexp(torch.stack(found), 0) - math.log(VALIDATED)
            if self.likelihood
            else torch.stack(found).mean(0)
        )
        return mixed, z.new_zeros(len(self.terms))

    def _zuko(self) -> BayesianModel:
        """zuko's model of the same estimator, with these very means and log-variances."""
        model = BayesianModel(self.base, include_params=())
        del model.means, model.logvars
        keys = [name.replace(".", "-") for name in self.uncertain]
        pieces = zip(self.log_variance.split(self.sizes), self.shapes, strict=True)
        model.means = dict(zip(keys, self._means(), strict=True))
        model.logvars = dict(zip(keys, (piece.view(shape) for piece, shape in pieces), strict=True))
        return model


class _Drawn(torch.autograd.Function):
    """The divergence of all weights from their prior, and one draw of each parameter, with
    gradients in closed form.

    Passes over memory are what it costs, so there are as few as can be: sums of squares are dot
    products, and gradients are made in place.
    """

    @staticmethod
    def forward(
        ctx: Any, log_variance: Tensor, prior_var: float, *means: Tensor
    ) -> tuple[Tensor, ...]:
        mean = torch.cat([one.reshape(-1) for one in means])
        clipped, shrink = _softclip(log_variance)
        total = clipped.sum()
        deviation = clipped.mul_(0.5).exp_()
        noise = torch.randn_like(mean)
        drawn = torch.addcmul(mean, deviation, noise)
        divergence = 0.5 * (
            (mean.dot(mean) + deviation.dot(deviation)) / prior_var
            - total
            + len(mean) * (math.log(prior_var) - 1)
        )
        ctx.save_for_backward(mean, deviation, noise, shrink)
        ctx.prior_var, ctx.sizes = prior_var, [one.numel() for one in means]
        return divergence, *(
            piece.view_as(one) for piece, one in zip(drawn.split(ctx.sizes), means, strict=True)
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, *grads: Tensor) -> tuple[Tensor | None, ...]:
        mean, deviation, noise, shrink = ctx.saved_tensors
        g_drawn = torch.cat([one.reshape(-1) for one in grads])
        g_clipped = (
            noise.mul_(g_drawn)
            .addcmul_(deviation, grad / ctx.prior_var)
            .mul_(deviation)
            .sub_(grad)
            .mul_(0.5)
        )
        g_log_variance = g_clipped.mul_(shrink).mul_(shrink).mul_(shrink)
        g_mean = g_drawn.addcmul_(mean, grad / ctx.prior_var)
        return (
            g_log_variance,
            None,
            *(
                piece.view_as(one)
                for piece, one in zip(g_mean.split(ctx.sizes), grads, strict=True)
            ),
        )


def _softclip(raw: Tensor) -> tuple[Tensor, Tensor]:
    """zuko's soft clip of log-variances, x / sqrt(1 + (x / BOUND)^2), and the factor of x; the cube
    of that is the derivative.
    """
    shrink = torch.addcmul(raw.new_ones(()), raw, raw, value=BOUND**-2).rsqrt_()
    return raw * shrink, shrink


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
        names, about = self._matched(base)
        return Bayesian(
            base,
            names,
            init_logvar=self.init_logvar,
            prior_var=self.prior_var,
            kl_weight=1 / pairs if self.kl_weight == "auto" else float(self.kl_weight),
            local_trick=self.local_trick,
            weight_samples=self.weight_samples,
            about=about,
        )

    def _matched(self, base: nn.Module) -> tuple[list[str], list[str]]:
        """Names of the uncertain parameters; and in words, what each pattern matches."""
        sizes = {name: parameter.numel() for name, parameter in base.named_parameters()}
        told = []
        for key in ("include_params", "exclude_params"):
            for pattern in getattr(self, key):
                names = _names(BayesianModel(base, include_params=[pattern]))
                if not names:
                    raise ConfigError(
                        f"model.uncertainty.{key}  '{pattern}' matches no parameter",
                        todo=f"There are: {', '.join(sizes)}.",
                    )
                told.append(
                    f"{key} '{pattern}': {len(names)} parameters, "
                    f"{sum(sizes[name] for name in names):,} weights."
                )
        found = _names(
            BayesianModel(
                base, include_params=self.include_params, exclude_params=self.exclude_params
            )
        )
        if not found:
            raise ConfigError(
                "model.uncertainty  excludes every parameter that it includes",
                todo=f"There are: {', '.join(sizes)}.",
            )
        whole, every = sum(sizes[name] for name in found), sum(sizes.values())
        told.append(
            f"Uncertain: {whole:,} of {every:,} weights, in {len(found)} of {len(sizes)} "
            "parameters."
        )
        if whole < every:
            told.append("The others have no weight decay.")
        return found, told + self._reached(base, found)

    def _reached(self, base: nn.Module, names: Sequence[str]) -> list[str]:
        """How many weights the local trick reaches: those of linear layers, but not of nsf and
        recurrent networks, which have none.
        """
        if not self.local_trick:
            return []
        linear = {
            name
            for name, module in base.named_modules()
            if type(module) in (nn.Linear, Linear, MaskedLinear)
        }
        reached = sum(
            base.get_parameter(name).numel() for name in names if name.rpartition(".")[0] in linear
        )
        if not reached:
            raise ConfigError(
                "model.uncertainty.local_trick  reaches none of the uncertain weights: no linear "
                "layer has any",
                todo="Use local_trick: false.",
            )
        return [f"The local trick reaches {reached:,} of them; the others share one draw a step."]


def _names(model: BayesianModel) -> list[str]:
    return [key.replace("-", ".") for key in model.means]
