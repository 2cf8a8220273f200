"""What the page says of each check, and one number of the diagnosis."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from sbiwb.report._fields import Fields
from sbiwb.report._html import tag

SEVERITY = {"info": 0, "pass": 1, "warn": 2, "fail": 3}
SYMBOL = {"info": "·", "pass": "✓", "warn": "!", "fail": "✕"}
WORD = {"info": "Nothing tested", "pass": "Pass", "warn": "Warning", "fail": "Fail"}
STRATUM = " | "
NETWORK = ": "  # between the name of a network that is not the posterior and its check


def verdict_of(value: object) -> str:
    """The verdict, or `info` for what is none."""
    if isinstance(value, str) and value in SEVERITY:
        return value
    return "info"


@dataclass(frozen=True)
class Check:
    """What the page says of a kind of check.

    Args:
        title: In words.
        reading: How to read its picture.
        is_learning: Whether it belongs to what the data taught, and not to whether to trust the
            posterior.
    """

    title: str
    reading: str = ""
    is_learning: bool = False


CHECKS = {
    "sbc": Check(
        "Ranks: simulation-based calibration",
        "Flat histograms, and curves inside the grey, are what an exact posterior shows. Heaped "
        "at both ends: too narrow. Heaped in the middle: too wide. A slope: biased.",
    ),
    "coverage": Check(
        "Coverage of intervals",
        "On the diagonal, intervals hold the truth as often as they say. Below it they are too "
        "narrow, above it too wide.",
    ),
    "calibration_error": Check(
        "Calibration error",
        "How far the intervals are from what they say, in the median over levels: 0 is exact.",
    ),
    "tarp": Check(
        "Joint coverage (TARP)",
        "Inside the grey, the posterior is calibrated as a whole and not only parameter by "
        "parameter.",
    ),
    "lc2st": Check(
        "Calibration at your data (L-C2ST)",
        "A classifier tries to tell the posterior at one observation from an exact one.",
    ),
    "predictive": Check(
        "Posterior predictive",
        "Whether data simulated from the posterior look like the data they came from.",
    ),
    "prior_predictive": Check(
        "Prior predictive", "Whether the prior simulates data like the observed ones at all."
    ),
    "self_consistency": Check(
        "Self-consistency of posterior and likelihood",
        "By Bayes' rule log prior + log likelihood - log posterior is the same at every parameter. "
        "Its ranks at the truth are flat where the posterior is exact, whatever the likelihood; "
        "heaped to the right, the likelihood knows what the posterior misses.",
    ),
    "misspecification": Check(
        "Is your data like the simulations?",
        "Data far outside the cloud are unlike all that the network learned from.",
    ),
    "epistemic": Check(
        "Uncertainty of the network itself",
        "The share of the spread that more training would remove.",
    ),
    "strata": Check(
        "Right for every kind of data?",
        "The worst parameter of each stratum. In the shaded part, what is off is small enough to "
        "live with.",
    ),
    "zscore_contraction": Check(
        "z-score and contraction",
        "To the right: the data taught much. Around zero: no bias, within ± 2 for about 95 % of "
        "the test pairs.",
        is_learning=True,
    ),
    "recovery": Check(
        "Recovery",
        "Along the line, the data determine the parameter; a flat cloud says that they do not.",
        is_learning=True,
    ),
    "nrmse": Check(
        "Error against the prior (NRMSE)",
        "0 is certain, 1 is no better than the prior.",
        is_learning=True,
    ),
    "nlpd": Check(
        "Log-density of the truth (NLPD)",
        "Lower is better; comparable between networks on the same problem.",
        is_learning=True,
    ),
    "data_budget": Check(
        "Would more simulations help?",
        "Where the curve still falls at its right end, they would.",
        is_learning=True,
    ),
}
MEASURES = {
    "contraction_variance_median": "contraction",
    "contraction_sd_median": "contraction (sd)",
    "z_mean": "z, mean",
    "z_sd": "z, sd",
    "recovery_r": "r",
    "recovery_r2": "R²",
    "recovery_slope": "slope",
    "recovery_accuracy": "accuracy",
    "recovery_log_score": "log score",
    "recovery_brier": "Brier score",
    "leaked_share": "outside prior",
    "nrmse_draws": "NRMSE, draws",
    "nrmse_mean": "NRMSE, mean",
    "nlpd": "NLPD",
}


def about(check: str) -> Check:
    """What the page says of a check by its name, numbered, of a stratum or of another network:
    `sbc_2`, `sbc | n_trials 10 to 50`, `likelihood trials: sbc`."""
    whole = check.partition(STRATUM)[0].rpartition(NETWORK)[2]
    kind, _, count = whole.rpartition("_")
    if not (kind and count.isdigit()):
        return _by_kind(whole)
    entry = _by_kind(kind)
    return replace(entry, title=f"{entry.title} ({count})")


def _by_kind(kind: str) -> Check:
    return CHECKS.get(kind) or Check(kind.replace("_", " ").capitalize())


def measure_name(name: str) -> str:
    """Name of a measure for people."""
    interval = re.fullmatch(r"coverage_(\d+)", name)
    if interval:
        return f"{interval[1]} % hold"
    return MEASURES.get(name) or name.replace("_", " ")


@dataclass(frozen=True)
class Number:
    """One entry of `numbers.json`."""

    check: str
    name: str
    parameter: str
    value: float | None
    effect: float | None
    interval: tuple[float, float] | None
    p_adjusted: float | None
    verdict: str
    reason: str

    @classmethod
    def of(cls, entry: Fields) -> Number:
        return cls(
            check=entry.text("check"),
            name=entry.text("name"),
            parameter=entry.text("parameter"),
            value=entry.number("value"),
            effect=entry.number("effect"),
            interval=_interval(entry.numbers("effect_interval")),
            p_adjusted=entry.number("p_adjusted"),
            verdict=verdict_of(entry.get("verdict")),
            reason=entry.text("reason"),
        )

    @property
    def is_judged(self) -> bool:
        """Whether it was tested, or warns by a rule."""
        return self.verdict != "info"

    @property
    def is_bad(self) -> bool:
        return self.verdict in ("warn", "fail")

    @property
    def whole(self) -> str:
        """The check without its stratum."""
        return self.check.partition(STRATUM)[0]

    @property
    def stratum(self) -> str:
        return self.check.partition(STRATUM)[2]

    @property
    def network(self) -> str:
        """Which network was judged; empty for the run's own."""
        return self.whole.rpartition(NETWORK)[0]

    @property
    def rank(self) -> tuple[int, float]:
        """Larger is worse: by the verdict, then by the effect."""
        return SEVERITY[self.verdict], self.effect or 0.0


def _interval(ends: Sequence[float]) -> tuple[float, float] | None:
    """Two numbers, or nothing."""
    if len(ends) != 2:
        return None
    low, high = ends
    return low, high


def worst(numbers: Iterable[Number]) -> Number | None:
    """The number of the worst verdict and the largest effect."""
    return max(numbers, key=lambda number: number.rank, default=None)


def counts(numbers: Sequence[Number]) -> str:
    """For example `2 fail, 1 warn, 7 pass`."""
    times = Counter(number.verdict for number in numbers)
    words = []
    for verdict in ("fail", "warn", "pass"):
        if times[verdict]:
            words.append(f"{times[verdict]} {verdict}")
    return ", ".join(words)


def sentence(numbers: Sequence[Number]) -> str:
    """The numbers of a check in words: how many pass, and the worst of those that do not; empty
    where none is judged."""
    judged = [number for number in numbers if number.is_judged]
    first = worst(judged)
    if first is None:
        return ""
    if not first.reason or not first.is_bad:
        return counts(judged)
    return f"{counts(judged)}; {_place(first)}: {first.reason}"


def _place(number: Number) -> str:
    if not number.stratum:
        return number.parameter
    return f"{number.parameter} ({number.stratum})"


def mark(verdict: str) -> Markup:
    """Symbol of a verdict in its colour; the word is beside it or in the title of the cell."""
    return tag("span", SYMBOL[verdict], class_=f"mark {verdict}", aria_hidden="true")


def notice(verdict: str, sentence: object) -> Markup:
    """A sentence behind the symbol of its verdict."""
    return tag("p", mark(verdict), " ", sentence, class_="notice")
