"""Adapters: the user's variables to float32 arrays for the network, and theta to unconstrained z and back. numpy only."""

from sbiwb.adapters._input import InputAdapter, InputPlan, misfit
from sbiwb.adapters._reading import ExpectedInput, read
from sbiwb.adapters._theta import ThetaMap
from sbiwb.families import Family

family = Family("sbiwb.adapters", "transform")

__all__ = ["ExpectedInput", "InputAdapter", "InputPlan", "ThetaMap", "family", "misfit", "read"]
