"""Posterior and likelihood of a run together: the log evidence by Bayes' rule at any theta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sbiwb.posterior import Posterior
from sbiwb.priors import Prior
from sbiwb.project.learned_likelihood import LearnedLikelihood
from sbiwb.records import Columns
from sbiwb.simulation.source import SimulatorSource


@dataclass(frozen=True)
class LearnedDensities:
    """A learned likelihood in the place of one that a simulator file has.

    Args:
        source: The simulator file.
        learned: The likelihood.
    """

    source: SimulatorSource
    learned: LearnedLikelihood

    has_likelihood = True

    @property
    def prior(self) -> Prior:
        return self.learned.prior

    def likelihood(self, x: Columns, context: Columns, which: int) -> Callable[[Tensor], Tensor]:
        """log l of the data set `which` at theta (S, D), (S,)."""

        def log_likelihood(theta: Tensor) -> Tensor:
            if torch.is_grad_enabled() and theta.requires_grad:
                return self.learned.log_prob_torch(theta, x, context, which)
            parts = self.learned.log_probs(theta.detach().numpy(), x, context, which)
            return torch.from_numpy(np.sum([part.sum(1) for part in parts.values()], axis=0))

        return log_likelihood


@dataclass(frozen=True)
class JointModel:
    """Both networks of a run.

    Args:
        posterior: q(theta | x).
        likelihood: l(x | theta).
    """

    posterior: Posterior
    likelihood: LearnedLikelihood

    def log_evidence_at(self, theta: np.ndarray, x: Columns, context: Columns) -> np.ndarray:
        """log p(theta) + log l(x | theta) - log q(theta | x) of N data sets, (N, S).

        Args:
            theta: (N, S, D).
            x: Observables.
            context: Context variables.
        """
        flat = theta.reshape(-1, theta.shape[-1])
        log_prior = self.likelihood.prior.log_prob(flat).reshape(theta.shape[:-1])
        log_q = self.posterior.log_prob(theta, {**x, **context})
        with np.errstate(invalid="ignore"):
            c = log_prior + self.likelihood.log_prob(theta, x, context) - log_q
        return np.where(np.isnan(c), -np.inf, c)
