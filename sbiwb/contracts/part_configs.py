"""The base `Config` of every family: how a part is built, and its capabilities with defaults.

A part's `Config` derives from the base of its family. What is abstract here must be there, or the
part is refused when it is loaded (see `sbiwb.families`).

Shapes: D parameter columns, H summary features, N pairs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from sbiwb.evidence import EvidenceKind, Value
from sbiwb.families import Part

if TYPE_CHECKING:
    from sbiwb.contracts.distribution import Distribution
    from sbiwb.contracts.execution import Executor
    from sbiwb.contracts.inputs import InputShape, SeriesTransform, Transform
    from sbiwb.contracts.network_modules import InferenceModule, SummaryModule, TrainableModule
    from sbiwb.contracts.reporting import Reporter, Tracker
    from sbiwb.contracts.targets import Reference, Target
    from sbiwb.executors import Cluster
    from sbiwb.networks.estimator import Estimator

Measured = dict[str, list]
"""Statistics of a transform by name, plain numbers in lists."""

TargetNeed = Literal["density", "gradient", "amortized", "exact"]


class OutputKind(StrEnum):
    """What a network gives, from least to most."""

    ESTIMATE = "estimate"  # one number for each parameter
    MARGINALS = "marginals"  # draws of each parameter alone
    JOINT = "joint"  # a density of all parameters

    def includes(self, needed: OutputKind) -> bool:
        """Whether who has this has what is needed too."""
        order = list(OutputKind)
        return order.index(self) >= order.index(needed)


class PriorPart(Part, ABC):
    """Options of a prior of one parameter, or of the distribution of a context variable."""

    unit: str = Field("", description="Unit of the parameter, shown in tables and figures.")

    @abstractmethod
    def build(self) -> Distribution:
        """The distribution."""


class TransformPart(Part, ABC):
    """Options of one transform of an input.

    Rows are data sets (vector), or members, steps or cells of all data sets (set, series, grid).
    Missing values are NaN and come only where a transform that `fills` them follows: learn from the
    others, and pass them on.

    Attributes:
        fills: Whether missing values end here: NaN may come in, and none goes out.
    """

    fills: ClassVar[bool] = False

    def measure(self, values: np.ndarray) -> Measured:
        """Statistics of training values (rows, C), as lists of plain numbers."""
        return {}

    @abstractmethod
    def build(self, measured: Measured) -> Transform | SeriesTransform:
        """The transform with its learned statistics."""


class SummaryPart(Part, ABC):
    """Options of a summary network."""

    @property
    def penalty_weight(self) -> float:
        """Weight in the loss of the squared MMD between summaries and N(0, I); 0: they may lie
        anywhere.
        """
        return 0.0

    @abstractmethod
    def build(self, shape: InputShape, features: int) -> SummaryModule:
        """The network from an input of this shape to as many features.

        Raises:
            ConfigError: It cannot take the shape.
        """


class InferencePart(Part, ABC):
    """Options of an inference network.

    Attributes:
        circular: Whether columns of z may be angles: then `build_circular` makes the network.
    """

    circular: ClassVar[bool] = False

    @property
    def output_kind(self) -> OutputKind:
        """What the network gives."""
        return OutputKind.JOINT

    @property
    def theta_map(self) -> Literal["prior", "standardize"]:
        """How a parameter is made unbounded where the YAML leaves it to the prior."""
        return "prior"

    @property
    def is_independent(self) -> bool:
        """Whether the columns are independent of each other given the features."""
        return False

    @property
    def head_widths(self) -> Sequence[int]:
        """Width of each hidden layer of the heads that discrete parameters get."""
        return (64, 64)

    @abstractmethod
    def build(self, features: int, context: int) -> InferenceModule:
        """The network of D columns given H features.

        Args:
            features: D.
            context: H.

        Raises:
            ConfigError: A size that it cannot have.
        """

    def build_circular(
        self, features: int, context: int, circular: Sequence[int]
    ) -> InferenceModule:
        """The same where the columns `circular` are angles in [-pi, pi), whose two ends meet."""
        raise NotImplementedError(f"{self.kind} knows no circular parameters")


class UncertaintyPart(Part, ABC):
    """Options of how unsure a network is of its weights.

    Attributes:
        seeds_each_member: Whether each network that it makes has a seed of its own.
    """

    seeds_each_member: ClassVar[bool] = False

    @abstractmethod
    def build(self, make: Callable[[int], Estimator], pairs: int) -> TrainableModule:
        """What is trained.

        Args:
            make: The untrained network of a member, by its number.
            pairs: Training pairs N.

        Raises:
            ConfigError: An option does not fit the network.
        """


class DiagnosticResult:
    """What a check found; a concrete one is a frozen dataclass with fields of its own beside these.

    Attributes:
        values: The numbers, as tables and verdicts show them.
    """

    values: Sequence[Value]

    @property
    def definitions(self) -> Mapping[str, str]:
        """What each number means, by its name; usually a class variable."""
        return {}


@dataclass(frozen=True)
class Level:
    """When a calibration check rejects.

    Args:
        alpha: Chance that any of all checks rejects a calibrated posterior.
        tolerance: Largest effect that warns only.
    """

    alpha: float = 0.05
    tolerance: float = 0.03


class DiagnosticPart(Part):
    """Options of a check.

    Its file also has `compute(evidence, config) -> Result`, pure, and `plot(result) -> Figure`,
    which computes nothing; functions `plot_NAME(result)` beside it make further pictures.

    Attributes:
        takes: The kind of evidence that it judges, a key of `sbiwb.evidence.KINDS`.
        needs: What the network must give.
        calibrates: Whether its numbers have p-values; one that cannot be had is a warning then.
    """

    takes: ClassVar[EvidenceKind] = EvidenceKind.DRAWS
    needs: ClassVar[OutputKind] = OutputKind.JOINT
    calibrates: ClassVar[bool] = False

    @property
    def level(self) -> Level:
        """When its p-values reject; of no account where it has none."""
        return Level()


class ReferencePart(Part, ABC):
    """Options of a reference method: a posterior by a road that needs no training.

    Attributes:
        needs: What its target must have: `density`, `gradient` (of the density), `amortized` or
            `exact`.
        packages: Of the extra `reference`, which it loads only when its draws are judged.
    """

    needs: ClassVar[TargetNeed] = "density"
    packages: ClassVar[tuple[str, ...]] = ()

    @property
    def uses_amortized(self) -> bool:
        """Whether it begins at the trained network's posterior, or proposes from it."""
        return self.needs == "amortized"

    @abstractmethod
    def run(
        self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Reference:
        """`draws` draws; the same generator gives the same draws.

        Raises:
            DataError: The target lacks what the method needs, or it finds no point of finite
                density.
        """


class ExecutorPart(Part, ABC):
    """Options of an executor."""

    @abstractmethod
    def build(self, cluster: Cluster) -> Executor:
        """The executor.

        Args:
            cluster: What jobs ask of the batch system, for those whose workers come from one.
        """


class TrackerPart(Part, ABC):
    """Options of a tracker."""

    @abstractmethod
    def build(self, folder: Path, name: str) -> Tracker:
        """The tracker of a training.

        Args:
            folder: Of the training's files.
            name: Of the run.
        """
