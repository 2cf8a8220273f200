"""The exact posterior of one data set as reference methods see it: a density of unbounded z.

A parameter with a known prior is z = Phi^-1(F(theta)), a standard normal under the prior, so that

    log p(z | x) = log p(x | theta(z)) + sum_d log phi(z_d) + constant,

and the integral over z is p(x). A file that has `log_density(**theta)` alone says its parameters'
bounds instead of a prior; then z is theta itself, or log(theta - low), or the logit between two
bounds, and the density has the Jacobian's determinant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Transform, biject_to, constraints

from sbiwb.contracts import OutputKind, PriorPart, Proposal, Target
from sbiwb.errors import ConfigError, DataError, SbiwbError, SimulatorError
from sbiwb.posterior import Posterior
from sbiwb.priors import Prior
from sbiwb.project.densities import (
    HOW_TO_WRITE,
    LIKELIHOOD,
    ExactDensities,
    data_set,
)
from sbiwb.project.observe import DataSets
from sbiwb.records import Columns, take
from sbiwb.simulation.source import SimulatorSource, blame

BOUNDS_ALONE = ("unknown", "uniform")  # priors that a density without one is given
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
ExactSampler = Callable[[int, np.random.Generator], np.ndarray]


class Densities(Protocol):
    """Where a likelihood comes from: the simulator file, or a network."""

    @property
    def source(self) -> SimulatorSource: ...
    @property
    def prior(self) -> Prior: ...
    @property
    def has_likelihood(self) -> bool: ...
    def likelihood(
        self, x: Columns, context: Columns, which: int
    ) -> Callable[[Tensor], Tensor]: ...


def target_of(
    densities: Densities,
    x: Columns,
    context: Columns,
    which: int,
    posterior: Posterior | None,
) -> Target:
    """The posterior of the data set `which` among N.

    Args:
        densities: Of a simulator file with a `log_likelihood` or a `posterior`.
        x: Observables of N data sets.
        context: Their context variables.
        which: One of them.
        posterior: The trained one, where there is one.

    Raises:
        ConfigError: The file has neither, or a prior has no density.
    """
    prior = densities.prior
    exact = _exact_sampler(densities.source, data_set(x, which))
    log_density: Callable[[Tensor], Tensor] = _no_density
    if densities.has_likelihood:
        log_density = _posterior_density(prior, densities.likelihood(x, context, which))
    elif exact is None:
        raise ConfigError(
            f"has neither {LIKELIHOOD}(x, **theta) nor posterior(x, n, rng): "
            "there is nothing to hold the network against",
            where=densities.source.path,
            todo=f"Write {LIKELIHOOD}(x, **theta) {HOW_TO_WRITE}",
        )
    amortized = None
    if posterior is not None:
        row = np.array([which])
        variables = {name: take(values, row) for name, values in {**x, **context}.items()}
        amortized = AmortizedProposal(prior, posterior, variables)
    return Target(
        columns=prior.columns,
        log_density=log_density,
        theta=prior.from_normal,
        z=prior.to_normal,
        prior=lambda n, rng: prior.to_normal(prior.stack(prior.sample(rng, n))),
        amortized=amortized,
        exact=exact,
    )


def refinement_targets(
    densities: Densities, posterior: Posterior, data: DataSets, theta: np.ndarray
) -> Callable[[int], Target]:
    """The target of each data set by its place, with the trained posterior as its proposal.

    Args:
        densities: Of a simulator file with a `log_likelihood`.
        posterior: The trained one.
        data: The N data sets.
        theta: Draws (N, S, D), at which the likelihood is tried once.

    Raises:
        ConfigError: There is no likelihood, or a prior without a density.
        DataError: The network has no joint density, without which its draws cannot be weighed.
        SimulatorError: The likelihood fails.
    """
    if posterior.output_kind != OutputKind.JOINT:
        raise DataError(
            f"the network gives {posterior.output_kind}, "
            "no joint density by which its draws could be weighed",
            where="sample --refine",
            todo="Leave out --refine, train a network with a density (model.inference: nsf), "
            "or run `sbiwb reference`.",
        )
    log_likelihood(densities, data.x, data.context, 0, theta[0, :2])
    return lambda which: target_of(densities, data.x, data.context, which, posterior)


def log_likelihood(
    densities: Densities, x: Columns, context: Columns, which: int, theta: np.ndarray
) -> np.ndarray:
    """log p(x | theta) of the data set `which` at theta (N, D) in the user's units, (N,).

    It is -inf where it is NaN.

    Raises:
        ConfigError: The simulator file has no `log_likelihood`.
        SimulatorError: It fails, or returns another shape.
    """
    likelihood = densities.likelihood(x, context, which)
    with torch.no_grad():
        return likelihood(torch.from_numpy(np.asarray(theta, np.float64))).numpy()


def density_target(densities: ExactDensities, parameters: Mapping[str, PriorPart]) -> Target:
    """The density that `log_density` of the simulator file is.

    Args:
        densities: Of the simulator file.
        parameters: The section of the YAML, which gives bounds alone.

    Raises:
        ConfigError: The file has none, or a parameter has a prior, where only bounds are meant.
    """
    density, prior = densities.bare(), densities.prior
    _check_bounds_alone(parameters)
    bounds = BoundedColumns.within(*prior.support())

    def log_density(z: Tensor) -> Tensor:
        theta, slope = bounds.forward(z)
        return _without_nan(density(theta) + slope)

    return Target(
        columns=prior.columns,
        log_density=log_density,
        theta=lambda z: bounds.forward(_as_tensor(z))[0].numpy(),
        z=lambda theta: bounds.inverse(_as_tensor(theta)).numpy(),
        prior=lambda n, rng: rng.standard_normal((n, prior.size)),
        evidence=False,
    )


@dataclass(frozen=True)
class BoundedColumns:
    """Unbounded z to theta between bounds, column by column.

    Args:
        maps: One of torch's transforms for each of the D columns.
    """

    maps: tuple[Transform, ...]

    @classmethod
    def within(cls, low: np.ndarray, high: np.ndarray) -> BoundedColumns:
        """The maps of columns with these bounds, (D,) each, possibly infinite."""
        bounds = zip(low, high, strict=True)
        return cls(tuple(biject_to(_constraint(float(a), float(b))) for a, b in bounds))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """theta (N, D) of z (N, D), and the log-determinant of the Jacobian, (N,)."""
        columns, slopes = [], []
        for column, transform in enumerate(self.maps):
            columns.append(transform(z[:, column]))
            slopes.append(transform.log_abs_det_jacobian(z[:, column], columns[-1]))
        slope = torch.stack(torch.broadcast_tensors(*slopes), 1).expand(len(z), -1)
        return torch.stack(columns, 1), slope.sum(1)

    def inverse(self, theta: Tensor) -> Tensor:
        """z (N, D) of theta (N, D)."""
        columns = [transform.inv(theta[:, k]) for k, transform in enumerate(self.maps)]
        return torch.stack(columns, 1)


@dataclass(frozen=True)
class AmortizedProposal(Proposal):
    """The trained posterior of one data set, as a density of z."""

    prior: Prior
    posterior: Posterior
    x: Columns

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.prior.to_normal(self.posterior.sample(self.x, n, rng)[0])

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """log q(theta) + log |dtheta/dz|, the latter phi(z) / p(theta), (N,).

        0 at NaN, a draw outside the support: its weight is 0 anyhow.
        """
        outside = np.isnan(z).any(1, keepdims=True)
        z = np.where(outside, 0.0, z)
        theta = self.prior.from_normal(z)
        slope = (-0.5 * z**2 - HALF_LOG_2PI).sum(1) - self.prior.log_prob(theta)
        return np.where(outside[:, 0], 0.0, self.posterior.log_prob(theta[None], self.x)[0] + slope)


def _exact_sampler(source: SimulatorSource, x: Mapping[str, np.ndarray]) -> ExactSampler | None:
    """The simulator file's own `posterior(x, n, rng)`, with its result as (n, D)."""
    function = source.optional("posterior")
    if function is None:
        return None

    def draws(n: int, rng: np.random.Generator) -> np.ndarray:
        try:
            return np.asarray(function(x, n, rng), float).reshape(n, -1)
        except SbiwbError:
            raise
        except Exception as error:
            raise SimulatorError(
                f"posterior() failed: {type(error).__name__}: {error}",
                where=blame(error, source.path),
                todo="It is called with x of one data set, n and rng; return an array (n, D).",
            ) from error

    return draws


def _posterior_density(
    prior: Prior, likelihood: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    prior.log_prob(np.zeros((1, prior.size)))  # refuses a prior without a density

    def log_density(z: Tensor) -> Tensor:
        theta = _Theta.apply(z, prior)
        normal = (-0.5 * z**2 - HALF_LOG_2PI).sum(1)
        return _without_nan(likelihood(theta) + normal)

    return log_density


def _no_density(z: Tensor) -> Tensor:
    raise ConfigError(
        f"has no {LIKELIHOOD}(x, **theta), which this method needs",
        where="problem.simulator",
        todo="Use --method analytic, which draws from its `posterior`, "
        "or write the likelihood with torch.",
    )


class _Theta(torch.autograd.Function):
    """theta (N, D) of z (N, D) by the prior's distribution function, with its derivative."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, z: Tensor, prior: Prior) -> Tensor:
        ctx.prior = prior  # type: ignore[attr-defined]  # torch keeps what it is given
        ctx.save_for_backward(z)
        return torch.from_numpy(prior.from_normal(z.detach().numpy()))

    @staticmethod
    def backward(
        ctx: torch.autograd.function.BackwardCFunction, gradient: Tensor
    ) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors
        prior: Prior = ctx.prior  # type: ignore[attr-defined]
        return torch.from_numpy(prior.pull_back(z.detach().numpy(), gradient.numpy())), None


def _check_bounds_alone(parameters: Mapping[str, PriorPart]) -> None:
    wrong = [name for name, part in parameters.items() if part.kind not in BOUNDS_ALONE]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: log_density is the whole density, "
            "so that a prior besides it means nothing",
            where="problem.parameters",
            todo="Give bounds alone: {kind: unknown, low: ..., high: ...}, either may be left out.",
        )


def _constraint(low: float, high: float) -> constraints.Constraint:
    if math.isfinite(low) and math.isfinite(high):
        return constraints.interval(low, high)
    if math.isfinite(low):
        return constraints.greater_than(low)
    if math.isfinite(high):
        return constraints.less_than(high)
    return constraints.real


def _as_tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float64))


def _without_nan(density: Tensor) -> Tensor:
    return torch.where(torch.isnan(density), -math.inf, density)
