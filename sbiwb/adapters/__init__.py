"""Adapters: the user's variables to float32 arrays, and theta to unconstrained z and back.

numpy only.
"""

from sbiwb.adapters._flat import flatten
from sbiwb.adapters._input import InputAdapter, InputState
from sbiwb.adapters._plan import InputPlan, misfit
from sbiwb.adapters._reading import ExpectedInput, read
from sbiwb.adapters._theta import ThetaMap, ThetaState
from sbiwb.adapters._transform import SeriesConfig
from sbiwb.contracts import TransformPart
from sbiwb.families import Family

family = Family("sbiwb.adapters", "transform", TransformPart)

__all__ = [
    "ExpectedInput",
    "InputAdapter",
    "InputPlan",
    "InputState",
    "SeriesConfig",
    "ThetaMap",
    "ThetaState",
    "TransformPart",
    "family",
    "flatten",
    "misfit",
    "read",
]
