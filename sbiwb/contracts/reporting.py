"""Where progress and numbers go while work is done."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Ticker(Protocol):
    """One running progress line."""

    def advance(self, n: int = 1, **facts: object) -> None: ...


class Reporter(Protocol):
    """Where workflow functions report progress; the command line shows it, tests stay silent."""

    def task(
        self, name: str, total: int, *, unit: str, done: int = 0
    ) -> AbstractContextManager[Ticker]: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


class Silent:
    """The reporter of the processes that only compute."""

    def say(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def task(
        self, name: str, total: int, *, unit: str, done: int = 0
    ) -> AbstractContextManager[Silent]:
        return nullcontext(self)

    def advance(self, n: int = 1, **facts: object) -> None: ...


class Tracker(Protocol):
    """A page elsewhere on which a training is watched; whatever it raises ends the tracking, never
    the training.
    """

    def start(self, config: Mapping[str, object], *, step: int) -> str:
        """Begins, or goes on after `step`: what was logged after it comes again. Returns where to
        look, for people.
        """
        ...

    def log(self, step: int, facts: Mapping[str, float]) -> None:
        """Numbers at a step."""
        ...

    def close(self, *, finished: bool) -> None:
        """Ends; `finished` is False where training was stopped or failed and may go on later."""
        ...
