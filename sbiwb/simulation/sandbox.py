"""A simulator in a process of its own, so that nothing it does can end ours; one that dies is told by what it died of, and replaced.

The process imports what the simulator needs and no more, holds no lock of ours, leads a session (all it leaves behind ends with it), and
what it prints goes into a file that keeps the end.
"""

from __future__ import annotations

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
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any

import numpy as np

from sbiwb.errors import SbiwbError, SimulatorError
from sbiwb.records import Columns, Variable, take
from sbiwb.simulation.simulator import (
    RowFailed,
    Simulator,
    SimulatorTimeout,
    cause_of,
    hard_timeout_s,
    reason,
)
from sbiwb.simulation.source import SimulatorSource

LOOK_S = 0.05  # between two looks whether a silent process still lives
KEPT_BYTES = 20_000
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
}
_FRAME = re.compile(r'File "(.+)", line (\d+)')  # of the traceback that `faulthandler` leaves


class SubprocessSimulator:
    """A `Simulator` whose every call happens in another process, which lives on from call to call until it dies of one.

    The random stream is copied: the caller's own does not move.

    Args:
        simulator: What is run there.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._cell: SimulatorProcess | None = None

    @property
    def source(self) -> SimulatorSource:
        return self.simulator.source

    @property
    def batched(self) -> bool:
        return self.simulator.batched

    def __call__(
        self, theta: Columns, context: Columns, rng: np.random.Generator
    ) -> dict[str, Variable]:
        """Simulates every row in one call.

        Raises:
            RowFailed: The process died or took too long, or the user's function raised.
            SimulatorError: As in `Simulator`.
        """
        return self._ask("__call__", theta, context, rng)

    def one(
        self, theta: Columns, context: Columns, row: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Simulates one row, as arrays without a leading axis."""
        rows = np.array([row])
        alone = (
            {name: take(column, rows) for name, column in part.items()} for part in (theta, context)
        )
        return self._ask("one", *alone, 0, rng)

    def close(self) -> None:
        """Ends the process; a later call starts another."""
        if self._cell is not None:
            self._cell.end()
            self._cell = None

    def _ask(self, method: str, *arguments: Any) -> Any:
        if self._cell is None or self._cell.ended:
            self.close()
            self._cell = SimulatorProcess(self.simulator)
        try:
            result, error = self._cell.ask((method, arguments), self.simulator.timeout_s)
        except BaseException:
            self.close()  # dead, or in the middle of something that nobody waits for any more
            raise
        if error is not None:
            raise error
        return result


class SimulatorProcess:
    """One process, from its start to its end."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by `_end`
        fcntl.fcntl(
            self._printed, fcntl.F_SETFL, os.O_APPEND
        )  # so that it can be emptied while the other side writes
        self._line, theirs = Pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-uc",
                "from sbiwb.simulation.sandbox import serve; serve()",
                str(theirs.fileno()),
                str(os.getpid()),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._printed,
            stderr=self._printed,
            start_new_session=True,
            env={
                **os.environ,
                **ONE_THREAD,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
        )
        theirs.close()
        self._finish = weakref.finalize(self, _end, self._process, self._line, self._printed)
        self._start()

    def _start(self) -> None:
        try:
            _, error = self.ask(self._simulator, None)
        except RowFailed as died:
            error = SimulatorError(
                f"cannot be loaded in a process of its own: {died}",
                where=self._simulator.source.path,
                todo="Try it with --set machine.executor=serial, which runs it in the command itself.",
            )
        if error is not None:
            self.end()
            raise error

    def ask(self, what: Any, timeout_s: float | None) -> tuple[Any, Exception | None]:
        """The answer: a result, or what was raised there.

        Raises:
            RowFailed: It died.
            SimulatorTimeout: It did not answer.
        """
        self._forget()
        try:
            self._line.send(what)
            self._wait(timeout_s)
            return self._line.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error

    @property
    def ended(self) -> bool:
        """Whether it died between two calls, of nothing it did."""
        return self._process.poll() is not None

    def end(self) -> None:
        self._finish()

    def _wait(self, timeout_s: float | None) -> None:
        """Returns when there is an answer or an end; something it left behind may hold the line open, so its life is looked at."""
        late = None if timeout_s is None else time.monotonic() + hard_timeout_s(timeout_s)
        while not self._line.poll(LOOK_S):
            if self._process.poll() is not None and not self._line.poll():
                raise EOFError
            if late is not None and time.monotonic() > late:
                raise SimulatorTimeout(timeout_s or 0.0)

    def _death(self) -> RowFailed:
        try:
            code = self._process.wait(hard_timeout_s(1))
        except subprocess.TimeoutExpired:
            return RowFailed("hung up", "closed its connection without an answer")
        cause = cause_of(code)
        hint = ", as the kernel does where memory runs out" if code == -signal.SIGKILL else ""
        return RowFailed(
            cause, f"its process ended: {cause}{hint} ({self._blame()}){self._last_line()}"
        )

    def _told(self) -> str:
        size = os.fstat(self._printed.fileno()).st_size
        return os.pread(self._printed.fileno(), KEPT_BYTES, max(0, size - KEPT_BYTES)).decode(
            errors="replace"
        )

    def _blame(self) -> str:
        """`file:line` of the innermost frame in the simulator file, where the dying process could still tell."""
        path = self._simulator.source.path
        lines = [line for file, line in _FRAME.findall(self._told()) if file == str(path)]
        return f"{path.name}:{lines[0]}" if lines else Path(self._simulator.source.line()).name

    def _last_line(self) -> str:
        """What the simulator printed last, before the interpreter's own last words."""
        printed = self._told().partition("Fatal Python error")[0].split("\n")
        last = next((line.strip() for line in reversed(printed) if line.strip()), "")
        return f"; it printed last: {last[:80]}" if last else ""

    def _forget(self) -> None:
        """What earlier calls printed."""
        if os.fstat(self._printed.fileno()).st_size:
            self._printed.truncate(0)


def _end(process: subprocess.Popen[bytes], line: Connection, printed: IO[bytes]) -> None:
    """Kills the process and all it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    line.close()
    printed.close()


def serve() -> None:
    """The other side: receives a simulator, then calls of it, until the line ends."""
    line, parent = Connection(int(sys.argv[1])), int(sys.argv[2])
    _begin(parent)
    try:
        simulator = line.recv()
        line.send((None, None))
        while True:
            method, arguments = line.recv()
            line.send(_answer(simulator, method, arguments))
    except EOFError:
        return
    except SbiwbError as error:  # while the simulator was loaded
        line.send((None, error))


def _answer(
    simulator: Simulator, method: str, arguments: tuple[Any, ...]
) -> tuple[Any, Exception | None]:
    try:
        return getattr(simulator, method)(*arguments), None
    except SbiwbError as error:
        return None, error
    except (Exception, SystemExit) as error:
        return None, RowFailed(*reason(error, simulator.source.path))


def _begin(parent: int) -> None:
    """Its end is the parent's end; Ctrl-C is the parent's business; the last words of a crash go to what it printed."""
    import ctypes

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    faulthandler.enable(file=2)
