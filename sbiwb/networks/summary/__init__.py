"""Summary networks: one input of the network, with its mask, to H features."""

from sbiwb.families import Family

family = Family("sbiwb.networks.summary", "summary network")
