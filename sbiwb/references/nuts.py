r"""The No-U-Turn sampler (Pyro): Hamiltonian Monte Carlo that finds the length of each trajectory,
for densities with a gradient.

A trajectory is doubled forwards and backwards in time until it turns, and a point of it is drawn by
its density. Masses (a dense matrix) and step are tuned in the warm-up as in Stan.

Warning: steps follow each other in Python, about a millisecond each for a cheap density: tens of
thousands of draws take minutes. Draws are nearly independent, so thin is 1 by default.

References:
    Hoffman & Gelman 2014, https://jmlr.org/papers/v15/hoffman14a.html
    Betancourt 2017 (multinomial trajectories), https://arxiv.org/abs/1701.02434
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from sbiwb.contracts import Reference, Reporter, Target
from sbiwb.families import Count
from sbiwb.references._pyro import HamiltonianConfig, Potential


class Config(HamiltonianConfig):
    """Options of NUTS."""

    depth: Count = Field(
        10, ge=1, le=20, description="Doublings after which a trajectory ends anyhow."
    )

    def run(
        self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Reference:
        """`draws` draws, chain by chain; facts: `acceptance`, `step`, `divergences`, and
        `gradients`: evaluations of the density's.

        Raises:
            DataError: The density has no gradient, or no start has a finite density.
        """

        def kernel(mcmc: Any, potential: Potential) -> Any:
            return mcmc.NUTS(
                potential_fn=potential,
                full_mass=True,
                target_accept_prob=self.target_accept,
                max_tree_depth=self.depth,
            )

        return self.sampled("nuts", kernel, target, draws, rng, reporter)
