"""Signals: TERM, USR1 and USR2 mean "save and go, you will be run again"; Ctrl-C means "save and
go"."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sbiwb.environment import whole_number
from sbiwb.errors import Stopped

MARGIN_S = 120.0  # before the end of a SLURM allocation, for the last checkpoint
POLITE = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def _handled(signals: tuple[signal.Signals, ...], handler) -> Iterator[None]:
    """Installs a handler while inside; only the main thread may, others pass through."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def stopped_by(number: int) -> Stopped:
    return Stopped(
        f"stopped by {signal.Signals(number).name}", todo="Run the same command again to continue."
    )


@contextmanager
def raise_on_signal() -> Iterator[None]:
    """A polite signal raises `Stopped` at once: for steps whose files are whole or absent
    anyway."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise stopped_by(number)

    with _handled(POLITE, handler):
        yield


class Flag:
    """The signal that came, or None; and the time at which this job must be over."""

    signal: int | None = None

    def __init__(self) -> None:
        end = whole_number("SLURM_JOB_END_TIME", 0) or math.inf
        self.deadline = end - MARGIN_S

    @property
    def should_stop(self) -> bool:
        """Whether to save and go."""
        return self.signal is not None or time.time() > self.deadline

    def raise_if_stopping(self) -> None:
        """Raises `Stopped` where it is time to go, whatever the reason: out of a wait, to where the
        state is saved."""
        if self.should_stop:
            raise Stopped("stopped while waiting", todo="Run the same command again to continue.")

    def check(self) -> None:
        """Raises what the signal or the time means.

        Raises:
            Stopped: After TERM, USR1 or USR2, or when the job's time is nearly over.
            KeyboardInterrupt: After Ctrl-C.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise stopped_by(self.signal)
        if self.should_stop:
            raise Stopped(
                "stopped, for the job's time is nearly over",
                todo="Run the same command again to continue.",
            )


@contextmanager
def watch_signals(flag: Flag) -> Iterator[Flag]:
    """A signal sets the flag, which the loop looks at between steps; a second Ctrl-C ends at
    once."""

    def handler(number: int, frame: FrameType | None) -> None:
        if flag.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        flag.signal = number

    with _handled((*POLITE, signal.SIGINT), handler):
        yield flag
