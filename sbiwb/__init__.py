"""sbiwb: a command-line workbench for amortized simulation-based inference.

Example:
    >>> from sbiwb import load_posterior
    >>> posterior = load_posterior("runs/influenza")                      # doctest: +SKIP
    >>> draws = posterior.sample({"in_bed": counts[None, :]}, 1000, rng=0)  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sbiwb.posterior import Posterior
    from sbiwb.project.likelihood_bridges import pymc_log_likelihood, torch_log_likelihood
    from sbiwb.project.trained import load_posterior
    from sbiwb.project.trained_likelihood import load_likelihood

__version__ = "0.1.0"
__all__ = [
    "Posterior",
    "__version__",
    "load_likelihood",
    "load_posterior",
    "pymc_log_likelihood",
    "torch_log_likelihood",
]

HOMES = {
    "Posterior": "sbiwb.posterior",
    "load_likelihood": "sbiwb.project.trained_likelihood",
    "load_posterior": "sbiwb.project.trained",
    "pymc_log_likelihood": "sbiwb.project.likelihood_bridges",
    "torch_log_likelihood": "sbiwb.project.likelihood_bridges",
}


def __getattr__(name: str) -> Any:
    """Loads torch only when something of it is asked for."""
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module 'sbiwb' has no attribute '{name}'")
