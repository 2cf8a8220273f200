"""Summary networks: one input of the network, with its mask, to H features."""

from sbiwb.contracts import SummaryPart
from sbiwb.families import Family

family = Family("sbiwb.networks.summary", "summary network", SummaryPart)
