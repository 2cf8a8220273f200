"""Pyro's Hamiltonian kernels, one chain after the other, without its traces of global state: seeds,
validation, progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sbiwb.contracts import Reference, Reporter, Target, TargetNeed
from sbiwb.errors import DataError
from sbiwb.extras import imported
from sbiwb.families import Count
from sbiwb.references._chains import (
    ChainProgress,
    MarkovChain,
    acceptance_warning,
    progress,
    shares,
)
from sbiwb.references._start import has_gradient, starts
from sbiwb.seeds import torch_seed

ACCEPTANCE_OK = 0.5, 1.0


class HamiltonianConfig(MarkovChain):
    """Options of every Hamiltonian method."""

    needs: ClassVar[TargetNeed] = "gradient"
    packages: ClassVar[tuple[str, ...]] = (*MarkovChain.packages, "pyro")
    THIN: ClassVar[int] = 1  # where `thin` is null

    chains: Count = Field(4, ge=1, le=1000, description="Chains, one after the other.")
    warmup: Count = Field(
        500,
        ge=0,
        description="Trajectories of each chain that are thrown away, in which step and masses "
        "are tuned.",
    )
    target_accept: float = Field(
        0.8,
        gt=0,
        lt=1,
        description="Acceptance that the step is tuned to; nearer to 1 is slower and safer.",
    )

    def sampled(
        self,
        name: str,
        kernel: Callable[[Any, Potential], Any],
        target: Target,
        draws: int,
        rng: np.random.Generator,
        reporter: Reporter,
    ) -> Reference:
        """`draws` draws, chain by chain, of the kernel that `kernel(pyro.infer.mcmc, potential)`
        makes anew for each chain."""
        begin, thin = starts(target, self.start, self.chains, rng), self.thin or self.THIN
        if not has_gradient(target, begin):
            raise DataError(
                "the log-density has no finite gradient at the starts of the chains",
                where=f"reference method '{name}'",
                todo="Write the likelihood in torch operations that can be differentiated, or "
                "choose ensemble or metropolis.",
            )
        potential, parts = Potential(target), shares(draws, self.chains)
        with (
            _aside(torch_seed(rng)),
            progress(reporter, name, self.chains * self.warmup + draws * thin) as line,
        ):
            mcmc = imported(
                "pyro.infer.mcmc", extra="reference", where=f"reference method '{name}'"
            )
            chains = [
                _chain(
                    kernel(mcmc, potential),
                    point,
                    warmup=self.warmup,
                    draws=int(part),
                    thin=thin,
                    line=line,
                )
                for point, part in zip(begin, parts, strict=True)
                if part
            ]
        facts = {**_facts(chains), "gradients": float(potential.calls)}
        theta = target.theta(np.concatenate([chain.z for chain in chains]))
        return Reference(theta, self.chains, facts, warnings=_warnings(facts, draws * thin))


class Potential:
    """-log p(z) as Pyro asks for it, and how often it asked; infinite where z has left the
    numbers."""

    def __init__(self, target: Target) -> None:
        self.target, self.calls = target, 0

    def __call__(self, parameters: dict[str, Tensor]) -> Tensor:
        self.calls += 1
        z = parameters["z"]
        if not torch.isfinite(z).all():
            return z.sum() * torch.nan
        return (
            0.0 * z.sum() - self.target.log_density(z[None])[0]
        )  # the first term gives an impossible region a gradient


@dataclass(frozen=True)
class _Chain:
    """Draws z (S, D) of one chain, and how its kernel fared."""

    z: np.ndarray
    acceptance: float
    step: float
    divergences: int


def _facts(chains: Sequence[_Chain]) -> dict[str, float]:
    return {
        "acceptance": float(np.mean([chain.acceptance for chain in chains])),
        "step": float(np.mean([chain.step for chain in chains])),
        "divergences": float(sum(chain.divergences for chain in chains)),
    }


def _chain(
    kernel: Any, start: np.ndarray, *, warmup: int, draws: int, thin: int, line: ChainProgress
) -> _Chain:
    """`draws` points, every `thin`-th after the warm-up, of a chain that begins at start (D,)."""
    kernel.initial_params = {"z": torch.from_numpy(start.copy())}
    kernel.setup(warmup)
    point, kept = kernel.initial_params, np.empty((draws, len(start)))
    for i in range(-warmup, draws * thin):
        point = kernel.sample(point)
        line.step()
        if i >= 0 and (i + 1) % thin == 0:
            kept[i // thin] = point["z"].numpy()
    acceptance, divergences = (
        float(kernel.logging()["acc. prob"]),
        len(kernel.diagnostics()["divergences"]),
    )
    return _Chain(kept, acceptance, float(kernel.step_size), divergences)


@contextmanager
def _aside(seed: int) -> Iterator[None]:
    """A seeded stream for torch inside; outside, its stream and the validation of its distributions
    stay as they were.

    Importing Pyro switches that validation on, importing zuko switches it off.
    """
    validate = torch.distributions.Distribution._validate_args
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pyro = imported("pyro", extra="reference", where="reference methods 'hmc' and 'nuts'")
            with pyro.validation_enabled(False):
                yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(validate)


def _warnings(facts: dict[str, float], trajectories: int) -> tuple[str, ...]:
    moving = acceptance_warning(
        facts["acceptance"], *ACCEPTANCE_OK, todo="more warmup, or another start"
    )
    if not facts["divergences"]:
        return moving
    share = f"{facts['divergences']:.0f} of {trajectories:,} trajectories diverged"
    return (
        *moving,
        f"{share}: a narrow part of the posterior, or its edge, may be missed; a higher "
        "target_accept or another method",
    )
