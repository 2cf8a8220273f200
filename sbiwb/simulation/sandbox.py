"""A simulator in a process of its own, so that nothing it does can end ours.

One that dies is told by what it died of, and replaced. The process imports what the simulator needs
and no more, holds no lock of ours, leads a session (all it leaves behind ends with it), and what it
prints goes into a file that keeps the end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any

import numpy as np

from sbiwb.errors import SbiwbError, SimulatorError
from sbiwb.processes import ONE_THREAD, describe_exit, die_with_parent, end_group
from sbiwb.records import Columns
from sbiwb.simulation.failures import RowFailed, SimulatorTimeout, reason_of
from sbiwb.simulation.guards import hard_timeout_s
from sbiwb.simulation.simulator import Row, Rows, Simulator, take_columns
from sbiwb.simulation.source import SimulatorSource

POLL_S = 0.05  # between two looks whether a silent process still lives
PRINTED_BYTES = 20_000  # of the end of what it printed
_FRAME = re.compile(r'File "(.+)", line (\d+)')  # of the traceback that `faulthandler` leaves


@dataclass(frozen=True)
class SimulatorCall:
    """A call of a simulator as it is sent.

    Args:
        theta: Parameters by name.
        context: Design variables by name.
        rng: The random stream.
        is_row: Whether these are one row, simulated alone.
    """

    theta: Columns
    context: Columns
    rng: np.random.Generator
    is_row: bool = False

    def made_of(self, simulator: Simulator) -> dict[str, Rows] | Row:
        """The result of the call."""
        if self.is_row:
            return simulator.simulate_row(self.theta, self.context, 0, self.rng)
        return simulator(self.theta, self.context, self.rng)


class SubprocessSimulator:
    """A `Simulator` whose every call happens in another process.

    The process lives on from call to call until it dies of one. The random stream is copied: the
    caller's own does not move.

    Args:
        simulator: What is run there.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._process: SimulatorProcess | None = None

    @property
    def source(self) -> SimulatorSource:
        """The simulator file."""
        return self.simulator.source

    @property
    def batched(self) -> bool:
        """Whether a call is for many rows."""
        return self.simulator.batched

    def __call__(
        self, theta: Columns, context: Columns, rng: np.random.Generator
    ) -> dict[str, Rows]:
        """Simulates every row in one call.

        Raises:
            RowFailed: The process died or took too long, or the user's function raised.
            SimulatorError: As in `Simulator`.
        """
        return self._ask(SimulatorCall(theta, context, rng))

    def simulate_row(
        self, theta: Columns, context: Columns, row: int, rng: np.random.Generator
    ) -> Row:
        """Simulates one row, as arrays without a leading axis.

        Raises:
            RowFailed: As above.
            SimulatorError: As in `Simulator`.
        """
        here = np.array([row])
        call = SimulatorCall(
            take_columns(theta, here), take_columns(context, here), rng, is_row=True
        )
        return self._ask(call)

    def close(self) -> None:
        """Ends the process; a later call starts another."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _ask(self, call: SimulatorCall) -> Any:
        if self._process is None or self._process.ended:
            self.close()
            self._process = SimulatorProcess(self.simulator)
        try:
            result, error = self._process.ask(call, self.simulator.timeout_s)
        except BaseException:
            self.close()  # dead, or in the middle of something that nobody waits for any more
            raise
        if error is not None:
            raise error
        return result


class SimulatorProcess:
    """One process, from its start to its end.

    Args:
        simulator: What is run there.

    Raises:
        SimulatorError: It cannot be loaded there.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by `_end`
        # so that it can be emptied while the other side writes
        fcntl.fcntl(self.printed, fcntl.F_SETFL, os.O_APPEND)
        self._line, theirs = Pipe()
        self._process = _start(theirs.fileno(), self.printed)
        theirs.close()
        self._finish = weakref.finalize(self, _end, self._process, self._line, self.printed)
        self._load()

    def _load(self) -> None:
        try:
            _, error = self.ask(self._simulator, None)
        except RowFailed as died:
            error = self._not_loaded(died)
        if error is not None:
            self.end()
            raise error

    def _not_loaded(self, died: RowFailed) -> SimulatorError:
        return SimulatorError(
            f"cannot be loaded in a process of its own: {died}",
            where=self._simulator.source.path,
            todo="Try it with --set machine.executor=serial, which runs it in the command itself.",
        )

    def ask(
        self, question: Simulator | SimulatorCall, timeout_s: float | None
    ) -> tuple[dict[str, Rows] | None, Exception | None]:
        """The answer: a result, or what was raised there.

        Raises:
            RowFailed: It died.
            SimulatorTimeout: It did not answer.
        """
        self._forget_printed()
        try:
            self._line.send(question)
            self._wait(timeout_s)
            return self._line.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error

    @property
    def ended(self) -> bool:
        """Whether it died between two calls, of nothing it did."""
        return self._process.poll() is not None

    def end(self) -> None:
        """Kills it and all it started."""
        self._finish()

    def _wait(self, timeout_s: float | None) -> None:
        """Returns when there is an answer or an end.

        Something it left behind may hold the line open, so its life is looked at.
        """
        latest = float("inf")
        if timeout_s is not None:
            latest = time.monotonic() + hard_timeout_s(timeout_s)
        while not self._line.poll(POLL_S):
            if self._process.poll() is not None and not self._line.poll():
                raise EOFError
            if time.monotonic() > latest:
                raise SimulatorTimeout(timeout_s or 0.0)

    def _death(self) -> RowFailed:
        try:
            code = self._process.wait(hard_timeout_s(1))
        except subprocess.TimeoutExpired:
            return RowFailed("hung up", "closed its connection without an answer")
        cause, hint = describe_exit(code), ""
        if code == -signal.SIGKILL:
            hint = ", as the kernel does where memory runs out"
        where = f"({self._last_place()}){self._last_line()}"
        return RowFailed(cause, f"its process ended: {cause}{hint} {where}")

    def _end_of_printed(self) -> str:
        file = self.printed.fileno()
        start = max(0, os.fstat(file).st_size - PRINTED_BYTES)
        return os.pread(file, PRINTED_BYTES, start).decode(errors="replace")

    def _last_place(self) -> str:
        """`file:line` of the innermost frame in the simulator file, where it could still tell."""
        path = self._simulator.source.path
        for file, line in _FRAME.findall(self._end_of_printed()):
            if file == str(path):
                return f"{path.name}:{line}"
        return Path(self._simulator.source.line()).name

    def _last_line(self) -> str:
        """What the simulator printed last, before the interpreter's own last words."""
        printed = self._end_of_printed().partition("Fatal Python error")[0]
        for line in reversed(printed.split("\n")):
            if line.strip():
                return f"; it printed last: {line.strip()[:80]}"
        return ""

    def _forget_printed(self) -> None:
        """Empties the file of what earlier calls printed."""
        if os.fstat(self.printed.fileno()).st_size:
            self.printed.truncate(0)


def _start(line: int, printed: IO[bytes]) -> subprocess.Popen[bytes]:
    """The other side, which leads a session."""
    code = "from sbiwb.simulation.sandbox import serve; serve()"
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-uc", code, str(line), str(os.getpid())],
        pass_fds=[line],
        stdin=subprocess.DEVNULL,
        stdout=printed,
        stderr=printed,
        start_new_session=True,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
    )


def _end(process: subprocess.Popen[bytes], line: Connection, printed: IO[bytes]) -> None:
    """Kills the process and all it started."""
    end_group(process.pid)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()
    line.close()
    printed.close()


def serve() -> None:
    """The other side: receives a simulator, then calls of it, until the line ends."""
    line, parent = Connection(int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    die_with_parent(parent)
    faulthandler.enable(file=2)  # the last words of a crash go to what it printed
    try:
        simulator = line.recv()
        line.send((None, None))
        while True:
            line.send(_answer(simulator, line.recv()))
    except EOFError:
        return
    except SbiwbError as error:  # while the simulator was loaded
        line.send((None, error))


def _answer(
    simulator: Simulator, call: SimulatorCall
) -> tuple[dict[str, Rows] | Row | None, Exception | None]:
    try:
        return call.made_of(simulator), None
    except SbiwbError as error:
        return None, error
    except (Exception, SystemExit) as error:
        return None, RowFailed(*reason_of(error, simulator.source.path))
