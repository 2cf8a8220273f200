"""A learned likelihood as a term of a model in PyMC or Pyro, whose priors, hierarchy and sampler
are that model's own.

Of the prior that the network was trained under, only the support stays: outside of it no simulation
was ever seen, and log l is -inf.

Shapes: N data sets, D columns of theta, K of them one parameter's; ... any axes in front.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from sbiwb.errors import DataError
from sbiwb.extras import check_installed
from sbiwb.priors import Prior
from sbiwb.records import Columns, Ragged

if TYPE_CHECKING:
    from pytensor.tensor import TensorVariable


class LikelihoodWithGradient(Protocol):
    """What is asked of a `LearnedLikelihood`."""

    @property
    def prior(self) -> Prior: ...
    def log_prob_torch(self, theta: Tensor, x: Columns, context: Columns, which: int) -> Tensor: ...


def torch_log_likelihood(
    likelihood: LikelihoodWithGradient, x: Columns, context: Columns | None = None
) -> Callable[[Tensor | Mapping[str, Tensor]], Tensor]:
    """log l of N data sets as a differentiable function of theta, for `pyro.factor`.

    The function takes theta (..., D), or a dict with (...) of each scalar parameter and (..., K) of
    each vector-valued one; ... is broadcast against (N,), as inside `pyro.plate`: (N,) is a theta
    for each data set, () one for all, (S, 1) or (S, N) such for S particles. It returns log l of
    each data set, (..., N) float64, for the model to sum; -inf outside the support of the prior
    that the network was trained under.

    Args:
        likelihood: As `load_likelihood` gives it.
        x: Observables by name, arrays (N, ...) or `Ragged`.
        context: Context variables by name, (N, ...).

    Raises:
        DataError: x holds no N data sets; or, by the function, a parameter is missing, unknown, or
            of another shape.

    Example:
        >>> log_l = torch_log_likelihood(likelihood, {"rt": rt})  # doctest: +SKIP
        >>> def model():  # one drift for each of N people, one bound for all
        ...     bound = pyro.sample("bound", dist.Uniform(0.5, 3.0))
        ...     with pyro.plate("people", len(rt)):
        ...         drift = pyro.sample("drift", dist.Normal(0.0, 1.0))
        ...         pyro.factor("log_l", log_l({"drift": drift, "bound": bound}))
        >>> MCMC(NUTS(model), num_samples=1000).run()  # doctest: +SKIP
    """
    observed = ObservedLikelihood.of(likelihood, x, context)

    def log_likelihood(theta: Tensor | Mapping[str, Tensor]) -> Tensor:
        if isinstance(theta, Mapping):
            theta = _stacked(likelihood.prior, theta)
        return observed.log_probs(theta)

    return log_likelihood


def pymc_log_likelihood(
    likelihood: LikelihoodWithGradient, x: Columns, context: Columns | None = None
) -> Callable[[TensorVariable | Mapping[str, TensorVariable]], TensorVariable]:
    """log l of N data sets as a function of PyMC's variables, for `pm.Potential`.

    The function takes theta (D,) or (N, D), or a dict with () or (N,) of each scalar parameter and
    (K,) or (N, K) of each vector-valued one: one value for all data sets, or one for each. It
    returns the sum of log l over data sets, a scalar with a gradient; -inf outside the support of
    the prior that the network was trained under.

    Warning: PyMC's own samplers call it; JAX's (`nuts_sampler="numpyro"`) cannot. Value and
    gradient are computed together, and there is no second derivative.

    Args:
        likelihood: As `load_likelihood` gives it.
        x: Observables by name, arrays (N, ...) or `Ragged`.
        context: Context variables by name, (N, ...).

    Raises:
        ConfigError: PyMC is not installed.
        DataError: x holds no N data sets; or, by the function, a parameter is missing, unknown, or
            of another shape.

    Example:
        >>> log_l = pymc_log_likelihood(likelihood, {"rt": rt})  # doctest: +SKIP
        >>> with pm.Model():  # doctest: +SKIP
        ...     bound = pm.Uniform("bound", 0.5, 3.0)
        ...     drift = pm.Normal("drift", 0.0, 1.0, shape=len(rt))  # one for each of N people
        ...     pm.Potential("log_l", log_l({"drift": drift, "bound": bound}))
        ...     trace = pm.sample()
    """
    check_installed("pytensor", extra="pymc", where="pymc_log_likelihood")
    from sbiwb.project.likelihood_op import LogLikelihoodOp, row_variables

    observed = ObservedLikelihood.of(likelihood, x, context)
    op = LogLikelihoodOp(observed)

    def log_likelihood(theta: TensorVariable | Mapping[str, TensorVariable]) -> TensorVariable:
        if isinstance(theta, Mapping):
            check_names(likelihood.prior, theta)
        value, _ = op(row_variables(likelihood.prior, theta, observed.count))
        return value

    return log_likelihood


@dataclass(frozen=True)
class ObservedLikelihood:
    """log l of N data sets that do not change.

    Args:
        likelihood: Of any.
        x: Their observables.
        context: Their context variables.
        count: N.
    """

    likelihood: LikelihoodWithGradient
    x: Columns
    context: Columns
    count: int

    @classmethod
    def of(
        cls, likelihood: LikelihoodWithGradient, x: Columns, context: Columns | None
    ) -> ObservedLikelihood:
        """That of x and context, which all hold N data sets.

        Raises:
            DataError: They do not.
        """
        context = context or {}
        return cls(likelihood, x, context, _count({**x, **context}))

    def log_probs(self, theta: Tensor) -> Tensor:
        """log l of each data set, (..., N) float64, at theta (..., D), where ... is broadcast
        against (N,).

        Raises:
            DataError: Theta has another shape.
        """
        batch = self._batch(theta.shape)
        points = theta.double().cpu().expand(*batch, theta.shape[-1])
        points = points.reshape(-1, self.count, theta.shape[-1])
        inside = np.all(self.likelihood.prior.inside(points.detach().numpy()), axis=-1)
        each = []
        for which in range(self.count):
            rows = torch.from_numpy(np.flatnonzero(inside[:, which]))
            each.append(self._log_prob(points[:, which], rows, which))
        return torch.stack(each, dim=-1).reshape(batch).to(theta.device)

    def _batch(self, shape: torch.Size) -> torch.Size:
        """The axes of the result at theta of a shape."""
        size = self.likelihood.prior.size
        if len(shape) > 0 and shape[-1] == size:
            try:
                return torch.broadcast_shapes(shape[:-1], (self.count,))
            except RuntimeError:
                pass
        raise DataError(
            f"has the shape {tuple(shape)}",
            where="theta",
            todo=f"Give (..., {size}), one for all data sets, or (..., {self.count}, {size}), one "
            "for each.",
        )

    def _log_prob(self, points: Tensor, rows: Tensor, which: int) -> Tensor:
        """log l of the data set `which` at points (S, D), (S,); -inf at other rows than these."""
        log_l = points.new_full((len(points),), -torch.inf)
        if not len(rows):
            return log_l
        found = self.likelihood.log_prob_torch(points[rows], self.x, self.context, which)
        return log_l.index_put((rows,), torch.where(found.isnan(), -torch.inf, found))


def check_names(prior: Prior, names: Collection[str]) -> None:
    """Refuses names that are not exactly the parameters.

    Raises:
        DataError: With those that are missing or unknown.
    """
    missing = [name for name in prior.names if name not in names]
    unknown = [name for name in names if name not in prior.names]
    if missing or unknown:
        raise DataError(
            f"has no {', '.join(missing)}" if missing else f"has {', '.join(unknown)} as well",
            where="theta",
            todo=f"Give exactly the parameters of the likelihood: {', '.join(prior.names)}.",
        )


def _stacked(prior: Prior, theta: Mapping[str, Tensor]) -> Tensor:
    """Parameters by name as columns (..., D)."""
    check_names(prior, theta)
    parts = []
    for name, distribution in prior.distributions.items():
        values = torch.as_tensor(theta[name])
        if not distribution.event:
            values = values[..., None]
        if values.shape[-1:] != (distribution.size,):
            raise DataError(
                f"has the shape {tuple(values.shape)}",
                where=name,
                todo=f"It is vector-valued: give (..., {distribution.size}).",
            )
        parts.append(values)
    try:
        batch = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    except RuntimeError as error:
        shapes = ", ".join(str(tuple(part.shape[:-1])) for part in parts)
        raise DataError(
            f"has parameters of the shapes {shapes}, which do not broadcast",
            where="theta",
            todo="Give each one value for all data sets, or one for each.",
        ) from error
    return torch.cat([part.expand(*batch, -1) for part in parts], dim=-1)


def _count(variables: Columns) -> int:
    """N, which all variables have in front."""
    for name, values in variables.items():
        is_array = isinstance(values, np.ndarray) and values.ndim > 0
        if not is_array and not isinstance(values, Ragged):
            raise DataError(
                f"is of type {type(values).__name__}, not N data sets",
                where=name,
                todo="Give a numpy array (N, ...), one data set as (1, ...); or N arrays of "
                "different length as sbiwb.records.Ragged.of(arrays).",
            )
    counts = {name: len(values) for name, values in variables.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise DataError(
            f"the numbers of data sets do not agree: {listed or 'there is nothing'}",
            where="x",
            todo="Give every observable and context variable N data sets in front.",
        )
    return next(iter(counts.values()))
