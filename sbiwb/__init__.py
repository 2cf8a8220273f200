"""sbiwb: a command-line workbench for amortized simulation-based inference.

Example:
    >>> from sbiwb import load_posterior
    >>> posterior = load_posterior("runs/influenza")                      # doctest: +SKIP
    >>> draws = posterior.sample({"in_bed": counts[None, :]}, 1000, rng=0)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sbiwb.posterior import Posterior
    from sbiwb.project.trained import load_posterior

__version__ = "0.1.0"
__all__ = ["Posterior", "__version__", "load_posterior"]


def __getattr__(name: str) -> Any:
    """Loads torch only when something of it is asked for."""
    if name == "load_posterior":
        from sbiwb.project.trained import load_posterior

        return load_posterior
    if name == "Posterior":
        from sbiwb.posterior import Posterior

        return Posterior
    raise AttributeError(f"module 'sbiwb' has no attribute '{name}'")
