"""The YAML of a benchmark: tasks, budgets, methods and seeds whose every combination is one
training.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sbiwb import executors
from sbiwb.config.section import Section
from sbiwb.contracts import ExecutorPart
from sbiwb.executors import Cluster
from sbiwb.families import MAX_COUNT, WHOLE, Count, Seed

FurtherScore = Literal["c2st_forest", "c2st_marginals", "c2st_dependence", "pqmass"]
Words = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]


class BenchmarkConfig(Section):
    """One benchmark: the whole YAML."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Name of its folder.")
    tasks: dict[Words, str] = Field(
        min_length=1,
        description="The config of each task, relative to this file; a name as the references "
        "have it.",
    )
    references: str | None = Field(
        None,
        description="Folder of reference posteriors, TASK.h5 each; null: --references, or the "
        "files of an installed package sbibm.",
    )
    budgets: list[Annotated[int, Field(ge=20, le=MAX_COUNT), WHOLE]] = Field(
        [1_000, 10_000, 100_000],
        min_length=1,
        description="Simulations for training and validation together.",
    )
    validation: float = Field(
        0.1, gt=0, lt=1, description="Share of a budget that is validation pairs."
    )
    most_validation: Count = Field(2_000, ge=1, description="Validation pairs at most.")
    methods: dict[Words, dict[str, Any]] = Field(
        {"default": {}},
        min_length=1,
        description="Keys of the tasks' configs that each method sets, such as "
        "train.learning_rate.",
    )
    seeds: list[Seed] = Field([0], min_length=1, description="Of training.")
    draws: Count = Field(
        10_000, ge=100, le=1_000_000, description="Draws on each side of a comparison."
    )
    scores: list[FurtherScore] = Field(
        ["c2st_forest", "c2st_marginals", "c2st_dependence", "pqmass"],
        description="What the draws are scored by besides c2st. The random forest needs "
        "scikit-learn and takes minutes a training, c2st_dependence as long as c2st, the others "
        "seconds.",
    )
    observations: Count = Field(10, ge=1, description="Observations of each task at most.")
    test: Count = Field(
        1_000,
        ge=2,
        description="Further pairs, in no budget, on which -log q(theta* | x) is reported.",
    )
    executor: Annotated[ExecutorPart, executors.family] = Field(
        {"kind": "serial"}, validate_default=True, description="Who trains and scores."
    )
    cluster: Cluster = Field(Cluster(), description="What jobs ask of a batch system.")
