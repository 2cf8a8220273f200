"""A project: the YAML, its run folder, and the objects it names, opened once for every verb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sbiwb.config import RunConfig
from sbiwb.config.model import Model
from sbiwb.config.structure import DataSetMembers
from sbiwb.contracts import Distribution, PriorPart
from sbiwb.families import map_files
from sbiwb.files import stable_hash
from sbiwb.priors import Prior
from sbiwb.project.densities import ExactDensities
from sbiwb.project.derived import DerivedQuantities
from sbiwb.project.fingerprint import Identity
from sbiwb.project.imported import IMPORTED, KINDS, Imported
from sbiwb.project.member_source import MemberSource
from sbiwb.project.observe import DataSets, NamedObservation, observe
from sbiwb.project.plan import plan_or_none
from sbiwb.project.simulations import ForwardSimulator
from sbiwb.rundir import RunDir
from sbiwb.simulation.blocks import Problem
from sbiwb.simulation.command import ProgramCommand
from sbiwb.simulation.layout import Layout
from sbiwb.simulation.program import load_program
from sbiwb.simulation.sandbox import SubprocessSimulator
from sbiwb.simulation.simulator import Simulator
from sbiwb.simulation.source import SimulatorSource, code_hash, load_source

BATCHED_BLOCK = 256  # rows drawn from one seed, of a simulator that takes many


@dataclass(frozen=True)
class Project:
    """One YAML with all it names.

    Args:
        config: The typed config.
        run: Its run folder, which may not exist yet.
        base: The folder that paths in the config are relative to.
    """

    config: RunConfig
    run: RunDir
    base: Path

    @cached_property
    def source(self) -> SimulatorSource:
        """The simulator file, the external program, or what stands for it where pairs are
        imported."""
        problem = self.config.problem
        if isinstance(problem.simulator, DataSetMembers):
            return MemberSource(problem.simulator, self.data_run)
        if self.is_imported:
            return Imported(
                self.data_run,
                tuple(name for name, part in problem.parameters.items() if part.kind in KINDS),
            )
        if isinstance(problem.simulator, ProgramCommand):
            return load_program(
                problem.simulator,
                self.base,
                batched=problem.batched,
                timeout_s=self.config.simulate.failures.timeout_s,
            )
        return load_source(problem.simulator, self.base)

    @property
    def is_imported(self) -> bool:
        """Whether the pairs come from files, so that nothing can be simulated."""
        return self.config.problem.simulator == IMPORTED or self.members is not None

    @property
    def members(self) -> DataSetMembers | None:
        """What the pairs are made of where they are those of a likelihood."""
        simulator = self.config.problem.simulator
        return simulator if isinstance(simulator, DataSetMembers) else None

    @cached_property
    def prior(self) -> Prior:
        parameters = self.config.problem.parameters
        units = {name: part.unit for name, part in parameters.items()}
        sampler = None
        if any(part.kind in KINDS for part in parameters.values()):
            sampler = self.source.optional("prior")
        return Prior(distributions(parameters), sampler=sampler, units=units)

    @cached_property
    def context(self) -> dict[str, Distribution]:
        return distributions(self.config.problem.context)

    @property
    def observations(self) -> list[NamedObservation]:
        """Real data of the YAML, not read yet."""
        sections = self.config.problem.observations
        return [NamedObservation(name, section, self.base) for name, section in sections.items()]

    def observe(self, observation: NamedObservation, layout: Layout) -> DataSets:
        """Real data, read as the simulator returns its own.

        Raises:
            DataError: They do not fit.
        """
        shapes = {name: distribution.event for name, distribution in self.context.items()}
        return observe(observation, layout, shapes)

    def observe_all(self, layout: Layout) -> list[DataSets]:
        """Every observation of the YAML.

        Raises:
            DataError: One cannot be read.
        """
        return [self.observe(observation, layout) for observation in self.observations]

    @cached_property
    def simulator(self) -> Simulator:
        problem, failures = self.config.problem, self.config.simulate.failures
        injected = self.source.injected(
            list(problem.parameters), list(problem.context), list(problem.constants)
        )
        alarm_s = None  # a program keeps its time itself
        if not isinstance(problem.simulator, ProgramCommand):
            alarm_s = failures.timeout_s
        return Simulator(
            self.source,
            problem.batched,
            tuple(injected),
            problem.constants,
            alarm_s,
            failures.memory_gb,
        )

    @property
    def derived(self) -> DerivedQuantities:
        """Parameters, and what the simulator file derives from them."""
        return DerivedQuantities(self.prior, self.source.optional("derived"), self.source.path)

    @property
    def densities(self) -> ExactDensities:
        """What the simulator file has of log-likelihoods and the like."""
        return ExactDensities(self.source, self.prior, self.config.problem.constants)

    @property
    def forward(self) -> ForwardSimulator:
        """The simulator at given parameters; with the layout once a plan exists."""
        return ForwardSimulator(self.problem, self.prior, self.block_size)

    @cached_property
    def isolated(self) -> SubprocessSimulator:
        """The simulator in a process of its own, which ends with this project."""
        return SubprocessSimulator(self.simulator)

    @property
    def problem(self) -> Problem:
        """What blocks are made from; with the layout once a plan exists."""
        plan = plan_or_none(self.data_run)
        return Problem(
            self.prior,
            self.context,
            self.simulator,
            self.config.simulate.seed,
            plan.layout if plan is not None else None,
            tuple(self.config.problem.missing),
        )

    @property
    def block_size(self) -> int:
        size = self.config.simulate.block_size
        if self.is_imported:
            return 1
        if isinstance(size, int):
            return size
        if self.config.problem.batched:
            return BATCHED_BLOCK
        return 1

    @property
    def data_run(self) -> RunDir:
        """The run that holds the shards: another one under `simulate.from`."""
        other = self.config.simulate.from_
        if not other:
            return self.run
        return RunDir((self.base / other).resolve())

    def with_pairs(self, counts: Mapping[str, int]) -> Project:
        """The same project with other numbers of pairs, by split."""
        simulate = self.config.simulate.model_copy(update=dict(counts))
        return replace(self, config=self.config.model_copy(update={"simulate": simulate}))

    @cached_property
    def data_identity(self) -> Identity:
        """All that decides a simulated row."""
        return self.identity(self.source.code_hash)

    def identity(self, code: str) -> Identity:
        """The same with this hash of the code, or of the files that pairs are imported from."""
        problem = self.config.problem
        decisive = {
            "parameters": _plain(problem.parameters),
            "context": _plain(problem.context),
            "constants": dict(problem.constants),
            "batched": problem.batched,
            "simulator code": code,
        }
        if problem.missing:
            decisive["missing"] = sorted(problem.missing)
        drawn = {"seed": self.config.simulate.seed, "block_size": self.block_size}
        return {"problem": decisive, "simulate": drawn}

    @property
    def own_hash(self) -> str:
        """Hash of the problem as the YAML and the simulator file state it now."""
        return stable_hash(self.data_identity)

    @property
    def data_hash(self) -> str:
        """Hash that this problem's shards carry.

        Its own, or that of before a change of code which was accepted as changing no row.
        """
        plan = plan_or_none(self.data_run)
        if plan is not None and self.own_hash in plan.accepted:
            return plan.data_hash
        return self.own_hash

    @property
    def model_identity(self) -> Identity:
        """All that decides a trained network, given the data."""
        train = self.config.train.model_dump(
            mode="json", exclude={"checkpoint_every_s", "max_time_min"}
        )
        simulate = self.config.simulate
        pairs = {"train": simulate.train, "validation": simulate.validation}
        model = plain_model(self.config.model)
        return {"data_hash": self.data_hash, "simulate": pairs, "model": model, "train": train}

    @property
    def model_hash(self) -> str:
        return stable_hash(self.model_identity)


def distributions(parts: Mapping[str, PriorPart]) -> dict[str, Distribution]:
    """What the parts of a section say, by name."""
    return {name: part.build() for name, part in parts.items()}


def plain_model(model: Model, *, only_given: bool = False) -> dict[str, object]:
    """A section `model` as plain values, its part files by name and code; without the likelihood,
    which is a run of its own.

    Args:
        model: The section.
        only_given: Whether keys that the YAML leaves out are left out here too.
    """
    plain = model.model_dump(mode="json", exclude_unset=only_given, exclude={"likelihood"})
    content: dict[str, object] = map_files(plain, _content)
    return content


def _plain(parts: Mapping[str, PriorPart]) -> list[list[object]]:
    """Parts in their order, as [name, options]; their units decide nothing."""
    plain: list[list[object]] = []
    for name, part in parts.items():
        options = part.model_dump(mode="json", exclude={"unit"})
        plain.append([name, map_files(options, _content)])
    return plain


def _content(kind: str) -> str:
    """A part outside the package by name and code, wherever it lies."""
    return f"{Path(kind).name} {code_hash(Path(kind).read_text(encoding='utf-8'))[:12]}"
