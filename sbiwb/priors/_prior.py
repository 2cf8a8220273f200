"""The prior of all parameters: independent ones, and those the simulator file draws jointly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sbiwb.contracts import Distribution
from sbiwb.errors import ConfigError, DataError, SbiwbError, SimulatorError

Sampler = Callable[[int, np.random.Generator], Mapping[str, Any]]
Theta = dict[str, np.ndarray]


class Prior:
    """The joint prior of D parameter columns, in the user's units.

    Args:
        distributions: Distribution of each parameter; their order is the order of theta's columns.
        sampler: `prior(n, rng)` of the simulator file; draws all parameters of kind `joint` in one
            call.
        units: Unit of each parameter, for tables; may be incomplete.

    Attributes:
        names: Parameter names.
        columns: D column names: `beta` of a scalar, `beta[0]`, `beta[1]`, ... of a vector-valued
            parameter.
        slices: Where each parameter's columns are.
        joint: Names of the parameters that the sampler draws.
        size: D.

    Example:
        >>> from sbiwb.priors import family
        >>> b = family.parse({"kind": "uniform", "shape": [2]})
        >>> prior = Prior({"a": family.parse("normal").build(), "b": b.build()})
        >>> prior.columns
        ('a', 'b[0]', 'b[1]')
        >>> {name: draws.shape for name, draws in prior.sample(np.random.default_rng(0), 5).items()}
        {'a': (5,), 'b': (5, 2)}
    """

    def __init__(
        self,
        distributions: Mapping[str, Distribution],
        *,
        sampler: Sampler | None = None,
        units: Mapping[str, str] | None = None,
    ) -> None:
        self.distributions, self.sampler, self.units = (
            dict(distributions),
            sampler,
            dict(units or {}),
        )
        self.names = tuple(self.distributions)
        self.joint = tuple(name for name, part in self.distributions.items() if not part.known)
        ends = np.cumsum([0, *(part.size for part in self.distributions.values())]).tolist()
        self.slices = {name: slice(*ends[i : i + 2]) for i, name in enumerate(self.names)}
        self.size: int = ends[-1]
        self.columns = tuple(
            column for name, part in self.distributions.items() for column in _columns(name, part)
        )

    def sample(self, rng: np.random.Generator, n: int) -> Theta:
        """n draws of each parameter, (n,) or (n, K), integers where it is discrete.

        The joint ones are drawn first, in one call, then the others in order.

        Raises:
            ConfigError: A parameter is joint, and there is no sampler.
            SimulatorError: The sampler fails, or returns other names, shapes or values than it
                should.
        """
        joint = self._sample_joint(rng, n) if self.joint else {}
        return {
            name: joint[name]
            if name in joint
            else _typed(part, part.sample(rng, n)).reshape(n, *part.event)
            for name, part in self.distributions.items()
        }

    def stack(self, theta: Mapping[str, Any]) -> np.ndarray:
        """Columns side by side: a mapping of (N,) and (N, K) to (N, D), float64.

        Other names in the mapping are passed over.

        Raises:
            DataError: A parameter is missing or has another shape.
        """
        missing = [name for name in self.names if name not in theta]
        if missing:
            raise DataError(
                f"no values of {_quoted(missing)}",
                where="parameters",
                todo=f"Give each of {_quoted(self.names)}.",
            )
        arrays = {name: np.asarray(theta[name], np.float64) for name in self.names}
        n = max((len(array) for array in arrays.values() if array.ndim), default=0)
        for name, part in self.distributions.items():
            if arrays[name].shape != (n, *part.event):
                raise DataError(
                    f"shape {arrays[name].shape} instead of {(n, *part.event)}",
                    where=f"parameter '{name}'",
                    todo="Give one row for each simulation, and one column for each number in "
                    "`shape`.",
                )
        return np.concatenate(
            [arrays[name].reshape(n, part.size) for name, part in self.distributions.items()],
            axis=1,
        )

    def unstack(self, theta: np.ndarray) -> Theta:
        """The inverse of `stack`; integers where a parameter is discrete.

        Args:
            theta: (..., D).

        Returns:
            By name, (...,) of a scalar and (..., K) of a vector-valued parameter.
        """
        return {
            name: _typed(part, theta[..., self.slices[name]]).reshape(
                *theta.shape[:-1], *part.event
            )
            for name, part in self.distributions.items()
        }

    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        """Log-density of theta (N, D), shape (N,); log-mass where a parameter is discrete.

        It is -inf outside the support.

        Raises:
            ConfigError: A parameter is joint, so that its density is known by sampling alone.
        """
        if self.joint:
            raise ConfigError(
                f"the prior density of {_quoted(self.joint)} is not known: the simulator file's "
                "prior(n, rng) only draws from it",
                where="problem.parameters",
                todo="Leave out what needs the prior density, or give each of them a prior with a "
                "density instead of kind: joint.",
            )
        parts = [
            part.log_prob(theta[..., self.slices[name]])
            for name, part in self.distributions.items()
        ]
        return np.sum(parts, axis=0)

    def to_normal(self, theta: np.ndarray) -> np.ndarray:
        """theta (N, D) to z (N, D), a standard normal under the prior; NaN outside the support.

        Every prior must have a density.
        """
        return np.concatenate(
            [
                part.to_normal(theta[:, self.slices[name]])
                for name, part in self.distributions.items()
            ],
            axis=1,
        )

    def from_normal(self, z: np.ndarray) -> np.ndarray:
        """The inverse of `to_normal`."""
        return np.concatenate(
            [
                part.from_normal(z[:, self.slices[name]])
                for name, part in self.distributions.items()
            ],
            axis=1,
        )

    def pull_back(self, z: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """A gradient in theta (N, D) at `from_normal(z)` as one in z (N, D)."""
        parts = [
            part.pull_back(z[:, self.slices[name]], gradient[:, self.slices[name]])
            for name, part in self.distributions.items()
        ]
        return np.concatenate(parts, axis=1)

    def variance(self) -> np.ndarray:
        """Prior variance of each column, (D,).

        NaN where only the test set can tell (kind: joint).
        """
        return np.concatenate(
            [
                p.variance() if p.known else np.full(p.size, np.nan)
                for p in self.distributions.values()
            ]
        )

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """Whether each entry of theta (..., D) is finite and in its column's support, (..., D)."""
        parts = [
            part.inside(theta[..., self.slices[name]]) for name, part in self.distributions.items()
        ]
        return np.concatenate(parts, axis=-1)

    def support(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound of each column, (D,) each, possibly infinite."""
        low, high = zip(*(part.support() for part in self.distributions.values()), strict=True)
        return np.concatenate(low), np.concatenate(high)

    def _sample_joint(self, rng: np.random.Generator, n: int) -> Theta:
        if self.sampler is None:
            raise ConfigError(
                f"{_quoted(self.joint)} of kind 'joint', but the simulator file has no function "
                "prior(n, rng)",
                where="problem.parameters",
                todo="Write prior(n, rng) into the simulator file, or choose another kind.",
            )
        where = _where(self.sampler)
        try:
            drawn = self.sampler(n, rng)
        except SbiwbError:  # a signal met in between, for one, is not the function's fault
            raise
        except Exception as error:
            raise SimulatorError(
                f"prior({n}, rng) raised {type(error).__name__}: {error}",
                where=where,
                todo="Mend the function.",
            ) from error
        if not isinstance(drawn, Mapping) or set(drawn) != set(self.joint):
            names = _quoted(drawn) if isinstance(drawn, Mapping) else f"a {type(drawn).__name__}"
            raise SimulatorError(
                f"prior({n}, rng) returned {names} instead of {_quoted(self.joint)}",
                where=where,
                todo="Return a dict with one array for each parameter of kind 'joint', and no "
                "other.",
            )
        return {
            name: _checked(name, drawn[name], self.distributions[name], n=n, where=where)
            for name in self.joint
        }


def _typed(part: Distribution, values: np.ndarray) -> np.ndarray:
    """Values as simulators are given them: integers, which can be an index, where discrete."""
    return values.astype(np.int64) if part.discrete else values


def _columns(name: str, part: Distribution) -> list[str]:
    return [f"{name}[{k}]" for k in range(part.size)] if part.event else [name]


def _quoted(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"


def _where(sampler: Sampler) -> str:
    """File and line of the simulator file's function, where Python knows them."""
    code = getattr(sampler, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else "prior(n, rng)"


def _checked(name: str, value: Any, part: Distribution, *, n: int, where: str) -> np.ndarray:
    """Draws of one joint parameter as float64.

    Raises:
        SimulatorError: They have another shape, are not finite, or lie outside the bounds.
    """
    try:
        draws = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise SimulatorError(
            f"prior({n}, rng)['{name}'] is not an array of numbers",
            where=where,
            todo="Return numbers.",
        ) from error
    if draws.shape != (n, *part.event):
        raise SimulatorError(
            f"prior({n}, rng)['{name}'] has shape {draws.shape} instead of {(n, *part.event)}",
            where=where,
            todo="Return n rows, or set `shape` of the parameter in the YAML.",
        )
    outside = ~part.inside(draws.reshape(n, part.size))
    if outside.any():
        low, high = part.support()
        raise SimulatorError(
            f"prior({n}, rng)['{name}'] has {int(outside.sum())} of {outside.size} values outside "
            f"[{low[0]:g}, {high[0]:g}] "
            f"or not finite, the first {draws.reshape(n, part.size)[outside][0]:g}",
            where=where,
            todo="Mend the function, or widen `low` and `high` of the parameter in the YAML.",
        )
    return draws
