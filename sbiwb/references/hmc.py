r"""Hamiltonian Monte Carlo with trajectories of one length (Pyro), for densities with a gradient.

A trajectory follows the dynamics of a particle in the potential -log p(z) for a fixed time, in leapfrog steps, and its end is taken or
refused by its change of energy. Masses (a dense matrix, from the covariance of the warm-up) and step are tuned in the warm-up.

Warning: after tuning, time is measured where the posterior looks like a standard normal. There a quarter of a turn, pi / 2, makes the end
independent of the beginning, and a whole turn, 2 pi, comes back to it: do not lengthen trajectories without a look at the effective
sample size, or use `nuts`.

References:
    Neal 2011, MCMC using Hamiltonian dynamics, https://arxiv.org/abs/1206.1901
    Hoffman & Gelman 2014 (tuning of the step), https://jmlr.org/papers/v15/hoffman14a.html
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from sbiwb.contracts import Reference, Reporter, Target
from sbiwb.references._pyro import HamiltonianConfig


class Config(HamiltonianConfig):
    """Options of HMC."""

    length: float = Field(math.pi / 2, gt=0, description="Time that a trajectory takes: about sd of the posterior that it can travel.")
    step: float | None = Field(None, gt=0, description="Leapfrog step in that time; if given, neither it nor the masses are tuned.")

    def run(self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter) -> Reference:
        """`draws` draws, chain by chain; facts: `acceptance`, `step`, `divergences`, and `gradients`: evaluations of the density's.

        Raises:
            DataError: The density has no gradient, or no start has a finite density.
        """
        tuned = self.step is None

        def kernel(mcmc, potential):
            return mcmc.HMC(
                potential_fn=potential,
                step_size=self.step or 1.0,
                trajectory_length=self.length,
                adapt_step_size=tuned,
                adapt_mass_matrix=tuned,
                full_mass=True,
                target_accept_prob=self.target_accept,
            )

        return self.sampled("hmc", kernel, target, draws, rng, reporter)
