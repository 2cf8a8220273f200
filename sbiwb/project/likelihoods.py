"""Learned likelihoods of a project: each a run of its own, in the folder `likelihood` of its run.

What is trained there is a posterior whose roles are turned: the columns of a member in place of
theta, and theta, context, place and what came before in place of x. So everything that holds for
the training of a posterior holds for it: shards, choices, checkpoints, checks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sbiwb.config import RunConfig
from sbiwb.config.structure import DataSetMembers, LikelihoodOptions, Structure
from sbiwb.errors import ConfigError, DataError
from sbiwb.project.member_rows import (
    BEFORE,
    STEP,
    MemberRows,
    TurnedPairs,
    column_names,
    is_vector,
    member_rows,
    value_kinds,
)
from sbiwb.project.plan import plan_or_none
from sbiwb.project.project import Project
from sbiwb.project.settings import COPIES, GB, memory_gb
from sbiwb.project.splits import load_split
from sbiwb.records import Columns, Pairs, Ragged, Variable
from sbiwb.rundir import SPLITS, RunDir

Plain = dict[str, object]

MAX_ROWS = {"train": 1_000_000, "validation": 20_000, "test": 2_000}
DECAY, DECAY_AT, MAX_DECAY = 0.2, 10_000, 1.0  # weight decay that suits so many data sets
MANY_MEMBERS = 10  # of a data set, from which on they count
ONE_COLUMN: Plain = {"transforms": 2, "bins": 16}  # as good as five of 8, and faster
MAX_STEPS = 64  # of series of one length, each step with a channel of its own
CHECKS = ["sbc", "coverage", "tarp", "nlpd"]


def wanted(config: RunConfig) -> dict[str, Structure]:
    """The structures whose likelihoods are learned; none where the YAML asks for none."""
    structures, likelihood = config.problem.structure, config.model.likelihood
    if likelihood == "none" or isinstance(config.problem.simulator, DataSetMembers):
        return {}
    if likelihood == "auto" and config.train.regime == "online":
        return {}  # its pairs are nowhere to be read again
    if likelihood == "auto":
        says_more = any(structure.as_ != "joint" for structure in structures.values())
        if config.effort == "quick" or not says_more:
            return {}
    return dict(structures)


def likelihood_identity(config: RunConfig) -> dict[str, object]:
    """All that decides the likelihoods beside the data; empty where none is learned."""
    structures = wanted(config)
    if not structures:
        return {}
    options = config.model.likelihood
    plain: object = "auto"
    if isinstance(options, LikelihoodOptions):
        plain = options.model_dump(mode="json", exclude_unset=True)
    kinds = {name: part.model_dump(mode="json") for name, part in structures.items()}
    return {"structure": kinds, "options": plain, "effort": config.effort}


def folder_of(run: RunDir, name: str) -> RunDir:
    """The run of the likelihood of a structure."""
    return RunDir(run.likelihood / name)


def likelihood_projects(project: Project) -> Iterator[Project]:
    """The project of each learned likelihood, as the pairs decide it.

    Args:
        project: Its pairs are simulated.

    Raises:
        ConfigError: An observable has no structure, or two.
        DataError: A structure does not fit what the simulator returns.
    """
    structures = wanted(project.config)
    if not structures:
        return
    training = load_split(project, "train", most=_most_data_sets(project))
    check_structures(project.config, training.x)
    counts = {split: len(load_split(project, split)) for split in SPLITS if split != "train"}
    counts["train"] = len(training)
    for name, structure in structures.items():
        draft = _Draft(project, name, structure, training)
        yield draft.project({split: counts[split] for split in SPLITS})


def check_structures(config: RunConfig, x: Columns) -> None:
    """Whether each observable has one structure.

    Raises:
        ConfigError: With the line to write.
    """
    structures = config.problem.structure
    used = [source for name, part in structures.items() for source in part.sources(name)]
    unknown = [name for name in used if name not in x]
    twice = sorted({name for name in used if used.count(name) > 1})
    left = [name for name in x if name not in used]
    if not structures:
        raise ConfigError(
            "model.likelihood  a likelihood needs to know what is independent of what",
            todo=f"Write problem: {{structure: {{{left[0]}: iid}}}}, or independent, markov, "
            "autoregressive or joint.",
        )
    if unknown:
        raise ConfigError(
            f"problem.structure  {', '.join(unknown)} does not exist",
            todo=f"There are: {', '.join(x)}.",
        )
    if twice:
        raise ConfigError(
            f"problem.structure  {', '.join(twice)} has two structures", todo="Leave one out."
        )
    if left:
        raise ConfigError(
            f"problem.structure  says nothing of {', '.join(left)}, and a likelihood is of all "
            "observables",
            todo=f"Write {left[0]}: joint, or iid, independent, markov or autoregressive; or join "
            "it with another by from: [a, b].",
        )


def _most_data_sets(project: Project) -> int | None:
    """Those that memory holds; None where nobody knows what one takes."""
    plan = plan_or_none(project.data_run)
    if plan is None:
        return None
    bytes_each = COPIES * max(1.0, plan.bytes_per_row)
    return max(1, int(memory_gb(project.config.machine.memory_gb) * GB / bytes_each))


@dataclass(frozen=True)
class _Draft:
    """The likelihood of one structure, before it is a project."""

    parent: Project
    name: str
    structure: Structure
    training: Pairs

    def project(self, counts: dict[str, int]) -> Project:
        """The project, its pairs those of the parent.

        Args:
            counts: Data sets by split.
        """
        rows = member_rows(self.name, self.structure, self.training.x, as_vector=self._is_vector)
        members = self._members(rows, counts)
        config = self.parent.config
        run = folder_of(self.parent.run, self.name)
        plain: Plain = {
            "name": f"{config.name}-{self.name}",
            "effort": config.effort,
            "problem": {
                "simulator": members.model_dump(mode="json", by_alias=True),
                "parameters": {name: _prior(kind) for name, kind in members.values.items()},
                "missing": [BEFORE] if self.structure.as_ == "markov" else [],
            },
            "simulate": {"from": str(self.parent.data_run.path.resolve()), **self._sizes(members)},
            "model": self._model(members, rows),
            "train": {
                "seed": config.train.seed,
                "weight_decay": _decay(counts["train"], len(rows.values) / len(self.training)),
                **self._options.train.model_dump(mode="json", exclude_unset=True),
                "regime": "memory",
            },
            "diagnose": {"checks": CHECKS},
            "machine": config.machine.model_dump(mode="json"),
        }
        return Project(RunConfig.model_validate(plain), run, run.path)

    @property
    def _is_vector(self) -> bool:
        """Whether all numbers of a data set are one row."""
        x = self.training.x
        return is_vector(
            self.structure, [x[name] for name in self.structure.sources(self.name) if name in x]
        )

    @property
    def _options(self) -> LikelihoodOptions:
        likelihood = self.parent.config.model.likelihood
        return likelihood if isinstance(likelihood, LikelihoodOptions) else LikelihoodOptions()

    def _members(self, rows: MemberRows, counts: dict[str, int]) -> DataSetMembers:
        names = column_names(self.name, self.structure, self.training.x, as_vector=self._is_vector)
        sources = self.structure.sources(self.name)
        complete = rows.values[~np.isnan(rows.values).any(1)]
        if not len(complete):
            raise DataError("has no member without missing values", where=self.name)
        return DataSetMembers(
            members_of=self.name,
            structure=self.structure,
            as_vector=self._is_vector,
            values=value_kinds(names, complete),
            shapes={name: _shape(self.training.x[name]) for name in sources},
            given=self._given(rows),
            data_hash=self.parent.data_hash,
            data_sets=counts,
        )

    def _given(self, rows: MemberRows) -> list[str]:
        """Parameters, and context variables that are not just the number of members."""
        given = list(self.training.theta)
        for name, values in self.training.context.items():
            if not np.array_equal(np.asarray(values), rows.lengths):
                given.append(name)
        taken = {BEFORE, STEP} & set(given)
        if taken and self.structure.is_ordered and not self._is_vector:
            raise ConfigError(
                f"problem  {', '.join(sorted(taken))} is the name of a condition of members in "
                "order",
                todo="Give the parameter or context variable another name.",
            )
        return given

    def _sizes(self, members: DataSetMembers) -> dict[str, int]:
        """Rows of each split."""
        pairs, sizes = TurnedPairs(members), dict[str, int]()
        for split, most in MAX_ROWS.items():
            if split == "train":
                sizes[split] = min(most, _complete_rows(pairs, self.training))
            else:
                part = load_split(self.parent, split)
                if split == "test":
                    sizes[split] = min(most, len(pairs.one_each(part, split)))
                else:
                    sizes[split] = min(most, _complete_rows(pairs, part))
        return sizes

    def _model(self, members: DataSetMembers, rows: MemberRows) -> Plain:
        """Inputs, and what the YAML says of the network."""
        inputs: Plain = {"theta": self._theta_input(members)}
        if self.structure.is_ordered and not self._is_vector:
            inputs[STEP] = {"as": "vector", "transforms": [_step_transform(rows)]}
        if self.structure.as_ == "markov":
            chain = ["standardize", "nan_to_mask"]
            inputs[BEFORE] = {"as": "vector", "transforms": chain}
        if self.structure.as_ == "autoregressive":
            inputs[BEFORE] = {"as": "series", "transforms": ["standardize"], "summary": "gru"}
        options = self._options.model_dump(
            mode="json", by_alias=True, exclude_unset=True, exclude={"train"}
        )
        given = {key: value for key, value in options.items() if value is not None}
        flow: Plain = {"kind": "nsf", "linear": True}
        if self._is_vector and self.structure.as_ == "independent":
            flow["passes"] = 1
        elif list(members.values.values()) in (["number"], ["positive"]):
            flow |= ONE_COLUMN
        given.setdefault("inference", flow)
        return {"inputs": inputs, "likelihood": "none", **given}

    def _theta_input(self, members: DataSetMembers) -> Plain:
        chains: dict[str, list[object]] = {}
        for name in members.given:
            part = self.parent.config.problem.context.get(name)
            chain: list[object] = ["with_log", "standardize"]
            if part is not None and part.kind == "categorical":
                chain = ["one_hot"]
            chains[name] = chain
        return {"as": "vector", "from": list(members.given), "transforms": chains}


def _decay(data_sets: int, members: float) -> float:
    """Weight decay, by the number of theta that there are; many members of each count as more.

    On 4,000 series of 500 steps .01 halves the error at test pairs that .32 leaves (.0013 for .0027
    nats a step), where the losses of both are the same.
    """
    lessons = data_sets * max(1.0, members / MANY_MEMBERS)
    return float(f"{min(MAX_DECAY, DECAY * math.sqrt(DECAY_AT / lessons)):.2g}")


def _shape(variable: Variable) -> list[int]:
    """Of one data set; 0 stands for a first axis that varies."""
    if isinstance(variable, Ragged):
        return [0, *variable.values.shape[1:]]
    return list(variable.shape[1:])


def _complete_rows(pairs: TurnedPairs, data_sets: Pairs) -> int:
    return int((~np.isnan(pairs.rows(data_sets.x).values).any(1)).sum())


def _prior(kind: object) -> Plain:
    """A column's part among the parameters."""
    if isinstance(kind, list):
        share = 1 / len(kind)
        return {"kind": "categorical", "probabilities": [share] * len(kind)}
    if kind == "positive":
        return {"kind": "unknown", "low": 0.0}
    if kind == "count":
        return {"kind": "unknown", "low": -1.0}
    return {"kind": "unknown"}


def _step_transform(rows: MemberRows) -> object:
    """A channel for each step of a short series of one length, else a number."""
    longest = int(rows.lengths.max(initial=1))
    if 2 <= longest <= MAX_STEPS and np.ptp(rows.lengths) == 0:
        return {"kind": "one_hot", "categories": longest}
    return "standardize"
