"""One run of an external program, in a process group that ends when the call does."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sbiwb.errors import SimulatorError
from sbiwb.processes import die_with_parent, end_group
from sbiwb.simulation.failures import SimulatorTimeout


@dataclass(frozen=True)
class EndedProgram:
    """What a program left: its exit code, standard output and standard error."""

    code: int
    stdout: bytes
    stderr: bytes


def run_program(
    words: Sequence[str], stdin: bytes, folder: Path, timeout_s: float | None
) -> EndedProgram:
    """Runs a program to its end; whatever happens, none of its processes stays.

    Files and no pipes: what it leaves behind may hold a pipe open for ever.

    Args:
        words: The program and its arguments.
        stdin: Its standard input.
        folder: In which it runs.
        timeout_s: Seconds that it may take; None for as long as it likes.

    Raises:
        SimulatorTimeout: It took longer.
        SimulatorError: It cannot be started.
    """
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as printed,
        tempfile.TemporaryFile() as complained,
    ):
        given.write(stdin)
        given.seek(0)
        with _started(words, folder, (given, printed, complained)) as process:
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired as error:
                raise SimulatorTimeout(error.timeout) from error
        return EndedProgram(code, _content(printed), _content(complained))


@contextlib.contextmanager
def _started(
    words: Sequence[str], folder: Path, files: tuple[IO[bytes], IO[bytes], IO[bytes]]
) -> Iterator[subprocess.Popen[bytes]]:
    stdin, stdout, stderr = files
    try:
        process = subprocess.Popen(
            words,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            start_new_session=True,
            preexec_fn=die_with_parent,
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
        end_group(process.pid)
        process.wait()


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
