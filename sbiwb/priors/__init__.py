"""Priors: one file a distribution, in numpy and scipy alone; `Prior` joins those of all parameters.

A new prior is a file with `class Config(UnivariateConfig)` whose `build` returns a `Univariate`; its name is the `kind`.
"""

from sbiwb.families import Family
from sbiwb.priors._prior import Prior
from sbiwb.priors._univariate import Univariate, UnivariateConfig

__all__ = ["Prior", "Univariate", "UnivariateConfig", "family"]

family = Family("sbiwb.priors", "prior")
