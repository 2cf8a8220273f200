"""The simulator as one call: columns in, checked variables out, whatever style the user's function has."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sbiwb.errors import SimulatorError
from sbiwb.records import Columns, Ragged, Variable, take
from sbiwb.seeds import torch_seed
from sbiwb.simulation.source import SimulatorSource, blame

MEMORY = "memory"
GIGABYTE = 1e9
_STATM = Path("/proc/self/statm")


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
        super().__init__("timeout", f"took longer than {seconds:g} s")
        self.args = (seconds,)  # with which it is made again beyond a process border


class Simulates(Protocol):
    """A simulator, in this process or in one of its own."""

    @property
    def source(self) -> SimulatorSource: ...
    @property
    def batched(self) -> bool: ...
    def __call__(
        self, theta: Columns, context: Columns, rng: np.random.Generator
    ) -> dict[str, Variable]: ...
    def one(
        self, theta: Columns, context: Columns, row: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Simulator:
    """A user's function behind one interface.

    Args:
        source: The loaded file, or an external program.
        batched: Whether the function takes N rows at once.
        injected: Which of `rng` and `generator` it asks for.
        constants: Passed as they are.
        timeout_s: Seconds per call of the user's function; None also where the source keeps its time itself.
        memory_gb: Memory that a call may take beyond what this process holds, in GB.
    """

    source: SimulatorSource
    batched: bool
    injected: tuple[str, ...]
    constants: Mapping[str, Any]
    timeout_s: float | None = None
    memory_gb: float | None = None

    def __call__(
        self, theta: Columns, context: Columns, rng: np.random.Generator
    ) -> dict[str, Variable]:
        """Simulates every row of theta in one call of a batched function.

        Raises:
            SimulatorError: The result is no dict of arrays, or has the wrong number of rows.
            Exception: Whatever the user's function raises.
        """
        n = len(next(iter(theta.values())))
        return {
            name: self._rows(name, value, n)
            for name, value in self._call({**theta, **context}, rng).items()
        }

    def one(
        self, theta: Columns, context: Columns, row: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Simulates one row, as arrays without a leading axis."""
        if self.batched:
            rows = np.array([row])
            result = self(
                {name: take(column, rows) for name, column in theta.items()},
                {name: take(column, rows) for name, column in context.items()},
                rng,
            )
            return {name: value[0] for name, value in result.items()}
        arguments = {name: _scalar(column[row]) for name, column in {**theta, **context}.items()}
        return {
            name: _numeric(name, np.asarray(value), self.source.line())
            for name, value in self._call(arguments, rng).items()
        }

    def _call(self, arguments: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        with _alone(), _alarm(self.timeout_s), _memory_limit(self.memory_gb):
            result = self.source.simulate(**arguments, **self.constants, **self._random(rng))
        if result is None:
            raise SimulatorError(
                "returned nothing",
                where=self.source.line(),
                todo="Is `return` missing? Return {name: array}.",
            )
        if not isinstance(result, dict):
            result = {"x": result}
        if not result:
            raise SimulatorError(
                "returned an empty dict",
                where=self.source.line(),
                todo="Return {name: array} or one array.",
            )
        return result

    def _random(self, rng: np.random.Generator) -> dict[str, Any]:
        found: dict[str, Any] = {"rng": rng} if "rng" in self.injected else {}
        if "generator" in self.injected:
            import torch

            found["generator"] = torch.Generator().manual_seed(torch_seed(rng))
        return found

    def _rows(self, name: str, value: Any, n: int) -> Variable:
        """One observable of a batched call: (N, ...), a list of N arrays, or (padded (N, M, ...), lengths (N,))."""
        if isinstance(value, tuple) and len(value) == 2:
            padded, lengths = (_array(part) for part in value)
            value = [row[: int(length)] for row, length in zip(padded, lengths, strict=True)]
        if (
            isinstance(value, list)
            and len(value) == n
            and not all(np.isscalar(item) for item in value)
        ):
            return _numeric_ragged(
                name, Ragged.of([_array(item) for item in value]), self.source.line()
            )
        array = _numeric(name, _array(value), self.source.line())
        if array.ndim == 0 or len(array) != n:
            raise SimulatorError(
                f"'{name}' has shape {array.shape}; for {n} parameter rows its first axis must be {n}",
                where=self.source.line(),
                todo="Return one row per theta, or write `batched: false` for a function of one theta.",
            )
        return array


def stack(rows: list[dict[str, np.ndarray]]) -> dict[str, Variable]:
    """Single results by name, end to end; ragged where lengths differ."""
    return {name: _stack_one([row[name] for row in rows]) for name in rows[0]}


def _stack_one(rows: list[np.ndarray]) -> Variable:
    same = len({row.shape for row in rows}) == 1
    return np.stack(rows) if same else Ragged.of(rows)


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _scalar(value: Any) -> Any:
    return value.item() if np.ndim(value) == 0 else value


def _numeric(name: str, array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise SimulatorError(
            f"'{name}' has type {array.dtype}, not numbers",
            where=where,
            todo="Return float, integer or boolean arrays.",
        )
    return array


def _numeric_ragged(name: str, ragged: Ragged, where: str) -> Ragged:
    _numeric(name, ragged.values, where)
    return ragged


def cause_of(code: int) -> str:
    """Why a process ended, by its exit code: `killed by SIGSEGV`, `exit code 3`."""
    if code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name if -code in set(signal.Signals) else f'signal {-code}'}"


def reason(error: BaseException, path: Path) -> tuple[str, str]:
    """(kind, message) of what a simulator at `path` raised; of any other exception the message begins with its class.

    The file is told without its folder, so that a ledger has the same bytes wherever the simulator lies.
    """
    if isinstance(error, RowFailed):
        return error.kind, error.message
    kind = MEMORY if isinstance(error, MemoryError) else "exception"
    return kind, f"{type(error).__name__}: {error} ({Path(blame(error, path)).name})"


def hard_timeout_s(timeout_s: float) -> float:
    """Seconds after which a call is given up from outside: compiled code does not heed the alarm, Python code has had its chance."""
    return 1.5 * timeout_s + 1


@contextmanager
def _alone() -> Iterator[None]:
    """A simulator that forks comes back twice: the copy ends here, before it goes on with our work."""
    here = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != here:
            os._exit(0)


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Raises `SimulatorTimeout` inside the user's Python code after `seconds`; needs the main thread.

    Compiled code does not hear it. In a worker process, which can be replaced, a watchdog outside of Python then ends the process.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise SimulatorTimeout(seconds)

    is_worker = multiprocessing.parent_process() is not None
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if is_worker:
        faulthandler.dump_traceback_later(hard_timeout_s(seconds), exit=True, file=2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if is_worker:
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def _memory_limit(gigabytes: float | None) -> Iterator[None]:
    """Address space of this process grows by `gigabytes` at most: what asks for more gets a MemoryError, compiled code a null pointer."""
    if gigabytes is None or not _STATM.exists():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space() + int(gigabytes * GIGABYTE)
    hard = before[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    """Bytes of address space this process has taken."""
    return int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
