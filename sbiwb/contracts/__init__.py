"""What each kind of part promises, with shapes and typed capabilities.

Imports torch for type checkers only, so that simulating needs none;
`sbiwb.contracts.network_modules`, the promises of networks, does import it.
"""

from sbiwb.contracts.distribution import Distribution
from sbiwb.contracts.execution import Executor
from sbiwb.contracts.inputs import InputShape, SeriesTransform, Transform
from sbiwb.contracts.part_configs import (
    DiagnosticPart,
    DiagnosticResult,
    ExecutorPart,
    InferencePart,
    Level,
    Measured,
    OutputKind,
    PriorPart,
    ReferencePart,
    SummaryPart,
    TargetNeed,
    TrackerPart,
    TransformPart,
    UncertaintyPart,
)
from sbiwb.contracts.reporting import Reporter, Silent, Ticker, Tracker
from sbiwb.contracts.targets import Proposal, Reference, Target

__all__ = [
    "DiagnosticPart",
    "DiagnosticResult",
    "Distribution",
    "Executor",
    "ExecutorPart",
    "InferencePart",
    "InputShape",
    "Level",
    "Measured",
    "OutputKind",
    "PriorPart",
    "Proposal",
    "Reference",
    "ReferencePart",
    "Reporter",
    "SeriesTransform",
    "Silent",
    "SummaryPart",
    "Target",
    "TargetNeed",
    "Ticker",
    "Tracker",
    "TrackerPart",
    "Transform",
    "TransformPart",
    "UncertaintyPart",
]
