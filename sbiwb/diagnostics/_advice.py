"""What a set of verdicts looks like, what usually causes it, and which key to change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sbiwb.diagnostics import _advice_patterns as patterns
from sbiwb.diagnostics._advice_patterns import Cause, Pattern, Todo
from sbiwb.diagnostics._advice_training import UNKNOWN_TRAINING, Training
from sbiwb.diagnostics._inputs import LOG_Q, WITH_DATA
from sbiwb.diagnostics._judge import SEVERITY, Judgment, Verdict, worst_verdict
from sbiwb.evidence import Shape

MAX_NAMES = 6
GROSS_EFFECT = 0.25  # max |ECDF - z| that no half-trained network reaches in the middle of its data
REJECTED = ("warn", "fail")
MARGINAL_KINDS = ("sbc", "coverage")
TARP_DATA = "tarp_data"
SELF_CONSISTENCY = "self_consistency"


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
    """Findings on the posterior, worst first.

    Args:
        judgments: Of all checks and strata; those of other networks are passed over.
        training: How it ended, where that is known.
    """
    training = training or UNKNOWN_TRAINING
    own = [judgment for judgment in judgments if not judgment.network]
    whole = [judgment for judgment in own if not judgment.stratum]
    contradicting = [judgment for judgment in whole if judgment.kind == SELF_CONSISTENCY]
    rejected = [
        judgment for judgment in own if is_rejected(judgment) and judgment not in contradicting
    ]
    of_all_pairs = [judgment for judgment in rejected if not judgment.stratum]
    of_strata = [judgment for judgment in rejected if judgment.stratum]
    advice = [
        *_overfitting(whole, of_all_pairs, training),
        *_marginals(of_all_pairs, training),
        *_joint(of_all_pairs, training),
        *_local(of_all_pairs, training),
        *_contradicting(contradicting, training),
        *_strata(of_strata, whole),
        *_rules(whole, training),
    ]
    return sorted(advice, key=lambda finding: -SEVERITY[finding.severity])


def is_rejected(judgment: Judgment) -> bool:
    return judgment.p_adjusted is not None and judgment.verdict in REJECTED


def _overfitting(
    whole: Sequence[Judgment], rejected: Sequence[Judgment], training: Training
) -> Iterator[Advice]:
    """That the network overfits, where it does and something is wrong."""
    if not training.overfits or not rejected:
        return
    advice = _advice(patterns.OVERFITTED, rejected, training, training.rise())
    budget = _budget_todo(whole)
    yield Advice(
        advice.finding, advice.where, advice.causes, (*advice.todo, budget), advice.severity
    )


def _budget_todo(whole: Sequence[Judgment]) -> str:
    """What `data_budget` says of more simulations, or how to ask it."""
    for judgment in whole:
        if judgment.name == "doubling_gain" and judgment.value is not None:
            return f"data_budget: {judgment.reason}."
    return patterns.ADD_BUDGET.words


def _marginals(rejected: Sequence[Judgment], training: Training) -> Iterator[Advice]:
    """What is wrong with single parameters."""
    marginal = [judgment for judgment in rejected if _is_marginal(judgment)]
    gross = [judgment for judgment in marginal if _is_gross(judgment)]
    if gross:
        yield _advice(patterns.GROSS, gross, training)
    telling = [judgment for judgment in _telling(marginal) if judgment not in gross]
    for shape, pattern in patterns.SHAPES.items():
        shaped = [judgment for judgment in telling if first_shape(judgment) == shape]
        if shaped:
            yield _advice(pattern, shaped, training)


def _is_marginal(judgment: Judgment) -> bool:
    if judgment.kind not in MARGINAL_KINDS or judgment.parameter == LOG_Q:
        return False
    return not judgment.parameter.endswith(WITH_DATA)


def _is_gross(judgment: Judgment) -> bool:
    return judgment.kind == "sbc" and _effect(judgment) > GROSS_EFFECT


def _telling(marginal: Sequence[Judgment]) -> list[Judgment]:
    """Ranks tell a shift from a wrong width, coverage does not: it speaks where they do not."""
    ranked = {judgment.parameter for judgment in marginal if judgment.kind == "sbc"}
    return [
        judgment
        for judgment in marginal
        if judgment.kind == "sbc" or judgment.parameter not in ranked
    ]


def first_shape(judgment: Judgment) -> Shape | None:
    return next(iter(judgment.shapes), None)


def _joint(rejected: Sequence[Judgment], training: Training) -> Iterator[Advice]:
    """What only shows in several parameters together, or against the data."""
    if any(map(_is_marginal, rejected)):
        return
    blind = [judgment for judgment in rejected if _is_blind(judgment)]
    joint = [
        judgment for judgment in rejected if judgment.parameter == LOG_Q or judgment.kind == "tarp"
    ]
    if blind:
        yield _advice(patterns.BLIND, blind, training)
    elif joint:
        yield _advice(patterns.JOINT, joint, training)


def _is_blind(judgment: Judgment) -> bool:
    """Whether it says that the posterior does not follow the data."""
    return judgment.name == TARP_DATA or judgment.parameter.endswith(WITH_DATA)


def _local(rejected: Sequence[Judgment], training: Training) -> Iterator[Advice]:
    """What is wrong at the real data."""
    local = [judgment for judgment in rejected if judgment.kind == "lc2st"]
    if local:
        yield _advice(patterns.LOCAL, local, training)


def _contradicting(judgments: Sequence[Judgment], training: Training) -> Iterator[Advice]:
    """Where the posterior contradicts the likelihood."""
    rejected = list(filter(is_rejected, judgments))
    if rejected:
        yield _advice(patterns.CONTRADICTING, rejected, training)


def _strata(rejected: Sequence[Judgment], whole: Sequence[Judgment]) -> Iterator[Advice]:
    """What is wrong for some data sets, and not or much less on average."""
    for label, sticking_out in _by_stratum(rejected, whole).items():
        worst = max(sticking_out, key=_effect)
        reason = worst.reason.split(":")[0]
        finding = f"Wrong for {label}, more than on average: {{}} ({reason})."
        pattern = Pattern(
            finding, patterns.STRATUM_CAUSES, patterns.STRATUM_TODO, asks_training=False
        )
        yield _advice(pattern, sticking_out, UNKNOWN_TRAINING)


def _by_stratum(
    rejected: Sequence[Judgment], whole: Sequence[Judgment]
) -> Mapping[str, list[Judgment]]:
    """What sticks out of the average, by the stratum's label."""
    average = {(judgment.check, judgment.name, judgment.parameter): judgment for judgment in whole}
    by_label: dict[str, list[Judgment]] = {}
    for judgment in rejected:
        if _sticks_out(
            judgment, average.get((judgment.whole_check, judgment.name, judgment.parameter))
        ):
            by_label.setdefault(judgment.stratum, []).append(judgment)
    return by_label


def _sticks_out(judgment: Judgment, average: Judgment | None) -> bool:
    """Whether a stratum is surely worse than all test pairs together, or rejected alone."""
    if average is None or average.effect is None or average.verdict == "pass":
        return True
    return judgment.effect_interval is not None and judgment.effect_interval[0] > average.effect


def _rules(whole: Sequence[Judgment], training: Training) -> Iterator[Advice]:
    """Named warnings of descriptive checks."""
    for rule, pattern in patterns.RULES.items():
        warned = [
            judgment
            for judgment in whole
            if judgment.verdict == "warn" and judgment.warning == rule
        ]
        if warned:
            yield _advice(pattern, warned, training)


def _advice(
    pattern: Pattern, behind: Sequence[Judgment], training: Training, subject: str | None = None
) -> Advice:
    """A pattern filled in.

    Args:
        pattern: What it looks like.
        behind: The judgments that show it.
        training: How it ended.
        subject: What `{}` of the finding stands for; the parameters by default.
    """
    todo = list(fitting(pattern.todo, training))
    if pattern.asks_training:
        todo = [*training.todo(), *todo]
    return Advice(
        pattern.finding.replace("{}", subject or _names(behind)),
        unique(f"{judgment.check}: {judgment.parameter}" for judgment in behind),
        unique(cause.words for cause in likeliest_first(pattern.causes, training)),
        unique(todo),
        worst_verdict(behind),
    )


def unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def fitting(todo: Sequence[Todo], training: Training) -> Iterator[str]:
    """What may help; a network that overfits is not to grow."""
    for remedy in todo:
        if not (remedy.enlarges and training.overfits):
            yield remedy.words


def likeliest_first(causes: Sequence[Cause], training: Training) -> list[Cause]:
    return sorted(causes, key=lambda cause: cause.sign not in training.signs)


def _effect(judgment: Judgment) -> float:
    return judgment.effect or 0.0


def _names(judgments: Sequence[Judgment]) -> str:
    names = unique(judgment.parameter.removesuffix(WITH_DATA) for judgment in judgments)
    words = ", ".join(names[:MAX_NAMES])
    if len(names) > MAX_NAMES:
        return f"{words} and {len(names) - MAX_NAMES} more"
    return words
