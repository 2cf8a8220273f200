"""The YAML as one typed, frozen model: seven sections, every key bounded and described, unknown
keys refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from sbiwb import adapters, diagnostics, executors, priors, trackers
from sbiwb.config.section import Columns, Name, Names, Section, not_reserved
from sbiwb.config.structure import DataSetMembers, Likelihood, Structures
from sbiwb.contracts import (
    DiagnosticPart,
    Executor,
    ExecutorPart,
    InferencePart,
    PriorPart,
    SummaryPart,
    TrackerPart,
    TransformPart,
    UncertaintyPart,
)
from sbiwb.executors import Cluster
from sbiwb.families import WHOLE, Count, Seed
from sbiwb.networks.inference import family as inference_networks
from sbiwb.networks.summary import family as summary_networks
from sbiwb.networks.uncertainty import family as uncertainties
from sbiwb.simulation.command import Failures, ProgramCommand
from sbiwb.training.train_options import TrainOptions

MAX_PAIRS = 100_000_000
MAX_BLOCK = 1_000_000
MAX_DRAWS = 1_000_000


Pairs = Annotated[int, Field(ge=1, le=MAX_PAIRS), WHOLE]
Prior = Annotated[PriorPart, priors.family]
Constant = bool | int | float | str | list[Any]


class Observation(Section):
    """One file of real data."""

    file: str = Field(
        description="CSV, NPZ, NPY, JSON, HDF5 or Parquet file, relative to this config."
    )
    columns: dict[str, str | list[str]] = Field(
        {}, description="Observable or context variable: its column or array in the file."
    )
    group_by: Columns = Field(
        [], description="Columns whose distinct values part the rows into many data sets."
    )
    context: dict[str, float | str] = Field(
        {},
        description="Context variables: a number, a column, or `rows`, the number of rows.",
    )


class ProblemSection(Section):
    """What is simulated, and what was observed."""

    simulator: str | ProgramCommand | DataSetMembers = Field(
        description="A Python file (relative to this config) or package.module, optionally with "
        ":function; or an external program."
    )
    batched: bool = Field(
        True, description="Whether the function takes arrays of N parameters at once, or one theta."
    )
    parameters: dict[Name, Prior] = Field(
        min_length=1, description="The prior; its order is the order of theta's columns."
    )
    context: dict[Name, Prior] = Field(
        {}, description="Known design variables, drawn for every data set."
    )
    constants: dict[Name, Constant] = Field({}, description="Passed to the simulator as they are.")
    missing: Names = Field(
        [],
        description="Observables in which NaN is a value, a missing one; elsewhere it is a failed "
        "simulation.",
    )
    structure: Structures = Field(
        {},
        description="What is independent given theta and context, by observable, or under a name "
        "of their own where several belong together; entries are independent of each other.",
    )
    observations: dict[str, Observation] = Field({}, description="Real data sets by name.")


class Simulate(Section):
    """How many pairs, from which seed."""

    train: Pairs = Field(20_000, description="Pairs to train on.")
    validation: Pairs = Field(2_000, description="Pairs for early stopping.")
    test: Pairs = Field(1_000, description="Pairs that only `diagnose` reads.")
    seed: Seed = Field(0, description="Root of all simulated pairs.")
    block_size: Annotated[int, Field(ge=1, le=MAX_BLOCK), WHOLE] | Literal["auto"] = Field(
        "auto", description="Rows drawn from one seed: 256 if batched, 1 if not."
    )
    shard_size: Pairs | Literal["auto"] = Field(
        "auto", description="Rows of one file: 16 files a split, 5 minutes and 64 MiB at most."
    )
    failures: Failures = Field(Failures(), description="What failed simulations may cost.")
    from_: str | None = Field(
        None,
        alias="from",
        description="Another run's folder, whose shards are used and never written.",
    )


Transforms = list[Annotated[TransformPart, adapters.family]]


class Input(Section):
    """One input of the network: one variable or several joined by channels."""

    as_: Literal["vector", "set", "series", "grid"] | None = Field(
        None,
        alias="as",
        description="What it is: numbers, exchangeable members, steps in time, or cells of a line "
        "or a picture; null: as its shape says, which an array of varying length does not.",
    )
    axes: Literal[1, 2] = Field(
        2, description="Axes of a grid; an array with one axis more has channels last."
    )
    from_: Names | None = Field(
        None,
        alias="from",
        description="The variables joined here; null: the one this input is named for.",
    )
    broadcast: Names = Field(
        [],
        description="Context variables and vectors that are repeated to every member, step or "
        "cell as further channels.",
    )
    transforms: Transforms | dict[Name, Transforms] = Field(
        [], description="A chain for all channels, or one for each variable."
    )
    summary: Annotated[SummaryPart, summary_networks] | None = Field(
        None, description="Summary network; null: the simplest of its kind."
    )
    features: Annotated[int, Field(ge=1, le=4096), WHOLE] | None = Field(
        None, description="Features this input is summarised to; null: max(2 D, 8)."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        trouble = None
        if self.as_ is not None:
            trouble = adapters.misfit(self.as_, *self._chains, self.broadcast)
        if trouble:
            raise PydanticCustomError("misfit", "{trouble}", {"trouble": trouble})
        return self

    @property
    def _chains(self) -> tuple[dict[Name, Transforms], Transforms]:
        """The chain of each variable, and that of the joined channels."""
        return (self.transforms, []) if isinstance(self.transforms, dict) else ({}, self.transforms)

    def sources(self, name: str) -> tuple[str, ...]:
        """The variables that the input of this name joins, but for those it broadcasts."""
        return tuple(self.from_ or [name])

    def plan(self, name: str) -> adapters.InputPlan:
        """What the adapter of the input of this name is made of."""
        assert self.as_ is not None  # chosen by now
        return adapters.InputPlan(
            self.as_, self.sources(name), *self._chains, tuple(self.broadcast), self.axes
        )


ThetaKind = Literal["prior", "standardize", "log", "logit", "circular"]


class Model(Section):
    """What the network sees, and what it is."""

    inputs: dict[Annotated[str, AfterValidator(not_reserved)], Input] = Field(
        {}, description="Inputs by name; those of variables that are left out are chosen."
    )
    drop: Names = Field(
        [], description="Observables and context variables the network does not see."
    )
    theta: ThetaKind | dict[Name, ThetaKind] = Field(
        "prior",
        description="How theta is made unbounded: through its prior's distribution function, or "
        "otherwise, by parameter;"
        "circular: an angle, the prior's two bounds one point.",
    )
    fusion: Annotated[SummaryPart, summary_networks] | None = Field(
        None,
        description="Network from the summaries of all inputs to the features the inference "
        "network sees; null: side by side.",
    )
    inference: Annotated[InferencePart, inference_networks] = Field(
        {"kind": "nsf"}, validate_default=True, description="Density network."
    )
    uncertainty: Annotated[UncertaintyPart, uncertainties] = Field(
        {"kind": "none"},
        validate_default=True,
        description="How unsure the network is of itself: Bayesian weights, or an ensemble.",
    )

    likelihood: Likelihood = Field(
        "auto",
        description="A learned likelihood beside the posterior: none, its options, or auto: where "
        "problem.structure says more than joint and effort is not quick.",
    )

    def theta_kind(self, parameter: str) -> str:
        """How a parameter is made unbounded."""
        if isinstance(self.theta, dict):
            return self.theta.get(parameter, "prior")
        return self.theta


class Diagnose(Section):
    """Which checks, on how many draws."""

    draws: Annotated[int, Field(ge=19, le=MAX_DRAWS), WHOLE] = Field(
        999,
        description="Posterior draws for each test pair; draws + 1 divisible by 20 is best.",
    )
    checks: list[Annotated[DiagnosticPart, diagnostics.family]] = Field(
        [
            "sbc",
            "coverage",
            "tarp",
            "zscore_contraction",
            "recovery",
            "nrmse",
            "nlpd",
            "prior_predictive",
            "misspecification",
        ],
        validate_default=True,
        description="Checks, by name or with options.",
    )
    by: Literal["auto"] | Columns = Field(
        "auto",
        description="Also judge within strata of these: context variables, observables (by size) "
        "and parameters (by posterior median);"
        "auto: every context variable, and every size that varies.",
    )
    strata: Count = Field(
        4, ge=2, le=20, description="Strata of each, of about equal numbers of test pairs."
    )
    seed: Seed = Field(0, description="Root of the draws and of random ties.")


class Machine(Section):
    """Where and how fast, never what: free to change on resume."""

    executor: Annotated[ExecutorPart, executors.family] = Field(
        {"kind": "pool"}, validate_default=True, description="Who simulates."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the network lives.")
    threads: Annotated[int, Field(ge=1, le=1024), WHOLE] | Literal["auto"] = Field(
        "auto",
        description="Threads; auto: every core for sampling, and for training where a batch holds "
        "thousands of members, else one.",
    )
    memory_gb: Annotated[float, Field(gt=0, le=1e6)] | Literal["auto"] = Field(
        "auto",
        description="Memory for training pairs; where they need more, they are streamed from "
        "disk. auto: half of what is free.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the networks ahead of the splines."
    )
    compile: bool | Literal["auto"] = Field(
        "auto", description="torch.compile; auto: where it saves more time than it costs."
    )
    splines: Literal["auto", "c", "torch"] = Field(
        "auto",
        description="Splines by compiled C on the CPU, or by torch operations; auto: C where "
        "there is a compiler.",
    )
    cluster: Cluster = Field(
        Cluster(),
        description="What jobs ask of the batch system, for `submit` and for executors on a "
        "cluster.",
    )
    tracking: list[Annotated[TrackerPart, trackers.family]] = Field(
        [], description="Pages to watch training on: tensorboard, wandb, mlflow."
    )

    def build_executor(self) -> Executor:
        """The executor; one that gets its workers from a batch system is told what to ask for."""
        return self.executor.build(self.cluster)


Effort = Literal["quick", "standard", "best"]


class RunConfig(Section):
    """One run: the whole YAML."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Name of the run folder."
    )
    effort: Effort = Field(
        "standard",
        description="How much training may cost where its keys and those of the model are left to "
        "the data: half a minute for 10,000 vectors on two cores, minutes, or ten times that.",
    )
    problem: ProblemSection
    simulate: Simulate = Simulate()
    model: Model = Field({}, validate_default=True)
    train: TrainOptions = TrainOptions()
    diagnose: Diagnose = Field({}, validate_default=True)
    machine: Machine = Field({}, validate_default=True)
