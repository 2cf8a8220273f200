"""What the files of a run say, as the page takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from sbiwb.report._fields import Fields, JsonObject
from sbiwb.report._html import tag
from sbiwb.report._picture import Picture
from sbiwb.report.page_checks import Number


@dataclass(frozen=True)
class Inferred:
    """One observation.

    Args:
        name: Its name in the config.
        summary: Its `summary.json`.
        pictures: Of its posterior.
    """

    name: str
    summary: JsonObject
    pictures: tuple[Picture, ...] = ()

    @property
    def rows(self) -> list[Fields]:
        """Of the summary, one a data set and quantity."""
        return Fields(self.summary).records("rows")

    @property
    def labels(self) -> list[str]:
        """The data sets."""
        return list(dict.fromkeys(row.text("data_set") for row in self.rows))

    @property
    def is_many(self) -> bool:
        return len(self.labels) > 1

    @property
    def warnings(self) -> list[str]:
        return Fields(self.summary).texts("warnings")

    @property
    def trust(self) -> list[Fields]:
        """How far the posterior can be trusted, an entry a data set."""
        return Fields(self.summary).records("trust")


@dataclass(frozen=True)
class LikelihoodFacts:
    """A learned likelihood beside the posterior.

    Args:
        structure: Whose members it is the density of.
        trained: Provenance of its training; empty before its end.
        loss: Picture of its training.
        pictures: Of its diagnosis.
    """

    structure: str
    trained: JsonObject = field(default_factory=dict)
    loss: Picture | None = None
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What the files of a run say; empty where a step is not done.

    Args:
        name: Of the run.
        path: Of its folder, for commands.
        config: Its config.
        yaml: The same, as written.
        splits: Counts by split, as in the manifest.
        failures: Failed simulations by kind.
        provenance: `provenance.json` by step.
        metrics: Validations of the training, a line each.
        loss: Picture of the training.
        numbers: `numbers.json`.
        pictures: Of the diagnosis.
        inferred: The observations.
        notices: Sentences on what does not fit together.
        likelihoods: Those learned beside the posterior.
    """

    name: str
    path: str
    config: JsonObject
    yaml: str
    splits: JsonObject = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, JsonObject] = field(default_factory=dict)
    metrics: Sequence[JsonObject] = ()
    loss: Picture | None = None
    numbers: JsonObject | None = None
    pictures: tuple[Picture, ...] = ()
    inferred: tuple[Inferred, ...] = ()
    notices: tuple[str, ...] = ()
    likelihoods: tuple[LikelihoodFacts, ...] = ()

    @property
    def is_judged(self) -> bool:
        return self.numbers is not None

    @property
    def diagnosis(self) -> Fields:
        """`numbers.json`; empty where nothing was diagnosed."""
        return Fields.of(self.numbers)

    @property
    def problem(self) -> Fields:
        return Fields(self.config).fields("problem")

    @property
    def parameters(self) -> dict[str, Fields]:
        return self.problem.fields("parameters").each()

    @property
    def simulated(self) -> dict[str, Fields]:
        """Counts by split."""
        return Fields(self.splits).each()

    @property
    def steps(self) -> dict[str, Fields]:
        """Provenance by step."""
        return Fields(self.provenance).each()

    def step(self, name: str) -> Fields:
        """Provenance of a step; empty where it is not done."""
        return Fields.of(self.provenance.get(name))

    @property
    def judged(self) -> list[Number]:
        """Every number, of all networks."""
        return list(map(Number.of, self.diagnosis.records("values")))

    @property
    def own(self) -> list[Number]:
        """Those of the run's own network."""
        return [number for number in self.judged if not number.network]

    @property
    def columns(self) -> list[str]:
        """Columns of theta that were judged, in their order."""
        columns: dict[str, None] = {}
        for number in self.own:
            if parameter_of(number.parameter) in self.parameters:
                columns[number.parameter] = None
        return list(columns)

    def label(self, column: str) -> str:
        """A quantity with its unit."""
        parameter = self.parameters.get(parameter_of(column), Fields({}))
        unit = parameter.text("unit")
        if not unit:
            return column
        return f"{column} ({unit})"


def parameter_of(column: str) -> str:
    """`beta` of its column `beta[1]`."""
    return column.partition("[")[0]


def todo(facts: Facts, what: str, verb: str, *arguments: str) -> Markup:
    """That a step is not done, and the command that does it."""
    command = " ".join(["sbiwb", verb, facts.path, *arguments])
    return tag("p", f"{what}: run ", tag("code", command), ".", class_="todo")


def when(provenance: Fields) -> str:
    """Day and minute at which a step ended."""
    return provenance.text("finished").replace("T", " ")[:16]
