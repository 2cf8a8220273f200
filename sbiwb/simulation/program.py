"""An external program as a simulator: parameters to a file or standard input, observables from a file or standard output, no shell.

Every call has a scratch folder of its own, in which it runs and which is removed afterwards, and a process group of its own, which is
killed when the call ends, however it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from sbiwb.errors import SimulatorError
from sbiwb.simulation.command import ProgramCommand
from sbiwb.simulation.formats import BadOutput, decode, encode
from sbiwb.simulation.simulator import RowFailed, SimulatorTimeout, cause_of

WHERE = "problem.simulator.command"
TOLD = 120  # letters of standard error in the ledger
_PLACE = re.compile(r"\{(\w+)\}")
_OWN = ("theta", "out", "seed", "scratch")


@dataclass(frozen=True)
class Program:
    """An external program; it answers to the same names as a simulator file.

    Args:
        path: The program.
        words: Its arguments with their places, files by their full path.
        input: Format of what it is given.
        output: Format of what it gives.
        keep: Whether the scratch folder of a failed call stays.
        batched: Whether a call is for many rows or for one.
        timeout_s: Seconds per call. The program is waited for so long; an alarm would interrupt the machinery that starts it.
        code_hash: Of the words, the program, and the files they name, as they were when it was loaded.
    """

    path: Path
    words: tuple[str, ...]
    input: str
    output: str
    keep: bool
    batched: bool
    timeout_s: float | None
    code_hash: str

    def simulate(self, *, rng: np.random.Generator, **values: Any) -> dict[str, Any]:
        """Calls the program once.

        Args:
            rng: Gives {seed}, 63 bits.
            values: Parameters, context and constants.

        Raises:
            RowFailed: It ended with an error, took too long, or its output cannot be read.
        """
        seed = int(rng.integers(2**63, dtype=np.uint64))
        scratch = Path(tempfile.mkdtemp(prefix="sbiwb-call-"))
        keep = False
        try:
            return self._call(values, seed, scratch)
        except RowFailed as failed:
            keep = self.keep
            if keep:
                raise RowFailed(failed.kind, f"{failed.message}; kept in {scratch}") from failed
            raise
        finally:
            if not keep:
                shutil.rmtree(scratch, ignore_errors=True)

    def optional(self, name: str) -> Callable[..., Any] | None:
        """None: a program has no further functions."""
        return None

    def line(self) -> str:
        return str(self.path)

    def injected(
        self, parameters: list[str], context: list[str], constants: list[str]
    ) -> list[str]:
        """`rng`, after comparing the places in the command with the YAML's names.

        Raises:
            SimulatorError: A place that nothing fills.
        """
        known = [*_OWN, *parameters, *context, *constants]
        unknown = [
            name for word in self.words for name in _PLACE.findall(word) if name not in known
        ]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, 1)
            raise SimulatorError(
                f"nothing is called {{{unknown[0]}}}",
                where=WHERE,
                todo=f"Did you mean {{{near[0]}}}?"
                if near
                else f"These can be filled in: {', '.join(known)}.",
            )
        return ["rng"]

    def _call(self, values: Mapping[str, Any], seed: int, scratch: Path) -> dict[str, Any]:
        theta, out = scratch / f"theta.{self.input}", scratch / f"out.{self.output}"
        places = {**values, "theta": theta, "out": out, "seed": seed, "scratch": scratch}
        words = [_PLACE.sub(lambda place: _text(places, place), word) for word in self.words]
        given = self._encoded(values)
        if self._names("theta"):
            theta.write_bytes(given)
            given = b""
        code, printed, told = self._run([str(self.path), *words], given, scratch)
        if code:
            cause = cause_of(code)
            raise RowFailed(cause, f"{self.path.name}: {cause}{_last(told, scratch)}")
        try:
            return decode(self.output, _read(out) if self._names("out") else printed)
        except BadOutput as error:
            raise RowFailed(
                "bad output", f"{self.path.name}: its output {error}{_last(told, scratch)}"
            ) from error

    def _run(self, words: Sequence[str], given: bytes, scratch: Path) -> tuple[int, bytes, bytes]:
        """(exit code, standard output, standard error); whatever happens, none of its processes stays.

        Files and no pipes: what it leaves behind may hold a pipe open for ever.
        """
        with (
            tempfile.TemporaryFile() as stdin,
            tempfile.TemporaryFile() as printed,
            tempfile.TemporaryFile() as told,
        ):
            stdin.write(given)
            stdin.seek(0)
            with _started(words, scratch, (stdin, printed, told)) as process:
                try:
                    code = process.wait(self.timeout_s)
                except subprocess.TimeoutExpired as error:
                    raise SimulatorTimeout(error.timeout) from error
            return code, _all(printed), _all(told)

    def _encoded(self, values: Mapping[str, Any]) -> bytes:
        try:
            return encode(self.input, values, batched=self.batched)
        except ValueError as error:
            raise SimulatorError(
                str(error), where="problem.simulator.input", todo="Choose json, npz or hdf5."
            ) from error

    def _names(self, place: str) -> bool:
        return any(f"{{{place}}}" in word for word in self.words)


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
    first, *others = options.command
    path = _program(first, folder)
    files = [_file(word, folder) for word in others]
    words = tuple(str(file) if file else word for word, file in zip(others, files, strict=True))
    identity = hashlib.sha256(f"{options.input} {options.output}".encode())
    for word, file in zip(options.command, (path, *files), strict=True):
        text = f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" if file else word
        identity.update(b"\0" + text.encode())
    return Program(
        path,
        words,
        options.input,
        options.output,
        options.keep,
        batched,
        timeout_s,
        identity.hexdigest(),
    )


def relocated(options: ProgramCommand, base: Path, folder: Path) -> ProgramCommand:
    """The same command with paths relative to `folder` that were relative to `base`; links stay, for they may mean another environment."""

    def moved(word: str) -> str:
        return (
            word
            if os.path.isabs(word)
            else os.path.join(
                os.curdir, os.path.relpath(os.path.abspath(base / word), folder.resolve())
            )
        )

    first, *others = options.command
    words = [
        moved(first) if os.sep in first else first,
        *(moved(word) if _file(word, base) else word for word in others),
    ]
    return options.model_copy(update={"command": words})


def _program(name: str, folder: Path) -> Path:
    if os.sep not in name:
        found = shutil.which(name)
        if found is None:
            raise SimulatorError(
                f"no program '{name}' on PATH",
                where=WHERE,
                todo=f"Install it, or write ./{name} for one beside the config.",
            )
        return Path(found)
    path = (folder / name).absolute()
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [one.name for one in path.parent.glob("*")], 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise SimulatorError(
            "no such program",
            where=path,
            todo=f"Compile or install it first, or mend {WHERE}{hint}",
        )
    if not os.access(path, os.X_OK):
        raise SimulatorError(
            "may not be executed",
            where=path,
            todo=f"Run `chmod +x {path}`, or name its interpreter first: [python, ...].",
        )
    return path


def _file(word: str, folder: Path) -> Path | None:
    """The file that a word of the command names, if it does."""
    path = folder / word
    return path.resolve() if word and "{" not in word and path.is_file() else None


def _text(places: Mapping[str, Any], place: re.Match[str]) -> str:
    value = places[place[1]]
    if np.ndim(value):
        raise SimulatorError(
            f"{{{place[1]}}} is an array, not one number",
            where=WHERE,
            todo="Pass {theta}, the file with all of them.",
        )
    return str(value)


def _read(out: Path) -> bytes:
    try:
        return out.read_bytes()
    except FileNotFoundError:
        raise BadOutput("is missing: it ended well and wrote no file {out}") from None


@contextlib.contextmanager
def _started(
    words: Sequence[str], scratch: Path, files: Sequence[IO[bytes]]
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            words,
            stdin=files[0],
            stdout=files[1],
            stderr=files[2],
            cwd=scratch,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    except OSError as error:
        raise SimulatorError(
            f"cannot be started: {error.strerror}",
            where=words[0],
            todo="Is it compiled for this machine?",
        ) from error
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _all(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


_libc = ctypes.CDLL(None)


def _end_with_parent() -> None:
    if hasattr(_libc, "prctl"):
        _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _last(told: bytes, scratch: Path) -> str:
    """The end of standard error; the scratch folder's name is another every time and not told."""
    text = " ".join(told.decode(errors="replace").replace(str(scratch), "{scratch}").split())
    return f": {text[-TOLD:]}" if text else ""
