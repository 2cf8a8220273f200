"""The exact posterior of one data set as reference methods see it: likelihood times prior in unbounded numbers z.

A parameter with a known prior is z = Phi^-1(F(theta)), a standard normal under the prior, so that

    log p(z | x) = log p(x | theta(z)) + sum_d log phi(z_d) + constant,

and the integral over z is p(x). A file that has `log_density(**theta)` alone says its parameters' bounds instead of a prior; then z is
theta itself, or log(theta - low), or the logit between two bounds, and the density has the Jacobian's determinant.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints

from sbiwb.contracts import Proposal, Target
from sbiwb.errors import ConfigError, SimulatorError
from sbiwb.posterior import Posterior
from sbiwb.priors import Prior
from sbiwb.project.project import Project
from sbiwb.records import Columns, take
from sbiwb.simulation.source import DENSITY, blame

LIKELIHOOD = "log_likelihood"
BOUNDS_ALONE = ("unknown", "uniform")  # priors that a density without one is given
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
Densities = Callable[[dict[str, Tensor]], Tensor]


def target_of(
    project: Project, x: Columns, context: Columns, which: int, posterior: Posterior | None
) -> Target:
    """The posterior of the data set `which` among N.

    Args:
        project: With a `log_likelihood` or a `posterior` in its simulator file.
        x: Observables of N data sets.
        context: Their context variables.
        which: One of them.
        posterior: The trained one, where there is one.

    Raises:
        ConfigError: The file has neither, or a prior has no density.
    """
    one = np.array([which])
    data = {name: take(values, one)[0] for name, values in {**x, **context}.items()}
    exact = project.source.optional("posterior")
    likelihood = project.source.optional(LIKELIHOOD)
    if likelihood is None and exact is None:
        raise ConfigError(
            f"has neither {LIKELIHOOD}(x, **theta) nor posterior(x, n, rng): there is nothing to hold the network against",
            where=project.source.path,
            todo=f"Write {LIKELIHOOD}(x, **theta) with torch: x one data set, each parameter a tensor (N,) or (N, K), the result (N,).",
        )
    seen = {name: data[name] for name in x}
    amortized = (
        None
        if posterior is None
        else _Amortized(
            project.prior, posterior, {n: take(v, one) for n, v in {**x, **context}.items()}
        )
    )
    return Target(
        columns=project.prior.columns,
        log_density=_posterior_density(project, likelihood, seen, data),
        theta=project.prior.from_normal,
        z=project.prior.to_normal,
        prior=lambda n, rng: project.prior.to_normal(
            project.prior.stack(project.prior.sample(rng, n))
        ),
        amortized=amortized,
        exact=None
        if exact is None
        else (lambda n, rng: np.asarray(exact(seen, n, rng), float).reshape(n, -1)),
    )


def density_target(project: Project) -> Target:
    """The density that `log_density` of the simulator file is.

    Raises:
        ConfigError: The file has none, or a parameter has a prior, where only bounds are meant.
    """
    density = project.source.optional(DENSITY)
    if density is None:
        raise ConfigError(
            "names no observation, and its simulator file has no log_density(**theta)",
            where="problem.observations",
            todo="Name the data: sbiwb reference CONFIG --observation FILE.",
        )
    wrong = [
        name
        for name, part in project.config.problem.parameters.items()
        if part.kind not in BOUNDS_ALONE
    ]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: log_density is the whole density, so that a prior besides it means nothing",
            where="problem.parameters",
            todo="Give bounds alone: {kind: unknown, low: ..., high: ...}, either may be left out.",
        )
    low, high = (torch.from_numpy(bound) for bound in project.prior.support())
    maps = [biject_to(_constraint(float(a), float(b))) for a, b in zip(low, high, strict=True)]

    def forward(z: Tensor) -> tuple[Tensor, Tensor]:
        columns = [one(z[:, k]) for k, one in enumerate(maps)]
        slopes = [one.log_abs_det_jacobian(z[:, k], columns[k]) for k, one in enumerate(maps)]
        return torch.stack(columns, 1), torch.stack(torch.broadcast_tensors(*slopes), 1).expand(
            len(z), -1
        ).sum(1)

    called = _named(project, DENSITY, density, _constants(project, density))

    def log_density(z: Tensor) -> Tensor:
        theta, slope = forward(z)
        return _no_nan(called(_by_name(project.prior, theta)) + slope)

    def back(theta: np.ndarray) -> np.ndarray:
        columns = torch.from_numpy(np.asarray(theta, np.float64))
        return torch.stack([one.inv(columns[:, k]) for k, one in enumerate(maps)], 1).numpy()

    return Target(
        columns=project.prior.columns,
        log_density=log_density,
        theta=lambda z: forward(torch.from_numpy(np.asarray(z, np.float64)))[0].numpy(),
        z=back,
        prior=lambda n, rng: rng.standard_normal((n, project.prior.size)),
        evidence=False,
    )


def log_likelihood(
    project: Project, x: Columns, context: Columns, which: int, theta: np.ndarray
) -> np.ndarray:
    """log p(x | theta) of the data set `which` at theta (N, D) in the user's units, (N,); -inf where it is not a number.

    Raises:
        ConfigError: The simulator file has no `log_likelihood`.
        SimulatorError: It fails, or returns another shape.
    """
    likelihood = project.source.optional(LIKELIHOOD)
    if likelihood is None:
        raise ConfigError(
            f"has no {LIKELIHOOD}(x, **theta), without which no draw can be weighed",
            where=project.source.path,
            todo="Write it with torch: x one data set, each parameter a tensor (N,) or (N, K), the result (N,).",
        )
    data = {name: take(values, np.array([which]))[0] for name, values in {**x, **context}.items()}
    called = _named(
        project,
        LIKELIHOOD,
        likelihood,
        _known(project, likelihood, data),
        {name: data[name] for name in x},
    )
    with torch.no_grad():
        return _no_nan(
            called(_by_name(project.prior, torch.from_numpy(np.asarray(theta, np.float64))))
        ).numpy()


def _posterior_density(
    project: Project, likelihood: Any, x: Mapping[str, Any], data: Mapping[str, Any]
) -> Callable[[Tensor], Tensor]:
    if likelihood is None:
        return _no_density
    called = _named(project, LIKELIHOOD, likelihood, _known(project, likelihood, data), x)
    project.prior.log_prob(np.zeros((1, project.prior.size)))  # refuses a prior without a density

    def log_density(z: Tensor) -> Tensor:
        theta = _Theta.apply(z, project.prior)
        normal = (-0.5 * z**2 - HALF_LOG_2PI).sum(1)
        return _no_nan(called(_by_name(project.prior, theta)) + normal)

    return log_density


def _no_density(z: Tensor) -> Tensor:
    raise ConfigError(
        f"has no {LIKELIHOOD}(x, **theta), which this method needs",
        where="problem.simulator",
        todo="Use --method analytic, which draws from its `posterior`, or write the likelihood with torch.",
    )


class _Theta(torch.autograd.Function):
    """theta (N, D) of z (N, D) through the prior's distribution function, with its first derivative."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, prior: Prior) -> Tensor:
        ctx.prior = prior
        ctx.save_for_backward(z)
        return torch.from_numpy(prior.from_normal(z.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (z,) = ctx.saved_tensors
        return torch.from_numpy(ctx.prior.pull_back(z.detach().numpy(), gradients[0].numpy())), None


@dataclass(frozen=True)
class _Amortized(Proposal):
    """The trained posterior of one data set, as a density of z."""

    prior: Prior
    posterior: Posterior
    x: Columns

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.prior.to_normal(self.posterior.sample(self.x, n, rng)[0])

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """log q(theta) + log |dtheta/dz|, the latter phi(z) / p(theta); 0 at NaN, a draw outside the support: its weight is 0 anyhow."""
        outside = np.isnan(z).any(1, keepdims=True)
        z = np.where(outside, 0.0, z)
        theta = self.prior.from_normal(z)
        slope = (-0.5 * z**2 - HALF_LOG_2PI).sum(1) - self.prior.log_prob(theta)
        return np.where(outside[:, 0], 0.0, self.posterior.log_prob(theta[None], self.x)[0] + slope)


def _named(
    project: Project, what: str, function: Any, known: Mapping[str, Any], *first: Any
) -> Densities:
    """The function of theta by name, its other arguments given; failures and shapes told with the file's line."""
    tensors = [{name: _tensor(value) for name, value in one.items()} for one in first]

    def call(theta: dict[str, Tensor]) -> Tensor:
        n = len(next(iter(theta.values())))
        try:
            found = function(*tensors, **theta, **known)
        except Exception as error:
            raise SimulatorError(
                f"{what}() failed: {type(error).__name__}: {error}",
                where=blame(error, project.source.path),
                todo=f"It is called with tensors of N rows: {', '.join([*theta, *known])}.",
            ) from error
        if not isinstance(found, Tensor) or found.shape != (n,):
            shape = tuple(found.shape) if hasattr(found, "shape") else type(found).__name__
            raise SimulatorError(
                f"{what}() returned {shape} instead of a tensor ({n},)",
                where=project.source.path,
                todo="Sum over the data.",
            )
        return found.double()

    return call


def _tensor(value: Any) -> Any:
    return (
        torch.as_tensor(np.asarray(value, np.float64))
        if np.asarray(value).dtype.kind in "biuf"
        else value
    )


def _known(project: Project, function: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Context variables and constants that the function asks for."""
    asked = inspect.signature(function).parameters
    return {name: _tensor(data[name]) for name in project.context if name in asked} | _constants(
        project, function
    )


def _constants(project: Project, function: Any) -> dict[str, Any]:
    asked = inspect.signature(function).parameters
    return {
        name: value for name, value in project.config.problem.constants.items() if name in asked
    }


def _by_name(prior: Prior, theta: Tensor) -> dict[str, Tensor]:
    return {
        name: theta[:, where] if prior.distributions[name].event else theta[:, where.start]
        for name, where in prior.slices.items()
    }


def _no_nan(density: Tensor) -> Tensor:
    return torch.where(torch.isnan(density), -math.inf, density)


def _constraint(low: float, high: float) -> Any:
    if math.isfinite(low) and math.isfinite(high):
        return constraints.interval(low, high)
    if math.isfinite(low):
        return constraints.greater_than(low)
    return constraints.less_than(high) if math.isfinite(high) else constraints.real
