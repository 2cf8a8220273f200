r"""An ensemble of walkers (emcee): for densities without a gradient, whatever their scales and
correlations.

Walkers move along the line to another walker of the ensemble, $z' = y + g (z - y)$ with $1/2 \le g
\le 2$: the stretch move of Goodman and Weare, the same for every affine map of z. Each walker
counts as a chain.

Warning: an ensemble works in few dimensions (say up to 20), and its walkers are not independent of
each other, so that R-hat flatters it a little. The autocorrelation time of a walker was 25 to 31
iterations for a correlated normal in 2 dimensions and 115 in 10, so thin is 15 D by default (at
least 30).

References:
    Goodman & Weare 2010, https://doi.org/10.2140/camcos.2010.5.65
    Foreman-Mackey, Hogg, Lang & Goodman 2013, https://arxiv.org/abs/1202.3665
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import Reference, Reporter, Target, TargetNeed
from sbiwb.errors import DataError
from sbiwb.extras import imported
from sbiwb.families import Count
from sbiwb.references._chains import (
    ChainProgress,
    MarkovChain,
    acceptance_warning,
    joined,
    progress,
)
from sbiwb.references._start import density, starts
from sbiwb.seeds import torch_seed

if TYPE_CHECKING:
    from emcee import EnsembleSampler, State

ACCEPTANCE_OK = 0.1, 0.9


class Config(MarkovChain):
    """Options of the ensemble."""

    needs: ClassVar[TargetNeed] = "density"
    packages: ClassVar[tuple[str, ...]] = (*MarkovChain.packages, "emcee")

    walkers: Count | None = Field(
        None,
        ge=2,
        le=100_000,
        description="Walkers, at least 2 D; by default 4 D, and no fewer than 32.",
    )
    warmup: Count = Field(1000, ge=0, description="Iterations that are thrown away.")

    def run(
        self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Reference:
        """`draws` draws, walker by walker; fact: `acceptance`.

        Raises:
            DataError: Fewer walkers than 2 D, or no start of finite density.
        """
        d = len(target.columns)
        walkers = self._walkers(d)
        thin = self.thin or max(30, 15 * d)
        length = -(-draws // walkers)
        sampler = _sampler(target, walkers, d, rng)
        state = starts(target, self.start, walkers, rng)
        with progress(reporter, "ensemble", self.warmup + length * thin) as line:
            state = _walked(sampler, state, self.warmup, 1, line)
            sampler.reset()
            _walked(sampler, state, length, thin, line)
        acceptance = float(sampler.acceptance_fraction.mean())
        theta = target.theta(joined(sampler.get_chain().swapaxes(0, 1), draws))
        warnings = acceptance_warning(
            acceptance, *ACCEPTANCE_OK, todo="another start, or another method"
        )
        return Reference(theta, walkers, {"acceptance": acceptance}, warnings=warnings)

    def _walkers(self, d: int) -> int:
        walkers = self.walkers or max(32, 4 * d)
        if walkers < 2 * d:
            raise DataError(
                f"{walkers} walkers cannot span {d} dimensions",
                where="reference method 'ensemble': walkers",
                todo=f"Give at least {2 * d}, or leave the key out.",
            )
        return walkers


def _sampler(target: Target, walkers: int, d: int, rng: np.random.Generator) -> EnsembleSampler:
    """An emcee sampler with its own stream of random numbers."""
    emcee = imported("emcee", extra="reference", where="reference method 'ensemble'")
    sampler: EnsembleSampler = emcee.EnsembleSampler(
        walkers, d, lambda z: density(target, np.ascontiguousarray(z)), vectorize=True
    )
    sampler.random_state = np.random.RandomState(torch_seed(rng)).get_state()
    return sampler


def _walked(
    sampler: EnsembleSampler,
    state: State | np.ndarray,
    length: int,
    thin: int,
    line: ChainProgress,
) -> State | np.ndarray:
    """Where the ensemble is after `length` times `thin` iterations from `state`.

    The sampler keeps every `thin`-th.
    """
    for reached in sampler.sample(state, iterations=length, thin_by=thin):
        state = reached
        line.step(thin)
    return state
