"""What each kind of part promises, with shapes. Imports torch for type checkers only, so that simulating needs none.

Shapes: N simulations, B batch, D parameter columns, S draws, M members or steps, C channels, H summary features, K columns of
one parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from sbiwb.evidence import Value


class Distribution(ABC):
    """Prior of one parameter with K columns; every method takes float64 and no method draws outside the support.

    `sample` is the quantile function of uniform numbers, so nothing is written twice.

    Attributes:
        event: Shape of one value: `()` for a scalar parameter (K = 1), `(K,)` for a vector-valued one.
        discrete: Whether its values are integers; such a parameter is known by the place of its value among its levels.
        known: Whether density, quantile and variance can be computed; not so for a parameter that the simulator file draws.
    """

    event: tuple[int, ...] = ()
    discrete: bool = False
    known: bool = True

    @property
    def size(self) -> int:
        """K, the number of columns."""
        return self.event[0] if self.event else 1

    @abstractmethod
    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        """Log-density (or log-mass) of theta (N, K), shape (N,); -inf outside the support and at NaN, never NaN itself."""

    @abstractmethod
    def support(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound of each column, (K,) each, possibly infinite."""

    @abstractmethod
    def variance(self) -> np.ndarray:
        """Variance of each column, (K,)."""

    @abstractmethod
    def to_normal(self, theta: np.ndarray) -> np.ndarray:
        """z = Phi^-1(F(theta)), (N, K) to (N, K), finite for every theta in the support, its closed bounds included; NaN outside."""

    @abstractmethod
    def from_normal(self, z: np.ndarray) -> np.ndarray:
        """The inverse of `to_normal`, inside the support for every finite z."""

    def pull_back(self, z: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """A gradient in theta (N, K) at `from_normal(z)` as one in z (N, K); independent columns have dtheta/dz = phi(z) / p(theta)."""
        raise NotImplementedError(f"{type(self).__name__} knows no derivative of its map")

    @abstractmethod
    def quantile(self, u: np.ndarray) -> np.ndarray:
        """theta (N, K) at uniform numbers u (N, K) in [0, 1), finite and inside the support also at 0."""

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n draws, (n, K)."""
        return self.quantile(rng.random((n, self.size)))

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """Whether each entry of theta (N, K) is finite and in the support of its column, (N, K)."""
        low, high = self.support()
        return (theta >= low) & (theta <= high) & np.isfinite(theta)


@dataclass(frozen=True)
class InputShape:
    """What one input of the network looks like.

    Args:
        kind: `vector` (B, C), `set` or `series` (B, M, C), `grid` (B, *grid, C).
        channels: C.
        length: Longest M of the training data; None for a vector and a grid.
        varies: Whether M varies, so that a mask comes along.
        grid: Sizes of a grid's one or two axes, the same for all data sets; empty for the others.
    """

    kind: str
    channels: int
    length: int | None = None
    varies: bool = False
    grid: tuple[int, ...] = ()


class SummaryNetwork(Protocol):
    """An `nn.Module` from one input to H features."""

    def __call__(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """values (B, C), (B, M, C) or (B, *grid, C), mask (B, M) True at real members, or None where all are; returns (B, H)."""
        ...


class InferenceNetwork(Protocol):
    """An `nn.Module` for the density of z (B, D) given features (B, H).

    Its part is built by `build(D, H)`; a part whose class attribute `CIRCULAR` is true takes a keyword `circular` besides: the columns of
    z that are angles in [-pi, pi), whose two ends meet.

    It is trained by its log-density, unless it has a method `loss(z, features)`, (B,). Where it has no joint density, its attribute `output_kind`
    says what it has: `marginals` (draws of each column alone) or `estimate` (one number for each column).
    """

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,)."""
        ...

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D): S draws for each of N data sets, made from standard normal noise (N, S, D) and features (N, H)."""
        ...


class Trainable(Protocol):
    """An `nn.Module` that is trained: an estimator, or what an uncertainty of its weights makes of it.

    Attributes:
        members: Networks in it, whose parameters stand one after the other; each has a batch of its own.
        terms: Names of the penalties.
        likelihood: Whether what it maximises is a log-density.
        gives: `joint`: a density of all parameters; `marginals`: draws of each alone; `estimate`: one number for each.
        random: Whether a step in training draws random numbers.
    """

    random: bool
    members: int
    terms: tuple[str, ...]
    likelihood: bool
    output_kind: str

    def __call__(
        self, z: Tensor, inputs: Mapping[str, tuple[Tensor, Tensor | None]]
    ) -> tuple[Tensor, Tensor]:
        """What training maximises, and P penalties that it adds to the loss.

        In training (B,), or (M, B) where z and inputs have the M members in front; in evaluation (B,), the mixture of all, no penalty.
        """
        ...

    def components(self) -> Sequence[Any]:
        """The networks whose mixture is the posterior."""
        ...

    def mixture(self) -> Sequence[float]:
        """The share of each."""
        ...


class Transform(Protocol):
    """One step of an input's chain, on float64 arrays (rows, C) to (rows, C'), row by row; `inverse`, where there is one, goes back.

    Rows are data sets (vector), or the members, steps or cells of all data sets end to end. NaN is a missing value: it stays NaN.
    """

    def forward(self, values: np.ndarray) -> np.ndarray: ...


class SeriesTransform(ABC):
    """A step that looks along each series; like `Transform` otherwise."""

    @abstractmethod
    def forward(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """values (rows, C) of N series end to end, `lengths` (N,) rows each, to (rows, C')."""


class Executor(Protocol):
    """Runs tasks somewhere; resuming is not its business."""

    def run(
        self, work: Callable[[dict[str, Any]], Any], tasks: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """(task, result) in order of completion; `result` is an exception where the task failed. `work` is importable, tasks JSON."""
        ...


class Proposal(Protocol):
    """A density on a target's z that can be drawn from: the amortized posterior."""

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n draws z, (n, D)."""
        ...

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """log q(z) of z (N, D), (N,)."""
        ...


@dataclass(frozen=True)
class Target:
    """The posterior of one data set as reference methods see it: a density of D unbounded numbers z, known up to its integral.

    Args:
        columns: Names of theta's columns, D.
        log_density: From a float64 tensor z (N, D) to (N,), differentiable, -inf where it is impossible, never NaN.
        theta: From z (N, D) to theta in the user's units, (N, D).
        z: The way back.
        prior: n draws z (n, D) of the prior; of a density without one, a standard normal z.
        amortized: The trained network's posterior of the same data; None where nothing is trained.
        exact: n exact draws theta (n, D), from the simulator file's `posterior`; None where it has none.
        evidence: Whether the integral of the density is p(x), as of a likelihood times a prior.
    """

    columns: tuple[str, ...]
    log_density: Callable[[Tensor], Tensor]
    theta: Callable[[np.ndarray], np.ndarray]
    z: Callable[[np.ndarray], np.ndarray]
    prior: Callable[[int, np.random.Generator], np.ndarray]
    amortized: Proposal | None = None
    exact: Callable[[int, np.random.Generator], np.ndarray] | None = None
    evidence: bool = True


@dataclass(frozen=True)
class Reference:
    """What a reference method found.

    Args:
        theta: Draws in the user's units, (S, D); of C chains, chain by chain.
        chains: C; 0 where the draws are independent.
        facts: Numbers about the method by name: `acceptance`, `step`, `log_evidence`, `pareto_k`, `ess`, `efficiency`, `elbo`, ...
        curves: What is drawn over the method's iterations, by name, (T,) each: `elbo`, ...
        warnings: Sentences, each a reason not to take the draws for the posterior.
    """

    theta: np.ndarray
    chains: int = 0
    facts: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class ReferenceMethod(Protocol):
    """A part of the family `references`: a posterior by a road that needs no training.

    Attributes:
        NEEDS: What its target must have: `density`, `gradient` (of the density), `amortized` or `exact`.
    """

    NEEDS: str

    def run(
        self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Reference:
        """`draws` draws; the same generator gives the same draws.

        Raises:
            DataError: The target lacks what the method needs, or the method finds no point of finite density.
        """
        ...


class Diagnostic(Protocol):
    """A module of the family `diagnostics`: evidence in, numbers out; and a picture of what was computed.

    Attributes:
        TAKES: The kind of evidence it judges, a key of `sbiwb.evidence.KINDS`; `draws` where the module does not say.
        NEEDS: What the network must give: `estimate`, `marginals` or `joint` (see `Trainable.output_kind`); `joint` where the module does not say.
    """

    TAKES: str
    NEEDS: str
    Config: type

    def compute(self, evidence: Any, config: Any) -> Any:
        """A frozen dataclass with `values: tuple[Value, ...]`; pure."""
        ...

    def plot(self, result: Any) -> Figure:
        """Draws the result and computes nothing; functions `plot_NAME(result)` beside it make further pictures."""
        ...


class DiagnosticResult(Protocol):
    """What every diagnostic's result has beside its own fields."""

    @property
    def values(self) -> Sequence[Value]: ...


class Ticker(Protocol):
    """One running progress line."""

    def advance(self, n: int = 1, **facts: object) -> None: ...


class Reporter(Protocol):
    """Where workflow functions tell how far they are; the command line shows it, tests stay silent."""

    def task(
        self, name: str, total: int, *, unit: str, done: int = 0
    ) -> AbstractContextManager[Ticker]: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


class Tracker(Protocol):
    """A page elsewhere on which a training is watched; whatever it raises ends the tracking, never the training."""

    def start(self, config: Mapping[str, Any], *, step: int) -> str:
        """Begins, or goes on after `step`: what was logged after it comes again. Returns where to look, for people."""
        ...

    def log(self, step: int, facts: Mapping[str, float]) -> None:
        """Numbers at a step."""
        ...

    def close(self, *, finished: bool) -> None:
        """Ends; `finished` is False where training was stopped or failed and may go on later."""
        ...


class Silent:
    """The reporter of the processes that only compute."""

    def say(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def task(self, name: str, total: int, *, unit: str, done: int = 0) -> Any:
        return nullcontext(self)

    def advance(self, n: int = 1, **facts: object) -> None: ...
