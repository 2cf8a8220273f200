"""What is independent of what in the data: facts of the simulator, which no data can tell."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from sbiwb.config.section import Name, Names, Section
from sbiwb.contracts import InferencePart, UncertaintyPart
from sbiwb.families import MAX_COUNT, WHOLE, Count
from sbiwb.networks.inference import family as inference_networks
from sbiwb.networks.uncertainty import family as uncertainties
from sbiwb.training.train_options import TrainOptions

StructureKind = Literal["iid", "independent", "markov", "autoregressive", "joint"]


class Structure(Section):
    """How the density of some observables, given theta and context, is a product."""

    as_: StructureKind = Field(
        alias="as",
        description="iid: members of one density; independent: each with its place; markov: each "
        "given the one before; autoregressive: each given all before; joint: nothing is known.",
    )
    from_: Names | None = Field(
        None,
        alias="from",
        description="Observables whose members belong together; null: the one it is named for.",
    )
    columns: Annotated[int, Field(ge=1, le=4096), WHOLE] | None = Field(
        None,
        description="Consecutive numbers of a list that are one member, such as 2 for points in "
        "the plane; null: each number is one.",
    )

    def sources(self, name: str) -> tuple[str, ...]:
        """The observables of the structure of this name."""
        return tuple(self.from_ or [name])

    @property
    def is_ordered(self) -> bool:
        """Whether the place of a member says something."""
        return self.as_ in ("independent", "markov", "autoregressive")

    @property
    def may_be_vector(self) -> bool:
        """Whether numbers of a fixed list may be columns of one member."""
        return self.as_ in ("joint", "independent")


def _as_section(value: object) -> object:
    """A word alone is its `as`."""
    return {"as": value} if isinstance(value, str) else value


Structures = dict[
    Name,
    Annotated[
        Structure, BeforeValidator(_as_section, json_schema_input_type=StructureKind | Structure)
    ],
]


class LikelihoodOptions(Section):
    """What a learned likelihood is; what is left out is chosen from the data."""

    inference: Annotated[InferencePart, inference_networks] | None = Field(
        None, description="Density network of a member; null: chosen."
    )
    uncertainty: Annotated[UncertaintyPart, uncertainties] | None = Field(
        None, description="One network or an ensemble; null: chosen."
    )
    train: TrainOptions = Field(TrainOptions(), description="As in the section train.")


Likelihood = Literal["auto", "none"] | LikelihoodOptions
"""auto: where `problem.structure` says more than `joint`, and effort is not quick."""

ValueKind = Literal["number", "positive", "count"] | list[float]
"""What a column of a member holds; or the levels that it can have."""


class DataSetMembers(Section):
    """In place of a simulator: members of another run's data sets, given their theta.

    The training of a likelihood is that of a posterior whose roles are turned.
    """

    members_of: Name = Field(description="Structure of that run.")
    structure: Structure = Field(description="How its members depend on each other.")
    as_vector: bool = Field(
        description="Whether all numbers of a data set are one row: the columns of a joint or "
        "independent list."
    )
    values: dict[Name, ValueKind] = Field(
        min_length=1, description="Columns of a member, in their order."
    )
    shapes: dict[Name, list[Annotated[int, Field(ge=0, le=MAX_COUNT), WHOLE]]] = Field(
        description="Of one data set, by observable; 0 stands for a first axis that varies."
    )
    given: Names = Field(description="Parameters and context variables the members depend on.")
    data_hash: str = Field(description="Of the run whose shards hold the data sets.")
    data_sets: dict[str, Count] = Field(description="How many of them are read, by split.")
