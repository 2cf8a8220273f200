r"""Hamiltonian Monte Carlo with trajectories of a given mean length (Pyro), for densities with a
gradient.

A trajectory follows the dynamics of a particle in the potential -log p(z) for some time, in
leapfrog steps, and its end is taken or refused by its change of energy. Masses (a dense matrix,
from the covariance of the warm-up) and step are tuned in the warm-up.

Warning: after tuning, time is measured where the posterior looks like a standard normal. There a
quarter of a turn, pi / 2, makes the end independent of the beginning, but half a turn only mirrors
it, so that chains of one length can keep their distance from the centre for ever (with masses a
little off: half of a variance, measured). The time is therefore drawn anew for each trajectory,
uniformly from 0 to twice `length`. Draws are nearly independent, but a refused trajectory leaves
its beginning twice, so thin is 2 by default.

References:
    Neal 2011, MCMC using Hamiltonian dynamics, https://arxiv.org/abs/1206.1901
    Hoffman & Gelman 2014 (tuning of the step), https://jmlr.org/papers/v15/hoffman14a.html
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from sbiwb.contracts import Reference, Reporter, Target
from sbiwb.families import Count
from sbiwb.references._pyro import HamiltonianConfig, Potential


class Config(HamiltonianConfig):
    """Options of HMC."""

    THIN: ClassVar[int] = 2

    length: float = Field(
        math.pi / 2,
        gt=0,
        description="Mean time of a trajectory, about as many sd of the posterior as it travels.",
    )
    most_steps: Count = Field(
        100, ge=1, le=100_000, description="Leapfrog steps after which a trajectory ends anyhow."
    )
    step: float | None = Field(
        None,
        gt=0,
        description="Leapfrog step in that time; if given, neither it nor the masses are tuned.",
    )

    def run(
        self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Reference:
        """`draws` draws, chain by chain; facts: `acceptance`, `step`, `divergences`, and
        `gradients`: evaluations of the density's.

        Raises:
            DataError: The density has no gradient, or no start has a finite density.
        """
        tuned = self.step is None

        def kernel(mcmc: Any, potential: Potential) -> Any:
            return _of_random_length(mcmc.HMC, self.most_steps)(
                potential_fn=potential,
                step_size=self.step or 1.0,
                trajectory_length=self.length,
                adapt_step_size=tuned,
                adapt_mass_matrix=tuned,
                full_mass=True,
                target_accept_prob=self.target_accept,
            )

        return self.sampled("hmc", kernel, target, draws, rng, reporter)


def _of_random_length(hmc: Any, most_steps: int) -> Any:
    """Pyro's kernel with a new length for each trajectory, uniform between one step and twice its
    own, but of not too many steps."""

    class RandomLength(hmc):
        @property
        def num_steps(self) -> int:
            steps = math.ceil(2 * self.trajectory_length * torch.rand(()).item() / self.step_size)
            return min(max(1, steps), most_steps)

    return RandomLength
