"""What the verdicts on a learned likelihood look like, what usually causes it, what to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sbiwb.diagnostics._advice import Advice, fitting, is_rejected, likeliest_first, unique
from sbiwb.diagnostics._advice_patterns import LIKELIHOOD_CAUSES, LIKELIHOOD_TODO
from sbiwb.diagnostics._advice_training import UNKNOWN_TRAINING, Training
from sbiwb.diagnostics._inputs import ALL, LOG_Q, WITH_DATA
from sbiwb.diagnostics._judge import Judgment, worst_verdict
from sbiwb.evidence import Shape

SHAPES = {
    Shape.OVERCONFIDENT: "too narrow",
    Shape.UNDERCONFIDENT: "too wide",
    Shape.BIASED_LOW: "too low",
    Shape.BIASED_HIGH: "too high",
    Shape.PRIOR_LIKE: "too little moved by theta",
    Shape.OVERREACTING: "too much moved by theta",
    Shape.WRONG_IN_SHAPE: "wrong in shape",
}
MAX_COLUMNS = 6


def advise_likelihood(
    name: str, judgments: Sequence[Judgment], training: Training | None = None
) -> list[Advice]:
    """One finding where a likelihood is off.

    Args:
        name: Of its structure.
        judgments: Of its checks and strata.
        training: How its own training ended, where that is known.
    """
    rejected = list(filter(is_rejected, judgments))
    if not rejected:
        return []
    training = training or UNKNOWN_TRAINING
    finding = f"The likelihood of {name} is off, not the posterior"
    return [
        Advice(
            f"{finding}: {'; '.join(_shaped(rejected))}.",
            unique(f"{judgment.check}: {judgment.parameter}" for judgment in rejected),
            unique(cause.words for cause in likeliest_first(LIKELIHOOD_CAUSES, training)),
            unique(fitting(LIKELIHOOD_TODO, training)),
            worst_verdict(rejected),
        )
    ]


def _shaped(rejected: Sequence[Judgment]) -> Iterator[str]:
    """Columns by what is wrong with their density."""
    by_words: dict[str, list[str]] = {}
    for judgment in rejected:
        shape = next(iter(judgment.shapes), Shape.WRONG_IN_SHAPE)
        by_words.setdefault(SHAPES[shape], []).append(_column(judgment))
    for words, columns in by_words.items():
        names = unique(columns)
        more = ", …" if len(names) > MAX_COLUMNS else ""
        yield f"{words} in {', '.join(names[:MAX_COLUMNS])}{more}"


def _column(judgment: Judgment) -> str:
    if judgment.parameter in (ALL, LOG_Q):
        return "all columns"
    return judgment.parameter.removesuffix(WITH_DATA)
