"""What a set of verdicts looks like, what usually causes it, and which key to change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sbiwb.diagnostics._judge import SEVERITY, STRATUM, Judgment, Verdict

MOST_NAMES = 6
LARGE_GAP = 0.2  # nats between training and validation from which we speak of overfitting
GROSS = 0.25  # max |ECDF - z| that no half-trained network reaches in the middle of its data


@dataclass(frozen=True)
class Training:
    """How the training ended.

    Args:
        still_falling: Whether the validation loss was falling in the last fifth, or was measured too seldom to know.
        gap: Validation loss minus training loss at the best step, in nats.
    """

    still_falling: bool
    gap: float


@dataclass(frozen=True)
class Advice:
    """One finding.

    Args:
        finding: What it looks like.
        where: Checks that found it, with their parameters.
        causes: What usually causes it, likeliest first.
        todo: What to change, by the keys of the YAML.
        severity: That of the worst verdict behind it.
    """

    finding: str
    where: tuple[str, ...]
    causes: tuple[str, ...]
    todo: tuple[str, ...]
    severity: Verdict


def advise(judgments: Sequence[Judgment], training: Training | None = None) -> list[Advice]:
    """Findings, worst first.

    Args:
        judgments: Of all checks and strata.
        training: How it ended, where that is known.
    """
    rejected = [
        one for one in judgments if one.p_adjusted is not None and one.verdict in ("warn", "fail")
    ]
    whole, parts = (
        [one for one in rejected if STRATUM not in one.check],
        [one for one in rejected if STRATUM in one.check],
    )
    average = {
        (one.check, one.name, one.parameter): one for one in judgments if STRATUM not in one.check
    }
    found = [*_calibration(whole, training), *_strata(parts, average), *_named(judgments, training)]
    return sorted(found, key=lambda advice: -SEVERITY[advice.severity])


def _calibration(rejected: Sequence[Judgment], training: Training | None) -> Iterable[Advice]:
    """What the checks over all test pairs found."""
    marginal = [
        one
        for one in rejected
        if _kind(one) in ("sbc", "coverage")
        and one.parameter != "log q"
        and not one.parameter.endswith("·x")
    ]
    gross = [one for one in marginal if _kind(one) == "sbc" and (one.effect or 0) > GROSS]
    if gross:
        yield _advice(
            f"Grossly wrong: {_names(gross)}.",
            gross,
            (
                "the network has hardly been trained",
                "a coding error: test pairs and training pairs come from different simulators or units",
            ),
            (
                *_longer(training),
                "Simulate one data set by hand at known parameters and look at it; check units and the order of arguments.",
            ),
        )
    ranked = {
        one.parameter for one in marginal if _kind(one) == "sbc"
    }  # ranks tell a shift from a wrong width, coverage does not
    telling = [
        one
        for one in marginal
        if one not in gross and (_kind(one) == "sbc" or one.parameter not in ranked)
    ]
    for words, finding, causes, todo in _SHAPES:
        here = [one for one in telling if _shape(one) == words]
        if here:
            yield _advice(
                finding.format(_names(here)),
                here,
                _with_training(causes, training),
                (*_longer(training), *todo),
            )
    yield from _joint(rejected, bool(marginal), training)


_SHAPES = (
    (
        "overconfident",
        "Overconfident: the posterior of {} is too narrow.",
        (
            "the network has learned its training pairs by heart (too few simulations)",
            "the simulator's noise is larger in the test pairs",
        ),
        (
            "Raise simulate.train (its shards are kept, only the new ones are made).",
            "Or raise train.weight_decay, or make the network smaller.",
        ),
    ),
    (
        "underconfident",
        "Underconfident: the posterior of {} is too wide.",
        (
            "training stopped too early",
            "the network or its summary is too small to hold what the data say",
        ),
        ("Raise train.steps, model.inference.transforms or the inputs' features.",),
    ),
    (
        "biased low",
        "Biased low: the posterior of {} lies below the truth.",
        (
            "training stopped too early",
            "a part of the data that matters is dropped, or clipped by a transform",
        ),
        (
            "Look at the recovery picture: a bend near one end is a transform or a bound, a shift everywhere is a coding error.",
        ),
    ),
    (
        "biased high",
        "Biased high: the posterior of {} lies above the truth.",
        (
            "training stopped too early",
            "a part of the data that matters is dropped, or clipped by a transform",
        ),
        (
            "Look at the recovery picture: a bend near one end is a transform or a bound, a shift everywhere is a coding error.",
        ),
    ),
    (
        "wrong in shape",
        "Wrong in shape: the posterior of {} is neither shifted nor of the wrong width.",
        ("several modes or a skew that the flow has not learned",),
        (
            "Make the inference network larger: more transforms or bins of a flow, else more or wider hidden layers.",
        ),
    ),
)


def _shape(one: Judgment) -> str:
    """The first shape that a reason names, which is the strongest."""
    named = [words for words, *_ in _SHAPES if words in one.reason]
    return min(named, key=one.reason.index, default="")


def _joint(
    rejected: Sequence[Judgment], is_marginal: bool, training: Training | None
) -> Iterable[Advice]:
    """What only shows in several parameters together, or against the data."""
    blind = [one for one in rejected if one.parameter.endswith("·x") or one.name == "tarp_data"]
    if blind and not is_marginal:
        yield _advice(
            f"Right on average, but not for the data at hand: {_names(blind)} does not follow the data as it should.",
            blind,
            (
                "the summary network loses what the data say",
                "an input is dropped, or its transform flattens it",
                "training has hardly begun",
            ),
            (
                *_longer(training),
                "Look at model.inputs: which statistics of the data does the network see? Raise `features`.",
            ),
        )
    shape = [one for one in rejected if one.parameter == "log q" or one.name.startswith("tarp")]
    if shape and not is_marginal and not blind:
        yield _advice(
            "Each parameter alone is right, all together are not: correlations or the joint shape are wrong.",
            shape,
            ("the flow is too simple for the joint posterior",),
            (
                *_longer(training),
                "Raise model.inference.transforms; two more reverse the order of the parameters once more.",
            ),
        )
    local = [one for one in rejected if _kind(one) == "lc2st"]
    if local:
        yield _advice(
            f"Wrong at the real data: a classifier tells the posterior at {_names(local)} from the truth.",
            local,
            ("such data sets are rare among the simulations",),
            (
                *_longer(training),
                "Raise simulate.train, or narrow the prior to where the data are.",
            ),
        )


def _strata(
    parts: Sequence[Judgment], average: Mapping[tuple[str, str, str], Judgment]
) -> Iterable[Advice]:
    """What is wrong for some data sets, and not or much less on average."""
    by_label: dict[str, list[Judgment]] = {}
    for one in parts:
        check, _, label = one.check.partition(STRATUM)
        if _sticks_out(one, average.get((check, one.name, one.parameter))):
            by_label.setdefault(label, []).append(one)
    for label, here in by_label.items():
        worst = max(here, key=lambda one: one.effect or 0)
        yield _advice(
            f"Wrong for {label}, more than on average: {_names(here)} ({worst.reason.split(':')[0]}).",
            here,
            (
                "such data sets are rare among the simulations, or harder than the others",
                "the network does not see how they differ",
            ),
            (
                "Draw more of them: change the prior of that context variable.",
                "List it under model.inputs if it is dropped; raise `features`.",
            ),
        )


def _sticks_out(one: Judgment, average: Judgment | None) -> bool:
    """Whether a stratum is surely worse than all test pairs together, or is rejected where they are not."""
    if average is None or average.effect is None or average.verdict == "pass":
        return True
    return one.effect_interval is not None and one.effect_interval[0] > average.effect


_RULES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "unidentified",
        "The data say little about {}: its posterior is about its prior. That is a finding, not a fault, where the checks pass.",
        (
            "the data do not depend on it",
            "two parameters do the same to the data",
            "the network has not found it yet",
        ),
        (
            "Plot simulations at two extreme values of it: if they look alike, measure something else or fix it as a constant.",
        ),
    ),
    (
        "leaked",
        "Some draws of {} lie outside the prior.",
        ("its map to unbounded numbers is `standardize`",),
        ("Leave model.theta at `prior`, or give a joint parameter its bounds.",),
    ),
    (
        "unlike the simulations",
        "{} is unlike every simulation: its posterior must not be trusted.",
        (
            "the simulator leaves out something that real data have",
            "units, order or preprocessing differ from the simulator's",
        ),
        (
            "Look at the predictive picture; add to the simulator what is missing, or measure the misfit and say so in the paper.",
        ),
    ),
    (
        "outside the prior predictive",
        "{} lies outside what the prior predicts.",
        ("the prior is too narrow", "units differ from the simulator's"),
        ("Widen problem.parameters, or check the units of the data.",),
    ),
    (
        "not reproduced",
        "Data simulated from the posterior do not reproduce {}.",
        ("the network does not use it", "the posterior is too narrow"),
        ("See which inputs hold it: model.inputs and their summary.",),
    ),
    (
        "uncertain weights",
        "Much of the uncertainty of {} is the network's own.",
        ("too few simulations to pin the weights down",),
        ("Raise simulate.train, or train.steps where the validation loss was still falling.",),
    ),
    (
        "more simulations would help",
        "More simulations would make the posterior sharper.",
        ("the validation loss still falls with the number of training pairs",),
        ("Raise simulate.train; what exists is kept.",),
    ),
)


def _named(judgments: Sequence[Judgment], training: Training | None) -> Iterable[Advice]:
    """Named warnings of descriptive checks."""
    for rule, finding, causes, todo in _RULES:
        here = [
            one
            for one in judgments
            if one.verdict == "warn" and one.reason.startswith(rule) and STRATUM not in one.check
        ]
        if here:
            longer = _longer(training) if rule == "unidentified" else ()
            yield _advice(
                finding.format(_names(here)),
                here,
                _with_training(causes, training),
                (*longer, *todo),
            )


def _advice(
    finding: str, behind: Sequence[Judgment], causes: Iterable[str], todo: Iterable[str]
) -> Advice:
    worst = max((one.verdict for one in behind), key=SEVERITY.__getitem__)
    places = tuple(dict.fromkeys(f"{one.check}: {one.parameter}" for one in behind))
    return Advice(finding, places, tuple(dict.fromkeys(causes)), tuple(dict.fromkeys(todo)), worst)


def _with_training(causes: tuple[str, ...], training: Training | None) -> tuple[str, ...]:
    """Likeliest first, by how training ended."""
    if training is None:
        return causes

    def likely(cause: str) -> bool:
        return ("by heart" in cause and training.gap > LARGE_GAP) or (
            ("too early" in cause or "not found it yet" in cause) and training.still_falling
        )

    return tuple(sorted(causes, key=lambda cause: not likely(cause)))


def _longer(training: Training | None) -> tuple[str, ...]:
    if training is not None and training.still_falling:
        return (
            "Train longer: the validation loss had not settled at the end. Raise train.steps, then `sbiwb run CONFIG --fresh`.",
        )
    if training is not None and training.gap > LARGE_GAP:
        return (
            f"Simulate more: validation lies {training.gap:.2f} nats above training. Raise simulate.train.",
        )
    return ()


def _kind(one: Judgment) -> str:
    return one.check.partition(STRATUM)[0].rstrip("0123456789").rstrip("_")


def _names(found: Sequence[Judgment]) -> str:
    names = list(dict.fromkeys(one.parameter.removesuffix("·x") for one in found))
    return ", ".join(names[:MOST_NAMES]) + (
        f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    )
