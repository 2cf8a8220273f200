"""Inference networks: the density of z given the features of all inputs."""

from sbiwb.contracts import InferencePart
from sbiwb.families import Family

family = Family("sbiwb.networks.inference", "inference network", InferencePart, default="nsf")
