r"""An ensemble of walkers (emcee): for densities without a gradient, whatever their scales and correlations.

Walkers move along the line to another walker of the ensemble, $z' = y + g (z - y)$ with $1/2 \le g \le 2$: the stretch move of Goodman
and Weare, the same for every affine map of z. Each walker counts as a chain.

Warning: an ensemble works in few dimensions (say up to 20), and its walkers are not independent of each other, so that R-hat flatters
it a little; the autocorrelation time, over all walkers, is therefore judged too. It is about 5 D to 10 D iterations, thin is 5 D by
default (at least 10).

References:
    Goodman & Weare 2010, https://doi.org/10.2140/camcos.2010.5.65
    Foreman-Mackey, Hogg, Lang & Goodman 2013, https://arxiv.org/abs/1202.3665
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from sbiwb.contracts import Reference, Reporter, Target
from sbiwb.errors import DataError
from sbiwb.extras import imported
from sbiwb.families import Count
from sbiwb.references._chains import MarkovChain, acceptance_warning, joined, progress
from sbiwb.references._start import density, starts
from sbiwb.seeds import torch_seed

SENSIBLE = 0.1, 0.9  # acceptance
LONG = 50  # autocorrelation times of a chain that tells its own autocorrelation time, after emcee's manual


class Config(MarkovChain):
    """Options of the ensemble."""

    NEEDS: ClassVar[str] = "density"

    walkers: Count | None = Field(None, ge=2, le=100_000, description="Walkers, at least 2 D; by default 4 D, and no fewer than 32.")
    warmup: Count = Field(1000, ge=0, description="Iterations that are thrown away.")

    def run(self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter) -> Reference:
        """`draws` draws, walker by walker; facts: `acceptance`, and `autocorrelation`: its time in iterations.

        Raises:
            DataError: Fewer walkers than 2 D, or no start of finite density.
        """
        d = len(target.columns)
        walkers, thin = self._walkers(d), self.thin or max(10, 5 * d)
        length = -(-draws // walkers)
        sampler = _sampler(target, walkers, d, rng)
        state = starts(target, self.start, walkers, rng)
        with progress(reporter, "ensemble", self.warmup + length * thin) as line:
            if self.warmup:
                for state in sampler.sample(state, iterations=self.warmup, store=False):
                    line.step()
            sampler.reset()
            for _ in sampler.sample(state, iterations=length * thin):
                line.step()
        kept = sampler.get_chain()[thin - 1 :: thin].swapaxes(0, 1)
        facts = {"acceptance": float(sampler.acceptance_fraction.mean()), "autocorrelation": _autocorrelation(sampler)}
        return Reference(target.theta(joined(kept, draws)), walkers, facts, warnings=_warnings(facts, length * thin))

    def _walkers(self, d: int) -> int:
        walkers = self.walkers or max(32, 4 * d)
        if walkers < 2 * d:
            raise DataError(
                f"{walkers} walkers cannot span {d} dimensions",
                where="reference method 'ensemble': walkers",
                todo=f"Give at least {2 * d}, or leave the key out.",
            )
        return walkers


def _sampler(target: Target, walkers: int, d: int, rng: np.random.Generator) -> Any:
    """An emcee sampler with its own stream of random numbers."""
    emcee = imported("emcee", extra="reference", where="reference method 'ensemble'")
    sampler = emcee.EnsembleSampler(walkers, d, lambda z: density(target, np.ascontiguousarray(z)), vectorize=True)
    sampler.random_state = np.random.RandomState(torch_seed(rng)).get_state()
    return sampler


def _autocorrelation(sampler: Any) -> float:
    """The longest integrated autocorrelation time of a column, in iterations; NaN for walkers that never move."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.max(sampler.get_autocorr_time(tol=0)))


def _warnings(facts: dict[str, float], iterations: int) -> tuple[str, ...]:
    time, moving = facts["autocorrelation"], acceptance_warning(facts["acceptance"], *SENSIBLE, todo="another start, or another method")
    if LONG * time <= iterations:
        return moving
    said = f"{iterations:,} iterations are fewer than {LONG} autocorrelation times of about {time:.0f}: more draws, a larger thin or start: map"
    return (*moving, said)
