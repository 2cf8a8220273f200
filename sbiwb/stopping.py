"""Signals: TERM, USR1 and USR2 mean "save and go, you will be run again"; Ctrl-C means "save and go"."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sbiwb.errors import Stopped

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
    return Stopped(f"stopped by {signal.Signals(number).name}", todo="Run the same command again to continue.")


@contextmanager
def raised() -> Iterator[None]:
    """A polite signal raises `Stopped` at once: for steps whose files are whole or absent anyway."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise stopped_by(number)

    with _handled(POLITE, handler):
        yield


class Flag:
    """The signal that came, or None."""

    signal: int | None = None

    def check(self) -> None:
        """Raises what the signal means.

        Raises:
            Stopped: After TERM, USR1 or USR2.
            KeyboardInterrupt: After Ctrl-C.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise stopped_by(self.signal)


@contextmanager
def noticed() -> Iterator[Flag]:
    """A signal sets a flag that the loop looks at between steps; a second Ctrl-C ends at once."""
    flag = Flag()

    def handler(number: int, frame: FrameType | None) -> None:
        if flag.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        flag.signal = number

    with _handled((*POLITE, signal.SIGINT), handler):
        yield flag
