"""Uncertainty of the network itself: what is trained instead of one estimator."""

from sbiwb.contracts import UncertaintyPart
from sbiwb.families import Family

family = Family("sbiwb.networks.uncertainty", "weight uncertainty", UncertaintyPart, default="none")
