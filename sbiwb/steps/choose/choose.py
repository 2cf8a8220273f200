"""From what the YAML says and some training pairs to complete sections `model` and `train`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import yaml

from sbiwb.config import RunConfig
from sbiwb.config.model import Model
from sbiwb.project.choices import Choices, ChosenKey, TrialResult
from sbiwb.records import Pairs
from sbiwb.steps.choose import sizes
from sbiwb.steps.choose.drafts import Draft, Drafter, Option
from sbiwb.steps.choose.halving import Tournament
from sbiwb.steps.choose.sizes import Task
from sbiwb.steps.choose.variables import SeenVariables
from sbiwb.training.train_options import TrainOptions

Plain = dict[str, Any]
SHOWN = ("kind", "transforms", "hidden", "linear", "temperature", "members")
MAX_PAIRS = 20_000  # that the inputs are chosen from
DECAY, LINEAR = "train.weight_decay", "model.inference.linear"
DECAY_EVERY = 50  # steps between validations of its trial
MIN_TRIAL_PAIRS = 2_000  # fewer tell too little of a network
FLOWS = ("nsf", "ncsf")  # whose training and ensemble are known to do well
ATTENTIVE = ("transformer", "set_transformer")

TryOut = Callable[[Model, TrainOptions], Sequence[float]]
"""Trains one network; -log q of each pair held out."""


WAYS = {"true": True, "false": False}  # the likelier first


@dataclass(frozen=True)
class _Found:
    """What trials found; None: the likeliest.

    Args:
        linear: Whether a regression comes ahead of the flow.
        decay: The weight decay.
    """

    linear: bool | None = None
    decay: float | None = None


NOTHING = _Found()


@dataclass(frozen=True)
class Chooser:
    """Chooses what a YAML leaves out.

    Args:
        config: The YAML.
        pairs: Training pairs, some or all.
        parameters: D.
        try_out: Trains one network; None: the likeliest is taken untried.
    """

    config: RunConfig
    pairs: Pairs
    parameters: int
    try_out: TryOut | None = None

    def choose(self, asked: str = "") -> Choices:
        """All sections, every key written out.

        Args:
            asked: What the choice is filed under.

        Raises:
            ConfigError: A variable of varying length is neither called a set nor a series.
        """
        trials = list[TrialResult]()
        options = {draft.name: draft.options[0] for draft in self._drafts}
        for draft in self._drafts:
            if self.try_out is not None and self.is_tried(draft):
                options[draft.name] = self._tried(draft, options, trials)
        found = _Found(self._tried_linear(options, trials))
        found = replace(found, decay=self._tried_decay(options, found, trials))
        model, train = self._sections(options, found)
        choices = [*self._of_inputs(options), *self._of_others(model, train, found)]
        return Choices(asked, model, train, tuple(choices), tuple(trials))

    @cached_property
    def _drafter(self) -> Drafter:
        few = self.pairs.first(MAX_PAIRS)
        variables = SeenVariables(self.config.problem, few)
        return Drafter(self.config.model, variables, self.parameters)

    @cached_property
    def _drafts(self) -> list[Draft]:
        return self._drafter.drafts()

    def is_tried(self, draft: Draft) -> bool:
        """Whether networks are tried for an input."""
        return (
            len(draft.options) > 1
            and self.config.simulate.train >= MIN_TRIAL_PAIRS
            and self.config.effort != "quick"
        )

    def trials(self) -> dict[str, list[str]]:
        """What is tried when training begins: the networks of an input, by its name, and values of
        a key."""
        tried = [draft for draft in self._drafts if self.is_tried(draft)]
        trials = {
            draft.name: [option.candidate.name for option in draft.options] for draft in tried
        }
        options = {draft.name: draft.options[0] for draft in self._drafts}
        if self._tries_linear(options):
            trials[LINEAR] = list(WAYS)
        decays = self._decays(options)
        if decays:
            trials[DECAY] = [f"{decay:g}" for decay in decays]
        return trials

    def _tries_linear(self, options: dict[str, Option]) -> bool:
        """Whether a regression ahead of the flow is tried."""
        is_nsf = self.config.model.inference.kind == "nsf"
        if self._flow_is_written or not is_nsf or self.config.effort == "quick":
            return False
        return self._task(options).may_be_linear

    @property
    def _flow_is_written(self) -> bool:
        """Whether the YAML says more of the flow than its kind: then it is the one that is meant,
        without a regression unless it says so."""
        return bool(self.config.model.inference.model_fields_set - {"kind"})

    def _tried_linear(self, options: dict[str, Option], trials: list[TrialResult]) -> bool | None:
        """Whether a regression comes ahead of the flow, by what does better; None: untried."""
        if self.try_out is None or not self._tries_linear(options):
            return None

        def losses(name: str, steps: int) -> Sequence[float]:
            sections = self._sections(options, _Found(WAYS[name]))
            return self._losses(*sections, steps=steps, validate_every=DECAY_EVERY)

        steps = self._task(options).linear_trial_steps
        tournament = Tournament(LINEAR, list(WAYS), losses, steps, needed_errors=1)
        linear = WAYS[tournament.play()]
        trials.extend(tournament.results)
        return linear

    def _decays(self, options: dict[str, Option]) -> tuple[float, ...]:
        """Weight decays that are tried."""
        is_given = "weight_decay" in self.config.train.model_fields_set
        is_flow = self.config.model.inference.kind in FLOWS
        if is_given or not is_flow or self.config.effort == "quick":
            return ()
        return self._task(options).decays()

    def _tried_decay(
        self, options: dict[str, Option], found: _Found, trials: list[TrialResult]
    ) -> float | None:
        """The weight decay that does best; None where none is tried."""
        ways = {f"{decay:g}": decay for decay in self._decays(options)}
        if self.try_out is None or not ways:
            return None

        def losses(name: str, steps: int) -> Sequence[float]:
            sections = self._sections(options, replace(found, decay=ways[name]))
            return self._losses(*sections, steps=steps, validate_every=DECAY_EVERY)

        steps = self._task(options).decay_trial_steps
        tournament = Tournament(DECAY, list(ways), losses, steps)
        decay = ways[tournament.play()]
        trials.extend(tournament.results)
        return decay

    def _losses(self, model: Plain, train: Plain, **changes: int) -> Sequence[float]:
        """Of one network that is trained without an end of its own."""
        assert self.try_out is not None
        model = {**model, "uncertainty": {"kind": "none"}}
        train = {**train, "epochs": None, "patience": None, "swa": None, **changes}
        return self.try_out(Model.model_validate(model), TrainOptions.model_validate(train))

    def _tried(self, draft: Draft, options: dict[str, Option], trials: list[TrialResult]) -> Option:
        """The option of an input that does best, the others being read in the likeliest way."""
        ways = {option.candidate.name: option for option in draft.options}

        def losses(name: str, steps: int) -> Sequence[float]:
            sections = self._sections({**options, draft.name: ways[name]})
            return self._losses(*sections, steps=steps, validate_every=steps)

        tournament = Tournament(draft.name, list(ways), losses, self._trial_steps(options))
        option = ways[tournament.play()]
        trials.extend(tournament.results)
        why = f"best of {', '.join(ways)} in a trial"
        tried = [key for key in ("as", "summary") if key in option.whys]
        return replace(option, whys={**option.whys, **dict.fromkeys(tried, why)})

    def _trial_steps(self, options: dict[str, Option]) -> int:
        """Steps of one network that a trial may take: a share of those of training."""
        model, train = self._sections(options)
        steps = train["steps"]
        if train["epochs"]:
            steps = train["epochs"] * max(1, self.config.simulate.train // train["batch_size"])
        networks = model["uncertainty"].get("members", 1)
        return round(sizes.EFFORTS[self.config.effort].trial_share * networks * steps)

    def _sections(self, options: dict[str, Option], found: _Found = NOTHING) -> tuple[Plain, Plain]:
        """Complete sections `model` and `train`; what the YAML says stands."""
        model, train = self._given()
        model["inputs"] = {name: option.section for name, option in options.items()}
        model["drop"] = [*self.config.model.drop, *self._drafter.constants()]
        if self.config.model.inference.kind in FLOWS:
            task = self._task(options)
            kind = self.config.model.inference.kind
            linear = False if self._flow_is_written else found.linear
            chosen = task.inference(kind, linear=linear)
            model["inference"] = {**chosen, **model.get("inference", {})}
            model.setdefault("uncertainty", task.uncertainty())
            train = {**task.train(found.decay), **train}
        complete = Model.model_validate(model).model_dump(mode="json", by_alias=True)
        return complete, TrainOptions.model_validate(train).model_dump(mode="json")

    def _given(self) -> tuple[Plain, Plain]:
        """What the YAML says."""
        model = self.config.model.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return model, self.config.train.model_dump(mode="json", exclude_unset=True)

    def _task(self, options: dict[str, Option]) -> Task:
        return Task(
            parameters=self.parameters,
            pairs=self.config.simulate.train,
            members=max(option.members for option in options.values()),
            attentive=any(option.candidate.name in ATTENTIVE for option in options.values()),
            effort=self.config.effort,
        )

    def _of_inputs(self, options: dict[str, Option]) -> Iterator[ChosenKey]:
        """The keys of the inputs that were chosen."""
        for name, option in options.items():
            for key, why in option.whys.items():
                yield _choice(f"model.inputs.{name}.{key}", option.section[key], why)
        constants = self._drafter.constants()
        if constants:
            yield _choice("model.drop", constants, "constant in all simulations")

    def _of_others(self, model: Plain, train: Plain, found: _Found) -> Iterator[ChosenKey]:
        """The keys of the density network and of training that were chosen."""
        if self.config.model.inference.kind not in FLOWS:
            return
        given_model, given_train = self._given()
        pairs = f"for {self.config.simulate.train:,} pairs"
        for key in ("inference", "uncertainty"):
            if key not in given_model:
                yield _choice(f"model.{key}", _shortened(model[key]), pairs)
        for key in sizes.TRAIN_KEYS:
            why = pairs
            if f"train.{key}" == DECAY and found.decay is not None:
                why = "best in a trial"
            if key not in given_train:
                yield _choice(f"train.{key}", train[key], why)


def _choice(key: str, value: object, why: str) -> ChosenKey:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return ChosenKey(key, text.removesuffix("\n...\n").strip(), why)


def _shortened(part: object) -> object:
    """A part without the options that a reader need not see here."""
    assert isinstance(part, dict)
    return {key: part[key] for key in SHOWN if key in part}
