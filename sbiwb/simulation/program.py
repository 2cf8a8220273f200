"""An external program as a simulator: parameters to a file or standard input, observables from a
file or standard output, no shell.

Every call has a scratch folder of its own, in which it runs and which is removed afterwards.
"""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.errors import SimulatorError
from sbiwb.processes import describe_exit
from sbiwb.simulation.command import ProgramCommand
from sbiwb.simulation.csv_numbers import BadOutput, NoHeader
from sbiwb.simulation.executable import COMMAND_KEY, Executable, find_executable
from sbiwb.simulation.failures import RowFailed
from sbiwb.simulation.formats import Decoded, decode, encode
from sbiwb.simulation.running import EndedProgram, run_program

STDERR_LETTERS = 120  # in the ledger
_PLACE = re.compile(r"\{(\w+)\}")
_OWN = ("theta", "out", "seed", "scratch")


@dataclass(frozen=True)
class Program:
    """An external program; it answers to the same names as a simulator file.

    Args:
        executable: The program and its arguments with their places.
        options: What the YAML says.
        batched: Whether a call is for many rows or for one.
        timeout_s: Seconds per call. The program is waited for so long; an alarm would interrupt
            the machinery that starts it.
    """

    executable: Executable
    options: ProgramCommand
    batched: bool
    timeout_s: float | None

    is_halved = True
    seed_advice = "Seed its generator with the {seed} of its command."

    @property
    def path(self) -> Path:
        """The program."""
        return self.executable.path

    @property
    def code_hash(self) -> str:
        """Of the command, the program, and the files that it names, as they were when loaded."""
        return self.executable.code_hash

    def simulate(self, *, rng: np.random.Generator, **values: object) -> Decoded:
        """Calls the program once.

        Args:
            rng: Gives {seed}, 63 bits.
            values: Parameters, context and constants.

        Raises:
            RowFailed: It ended with an error, took too long, or its output cannot be read.
            SimulatorError: Its output is a table without names.
        """
        seed = int(rng.integers(2**63, dtype=np.uint64))
        scratch = Path(tempfile.mkdtemp(prefix="sbiwb-call-"))
        keep = False
        try:
            return self._call(values, seed, scratch)
        except RowFailed as failed:
            keep = self.options.keep
            if keep:
                raise RowFailed(failed.kind, f"{failed.message}; kept in {scratch}") from failed
            raise
        finally:
            if not keep:
                shutil.rmtree(scratch, ignore_errors=True)

    def optional(self, name: str) -> Callable[..., object] | None:
        """None: a program has no further functions."""
        return None

    def line(self) -> str:
        """The program; it has no lines."""
        return str(self.path)

    def injected(
        self, parameters: list[str], context: list[str], constants: list[str]
    ) -> list[str]:
        """`rng`, after comparing the places in the command with the YAML's names.

        Raises:
            SimulatorError: A place that nothing fills.
        """
        names = [*_OWN, *parameters, *context, *constants]
        for word in self.executable.arguments:
            for name in _PLACE.findall(word):
                if name not in names:
                    raise _unknown_place(name, names)
        return ["rng"]

    def _call(self, values: Mapping[str, object], seed: int, scratch: Path) -> Decoded:
        theta = scratch / f"theta.{self.options.input}"
        out = scratch / f"out.{self.options.output}"
        own = {"theta": theta, "out": out, "seed": seed, "scratch": scratch}
        words = [str(self.path), *self._arguments({**values, **own})]
        stdin = self._encoded(values)
        if self._has_place("theta"):
            theta.write_bytes(stdin)
            stdin = b""
        ended = run_program(words, stdin, scratch, self.timeout_s)
        last_words = _last_words(ended.stderr, scratch)
        if ended.code:
            raise self._failed(describe_exit(ended.code), describe_exit(ended.code) + last_words)
        try:
            return decode(self.options.output, self._output(ended, out))
        except NoHeader as error:
            raise self._no_header(error) from error
        except BadOutput as error:
            raise self._failed("bad output", f"its output {error}{last_words}") from error

    def _arguments(self, values: Mapping[str, object]) -> list[str]:
        return [_filled(word, values) for word in self.executable.arguments]

    def _failed(self, kind: str, what: str) -> RowFailed:
        return RowFailed(kind, f"{self.path.name}: {what}")

    def _output(self, ended: EndedProgram, out: Path) -> bytes:
        if not self._has_place("out"):
            return ended.stdout
        try:
            return out.read_bytes()
        except FileNotFoundError:
            raise BadOutput("is missing: it ended well and wrote no file {out}") from None

    def _no_header(self, error: NoHeader) -> SimulatorError:
        return SimulatorError(
            f"its output {error}",
            where=self.path,
            todo="Let it write a first line of names such as 'x', one for each column; or "
            "output: json, where an array without a name is x.",
        )

    def _encoded(self, values: Mapping[str, object]) -> bytes:
        try:
            return encode(self.options.input, values, batched=self.batched)
        except ValueError as error:
            raise _not_encoded(error) from error

    def _has_place(self, name: str) -> bool:
        return any(f"{{{name}}}" in word for word in self.executable.arguments)


def load_program(
    options: ProgramCommand, folder: Path, *, batched: bool, timeout_s: float | None = None
) -> Program:
    """Finds a program and the files its command names.

    Args:
        options: What the YAML says.
        folder: The folder that paths are relative to; a name without a slash is looked for on PATH.
        batched: Whether a call is for many rows or for one.
        timeout_s: Seconds per call.

    Raises:
        SimulatorError: No such program, or it may not be executed.
    """
    return Program(find_executable(options, folder), options, batched, timeout_s)


def _unknown_place(name: str, names: list[str]) -> SimulatorError:
    todo = f"These can be filled in: {', '.join(names)}."
    for near in difflib.get_close_matches(name, names, 1):
        todo = f"Did you mean {{{near}}}?"
    return SimulatorError(f"nothing is called {{{name}}}", where=COMMAND_KEY, todo=todo)


def _filled(word: str, values: Mapping[str, object]) -> str:
    """A word of the command with values in its places."""

    def text(place: re.Match[str]) -> str:
        value = values[place[1]]
        if isinstance(value, np.ndarray | list | tuple):
            raise _no_number(place[1])
        return str(value)

    return _PLACE.sub(text, word)


def _not_encoded(error: ValueError) -> SimulatorError:
    return SimulatorError(
        str(error), where="problem.simulator.input", todo="Choose json, npz or hdf5."
    )


def _no_number(name: str) -> SimulatorError:
    return SimulatorError(
        f"{{{name}}} is an array, not one number",
        where=COMMAND_KEY,
        todo="Pass {theta}, the file with all of them.",
    )


def _last_words(stderr: bytes, scratch: Path) -> str:
    """The end of standard error; the scratch folder's name differs every time and is not told."""
    text = " ".join(stderr.decode(errors="replace").replace(str(scratch), "{scratch}").split())
    if not text:
        return ""
    return f": {text[-STDERR_LETTERS:]}"
