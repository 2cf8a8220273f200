"""Failed simulations: what a call raises, what is kept of it, and when there are too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from sbiwb.errors import FailureRateError
from sbiwb.intervals import binomial_upper_quantile
from sbiwb.simulation.source import blame

MEMORY = "memory"
TIMEOUT = "timeout"
MIN_SIMULATIONS = 200  # before a failure rate is judged


class RowFailed(Exception):
    """One simulation failed, and it is known why.

    Args:
        kind: The reason in a word or two: timeout, memory, killed by SIGSEGV, exit code 3, ...
        message: The reason in a sentence, the same for the same parameters and seed.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind, self.message = kind, message

    def __str__(self) -> str:
        return self.message


class SimulatorTimeout(RowFailed):
    """A call took longer than `failures.timeout_s`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(TIMEOUT, f"took longer than {seconds:g} s")
        self.args = (seconds,)  # with which it is made again beyond a process border


def reason_of(error: BaseException, path: Path) -> tuple[str, str]:
    """Kind and message of what a simulator raised.

    Args:
        error: What was raised; of any exception but ours the message begins with its class.
        path: The simulator file; told without its folder, so that a ledger has the same bytes
            wherever the simulator lies.
    """
    if isinstance(error, RowFailed):
        return error.kind, error.message
    message = f"{type(error).__name__}: {error} ({Path(blame(error, path)).name})"
    if isinstance(error, MemoryError):
        return MEMORY, message
    return "exception", message


@dataclass(frozen=True)
class Failure:
    """One simulation that failed.

    Args:
        block: With `attempt` (and `row`, where rows were simulated one by one) the place of its
            seed in the stream.
        attempt: How many pairs had been tried for this row before.
        row: Its place in the block.
        kind: exception, timeout, memory, not finite, shape, killed by SIGSEGV, exit code 3, ...
        message: Why, in a sentence; of an exception it begins with its class.
        theta: Its parameters.
        context: Its design variables.
        seconds: What it took, a share of its batch where it failed within one.
    """

    block: int
    attempt: int
    row: int
    kind: str
    message: str
    theta: Mapping[str, np.ndarray]
    context: Mapping[str, np.ndarray]
    seconds: float

    @property
    def reason(self) -> str:
        """What failures are counted by: the kind, of an exception its class."""
        if self.kind == "exception":
            return self.message.partition(":")[0]
        return self.kind

    def example(self) -> str:
        """The message with the parameters it failed at."""
        places = []
        for name, value in {**self.theta, **self.context}.items():
            places.append(f"{name}={np.array2string(np.asarray(value), precision=4)}")
        return f"{self.message} (at {', '.join(places)})"


@dataclass
class FailureCounter:
    """Simulations and failures so far; knows when there are too many.

    Args:
        max_rate: Largest tolerated share of failures.
        simulated: Simulations, failed ones included.
        failed: Failures among them.
        examples: What some of the failed ones said.
    """

    max_rate: float
    simulated: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, simulated: int, failed: int, example: str = "") -> None:
        """Counts, and stops when the failures exceed what `max_rate` explains (one-sided, 99 %).

        Raises:
            FailureRateError: With the rate and an example.
        """
        self.simulated += simulated
        self.failed += failed
        if example:
            self.examples.append(example)
        if self.simulated < MIN_SIMULATIONS:
            return
        if self.is_too_high:
            self.refuse(f"more than simulate.failures.max_rate = {self.max_rate:g}")
        if self.failed == self.simulated:
            self.refuse("not one came out")

    @property
    def is_too_high(self) -> bool:
        """Whether there are more failures than `max_rate` explains."""
        return self.failed > binomial_upper_quantile(self.simulated, self.max_rate)

    def add_all(self, simulated: int, failures: Sequence[Failure]) -> None:
        """The same, with the first of these failures as the example."""
        example = ""
        if failures:
            example = failures[0].example()
        self.add(simulated, len(failures), example)

    def refuse(self, why: str) -> NoReturn:
        """Stops.

        Raises:
            FailureRateError: With the rate and an example.
        """
        raise FailureRateError(
            f"{self}, {why}; for example: {self._example()}",
            where="simulate",
            todo="Mend the simulator, narrow the prior, or raise max_rate if these failures are "
            "part of the model.",
        )

    def __str__(self) -> str:
        share = self.failed / self.simulated
        return f"{self.failed} of {self.simulated} simulations failed ({share:.1%})"

    def _example(self) -> str:
        if not self.examples:
            return "see the shards"
        return self.examples[-1]
