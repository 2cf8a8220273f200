"""The verb `guide`: short chapters, each a Markdown file of the package."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from sbiwb.errors import SbiwbError

SUFFIX = ".md"
FIRST = (  # in the order of work; a chapter of another name comes behind
    *("simulators", "priors", "data", "networks", "uncertainty", "training", "verdicts", "trust"),
    *("likelihoods", "exact", "yaml", "runs", "clusters", "python"),
    *("benchmark", "calibration", "extend", "develop"),
)


@dataclass(frozen=True)
class Chapter:
    """One chapter.

    Args:
        topic: The name of its file.
        text: Markdown; its first line is a heading, `# Topic: what it is about`.
    """

    topic: str
    text: str

    @property
    def about(self) -> str:
        """Half a line, from the heading."""
        return self.text.partition("\n")[0].partition(": ")[2]


def chapters() -> list[Chapter]:
    """All chapters, in the order in which one would read them."""
    found = []
    for file in files("sbiwb").joinpath("guide").iterdir():
        if file.name.endswith(SUFFIX):
            topic = file.name.removesuffix(SUFFIX)
            found.append(Chapter(topic, file.read_text(encoding="utf-8")))
    return sorted(found, key=_rank)


def _rank(chapter: Chapter) -> tuple[bool, int, str]:
    is_other = chapter.topic not in FIRST
    return is_other, 0 if is_other else FIRST.index(chapter.topic), chapter.topic


def chapter_on(topic: str) -> Chapter:
    """The chapter of this name.

    Raises:
        SbiwbError: There is none; it names those that speak of the word.
    """
    every = chapters()
    for chapter in every:
        if chapter.topic == topic.lower():
            return chapter
    topics = ", ".join(chapter.topic for chapter in every)
    todo = f"{_hint(topic.lower(), every)}One of: {topics}."
    raise SbiwbError(f"no chapter '{topic}'", where="sbiwb guide", todo=todo)


def _hint(word: str, every: Sequence[Chapter]) -> str:
    """The nearest name, or else the chapters that speak of it."""
    near = difflib.get_close_matches(word, [chapter.topic for chapter in every], 1)
    if near:
        return f"Did you mean {near[0]}? "
    told = [chapter.topic for chapter in every if word in chapter.text.lower()]
    return f"The word stands in {', '.join(told)}. " if told else ""
