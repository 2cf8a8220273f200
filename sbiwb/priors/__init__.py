"""Priors: one file a distribution, in numpy and scipy alone; `Prior` joins those of all parameters.

A new prior is a file with `class Config(UnivariateConfig)` whose `build` returns a
`UnivariatePrior`; its name is the `kind`.
"""

from sbiwb.contracts import PriorPart
from sbiwb.families import Family
from sbiwb.priors._prior import Prior
from sbiwb.priors._univariate import UnivariateConfig, UnivariatePrior

__all__ = ["Prior", "UnivariateConfig", "UnivariatePrior", "family"]

family = Family("sbiwb.priors", "prior", PriorPart)
