"""What reference methods draw from, and what they found.

Shapes: N points, S draws, D parameter columns, T iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


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
    """The posterior of one data set as reference methods see it: a density of D unbounded numbers
    z, known up to its integral.

    Args:
        columns: Names of theta's columns, D.
        log_density: From a float64 tensor z (N, D) to (N,), differentiable, -inf where it is
            impossible, never NaN.
        theta: From z (N, D) to theta in the user's units, (N, D).
        z: The way back.
        prior: n draws z (n, D) of the prior; of a density without one, a standard normal z.
        amortized: The trained network's posterior of the same data; None where nothing is trained.
        exact: n exact draws theta (n, D), from the simulator file's `posterior`; None where it has
            none.
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
        facts: Numbers about the method by name: `acceptance`, `step`, `log_evidence`, `pareto_k`,
            `ess`, `efficiency`, `elbo`, ...
        curves: What is drawn over the method's iterations, by name, (T,) each: `elbo`, ...
        warnings: Sentences, each a reason not to take the draws for the posterior.
    """

    theta: np.ndarray
    chains: int = 0
    facts: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
