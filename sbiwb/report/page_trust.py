"""Can I trust it, and what did the data teach? Verdicts, values and pictures of the diagnosis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sbiwb.report._html import folded, join, note, paragraph, prose, tag
from sbiwb.report._picture import Picture, figure
from sbiwb.report._table import number
from sbiwb.report.page_checks import Check, Number, about, counts, notice, sentence, worst
from sbiwb.report.page_facts import Facts, todo
from sbiwb.report.page_values import glossary, values
from sbiwb.report.page_verdicts import legend, matrix, verdict_table

LARGE = 400_000  # bytes from which a further picture of a check stays in its folder
TEST_PAIRS = (
    "Each test pair is a simulation whose true parameters are known and that no training saw."
)
LIKELIHOOD = (
    "The density of a member given the parameters, judged on one member of each of {} test data "
    "sets. What is wrong here is wrong of the likelihood, and no finding on the posterior."
)
LEARNING = (
    "How much narrower the posterior is than the prior, and how well it finds the truth, over the "
    "test pairs."
)
NO_LEARNING = (
    "No check of this run asks that: add `zscore_contraction` and `recovery` to diagnose.checks."
)


@dataclass(frozen=True)
class JudgedNetwork:
    """What the diagnosis says of one network.

    Args:
        numbers: Its numbers.
        columns: Of what it is the density of.
        pictures: Of its checks.
    """

    numbers: Sequence[Number]
    columns: Sequence[str]
    pictures: Sequence[Picture]

    @classmethod
    def own(cls, facts: Facts) -> JudgedNetwork:
        """Of the run's own network."""
        return cls(facts.own, facts.columns, facts.pictures)


def trust(facts: Facts) -> Markup:
    """Verdicts at a glance, by strata, in pictures and in words."""
    if not facts.is_judged:
        return todo(facts, "Not judged yet", "diagnose")
    own = JudgedNetwork.own(facts)
    parts = [
        paragraph(TEST_PAIRS, "lead"),
        *_overview(own),
        *_strata(facts, own),
        *_pictures(own, is_learning=False),
        *_plain_values(facts, own),
        *_likelihoods(facts),
        tag("h3", "Every verdict"),
        _filter(),
        verdict_table(facts.judged),
        glossary(_measures(facts)),
    ]
    return join(parts)


def _likelihoods(facts: Facts) -> Iterator[Markup]:
    """Of each likelihood that was judged beside the posterior: verdicts, and pictures folded."""
    pictures = {likelihood.structure: likelihood.pictures for likelihood in facts.likelihoods}
    for entry in facts.diagnosis.records("likelihoods"):
        structure = entry.text("structure")
        numbers = [one for one in facts.judged if one.network == entry.text("name")]
        judged = JudgedNetwork(numbers, entry.texts("columns"), pictures.get(structure, ()))
        yield tag("h3", f"Likelihood of {structure}")
        yield note(LIKELIHOOD.format(number(entry.get("n"))))
        yield from _overview(judged)
        yield from _strata(facts, judged)
        if judged.pictures:
            yield folded("Pictures of its checks", *_plain_pictures(judged.pictures))


def _plain_pictures(pictures: Iterable[Picture]) -> Iterator[Markup]:
    for picture in pictures:
        if len(picture.data) < LARGE:
            yield figure(picture, alternative=about(picture.name).title)


def _overview(judged: JudgedNetwork) -> list[Markup]:
    """The table of verdicts on all test pairs, and what its symbols mean."""
    titles = {}
    for entry in judged.numbers:
        if entry.is_judged and not entry.stratum:
            titles[entry.check] = about(entry.check).title
    key = legend(entry for entry in judged.numbers if entry.check in titles)
    if not titles:
        return [key]
    label = "Verdicts by check and parameter"
    return [matrix(judged.numbers, judged.columns, titles, label=label), key]


def _plain_values(facts: Facts, judged: JudgedNetwork) -> list[Markup]:
    """Values without a test."""
    untested = []
    for entry in judged.numbers:
        if entry.p_adjusted is None and not about(entry.whole).is_learning:
            untested.append(entry)
    table = values(untested, judged.columns, _measures(facts))
    if table is None:
        return []
    return [tag("h3", "Values by parameter"), table]


def _filter() -> Markup:
    words = {"placeholder": "Filter: fail, a parameter, a check", "aria_label": "Filter verdicts"}
    return tag("input", type="search", class_="filter", **words)


def _measures(facts: Facts) -> Mapping[str, str]:
    """What each measure is, by name."""
    words = facts.diagnosis.fields("definitions")
    return {name: words.text(name) for name in words}


def _strata(facts: Facts, judged: JudgedNetwork) -> list[Markup]:
    """A table for each variable that the test pairs were parted by."""
    sizes: dict[str, dict[str, str]] = {}
    for stratum in facts.diagnosis.records("strata"):
        of_variable = sizes.setdefault(stratum.text("by"), {})
        of_variable[stratum.text("label")] = number(stratum.get("n"))
    tables = []
    for by, of_variable in sizes.items():
        table = _stratified(judged, by, of_variable)
        if table is not None:
            tables.append(table)
    return tables


def _stratified(judged: JudgedNetwork, by: str, sizes: Mapping[str, str]) -> Markup | None:
    """Verdicts of one stratification, unfolded where one is bad; sizes are pairs by label."""
    numbers = [entry for entry in judged.numbers if entry.stratum in sizes]
    first = worst(numbers)
    if first is None:
        return None
    rows = {}
    for entry in numbers:
        rows[entry.check] = f"{entry.check} ({sizes[entry.stratum]} pairs)"
    table = matrix(numbers, judged.columns, rows, label=f"Verdicts by {by}")
    return folded(f"By {by}: {counts(numbers)}", table, open_=first.is_bad)


def learned(facts: Facts) -> Markup:
    """How much narrower than the prior, and how near the truth."""
    if not facts.is_judged:
        return todo(facts, "Not known yet", "diagnose")
    mine = [entry for entry in facts.own if about(entry.whole).is_learning]
    if not mine:
        return paragraph(NO_LEARNING, "todo")
    parts = [
        paragraph(LEARNING, "lead"),
        values(mine, facts.columns, _measures(facts)),
        _prior_variance(facts),
        *_pictures(JudgedNetwork.own(facts), is_learning=True),
    ]
    return join(parts)


def _prior_variance(facts: Facts) -> Markup | None:
    source = facts.diagnosis.text("prior_var_source")
    if not source:
        return None
    return note(f"Contraction is against the variance of the {source}.")


def _pictures(judged: JudgedNetwork, *, is_learning: bool) -> list[Markup]:
    """A heading and pictures for each check that has them, in the order of the checks."""
    by_check: dict[str, list[Number]] = {}
    for entry in judged.numbers:
        by_check.setdefault(entry.whole, []).append(entry)
    galleries = _galleries(judged.pictures, list(by_check))
    parts: list[Markup] = []
    for check in dict.fromkeys([*by_check, *galleries]):
        if check in galleries and about(check).is_learning == is_learning:
            parts += _gallery(about(check), by_check.get(check, []), galleries[check])
    return parts


def _galleries(pictures: Iterable[Picture], checks: Sequence[str]) -> dict[str, list[Picture]]:
    """Pictures by the check that they belong to."""
    galleries: dict[str, list[Picture]] = {}
    for picture in pictures:
        galleries.setdefault(_owner(picture.name, checks), []).append(picture)
    return galleries


def _owner(name: str, checks: Sequence[str]) -> str:
    """The check that a picture belongs to: `sbc_ecdf` to `sbc`."""
    return max((check for check in checks if _belongs(name, check)), key=len, default=name)


def _belongs(name: str, check: str) -> bool:
    following = name.removeprefix(check)[:1]
    return name.startswith(check) and not following.isalnum()


def _gallery(check: Check, numbers: Sequence[Number], pictures: Sequence[Picture]) -> list[Markup]:
    """What a check found, how to read its picture, and the picture; further ones are folded."""
    first, *others = pictures
    said = sentence(numbers)
    alternative = f"{check.title}. {said or check.reading}"
    return [
        tag("h3", check.title),
        *_finding(numbers),
        *_reading(check),
        figure(first, alternative=alternative),
        *_further(others, alternative),
    ]


def _finding(numbers: Sequence[Number]) -> list[Markup]:
    first, said = worst(numbers), sentence(numbers)
    if first is None or not said:
        return []
    return [notice(first.verdict, prose(said))]


def _reading(check: Check) -> list[Markup]:
    if not check.reading:
        return []
    return [note(check.reading)]


def _further(pictures: Sequence[Picture], alternative: str) -> list[Markup]:
    """Other pictures of a check, but for those that would make the page heavy."""
    shown, large = [], []
    for picture in pictures:
        if len(picture.data) < LARGE:
            shown.append(figure(picture, alternative=alternative))
        else:
            large.append(picture.file_name)
    parts = []
    if shown:
        parts.append(folded("More pictures", *shown))
    if large:
        parts.append(note(f"Too large for this page, in diagnose/ of the run: {', '.join(large)}."))
    return parts
