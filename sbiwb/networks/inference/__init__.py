"""Inference networks: the density of z given the features of all inputs."""

from sbiwb.families import Family

family = Family("sbiwb.networks.inference", "inference network", default="nsf")
