"""Uncertainty of the network itself: what is trained in place of one estimator, and the networks
whose mixture is the posterior.
"""

from sbiwb.contracts import UncertaintyPart
from sbiwb.families import Family

family = Family("sbiwb.networks.uncertainty", "weight uncertainty", UncertaintyPart, default="none")
