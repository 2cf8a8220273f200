"""C code compiled by the machine's own compiler at first use, for this very processor, and kept.

A library lies in the cache under a name that says its sources, flags, compiler and processor, with
its own sha256 beside it: loading a library that a full disk or a killed process cut short would end
the whole process by a signal (SIGBUS), so what does not match is built again.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sbiwb.files import sha256
from sbiwb.stopping import POLITE, stopped_by

FOLDER = Path(__file__).parent
FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-std=gnu11",
    "-shared",
    "-fPIC",
)
COMPILING_S = 120
MESSAGE_LINES = 4  # of what a failing compiler wrote


@dataclass(frozen=True)
class Library:
    """Compiled functions, or why there are none.

    Args:
        functions: The loaded library; None where it cannot be had.
        problem: Why not, in words; empty where it can.
    """

    functions: ctypes.CDLL | None
    problem: str = ""


def load(source: str, defines: Sequence[str] = ()) -> Library:
    """The library of a C file of this folder, compiled now unless it is kept from an earlier time.

    Args:
        source: Name of the file; what it includes by `#include "..."` belongs to it.
        defines: Further options of the compiler, such as `-DBINS=8`.

    Raises:
        Stopped: A signal ended the compiler, such as one to all processes of a job.
    """
    return _load(source, tuple(defines), os.environ.get("CC"), os.environ.get("SBIWB_CACHE"))


@lru_cache
def _load(source: str, defines: tuple[str, ...], cc: str | None, cache: str | None) -> Library:
    """Once for each compiler and cache: one that fails is not called again and again."""
    try:
        return Library(ctypes.CDLL(str(_built(FOLDER / source, defines))))
    except RuntimeError as error:  # of Path.home too, where there is no home folder
        return Library(None, str(error))
    except OSError as error:
        return Library(None, f"{error.strerror or error}: {error.filename or cache_folder()}")


def cache_folder() -> Path:
    """A folder of our own that only this user can write: code is loaded from it."""
    folder = _chosen_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
        if about.st_uid == os.getuid() and not about.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return _scratch()


def _chosen_folder() -> Path:
    chosen, caches = os.environ.get("SBIWB_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if chosen:
        return Path(chosen)
    return Path(caches or Path.home() / ".cache") / "sbiwb"


@lru_cache
def _scratch() -> Path:
    """A private folder for this process alone, where no lasting one can be had."""
    return Path(tempfile.mkdtemp(prefix="sbiwb-"))


def _built(source: Path, defines: Sequence[str]) -> Path:
    """The library's file: as it was kept, or compiled now.

    Raises:
        OSError: There is no place for it.
        RuntimeError: There is no compiler, or it failed.
    """
    compiler = compiler_command()
    library = cache_folder() / f"{source.stem}-{_name(compiler, source, defines)}.so"
    if not _is_whole(library):
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            fresh = Path(scratch) / library.name
            _compile([*compiler, *FLAGS, *defines, str(source), "-o", str(fresh), "-lm"])
            _checksum(fresh).write_text(sha256(fresh.read_bytes()), encoding="ascii")
            os.replace(fresh, library)
            os.replace(_checksum(fresh), _checksum(library))
    return library


def compiler_command() -> list[str]:
    """The words that call the compiler: those of CC (`gcc -m64`, `ccache gcc`), or the usual one.

    Raises:
        RuntimeError: There is none.
    """
    if os.environ.get("CC"):
        try:
            program, *options = shlex.split(os.environ["CC"])
        except ValueError as error:
            raise RuntimeError(f"CC={os.environ['CC']} cannot be read ({error})") from error
        candidates = [program]
    else:
        candidates, options = ["cc", "gcc", "clang"], []
    paths = [path for path in map(shutil.which, candidates) if path]
    if not paths:
        raise RuntimeError(f"there is no C compiler ({', '.join(candidates)})")
    return [paths[0], *options]


def _compile(command: Sequence[str]) -> None:
    """Runs the compiler.

    Raises:
        RuntimeError: It failed, with what it wrote, or took too long.
        Stopped: TERM or the like ended it, which came to this process as well.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=COMPILING_S,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command[0]} took longer than {COMPILING_S} s") from error
    number = max(-done.returncode, done.returncode - 128)  # a wrapper's way of saying so
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number in POLITE:
        raise stopped_by(number)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = "\n".join(lines[:MESSAGE_LINES]) or f"exit code {done.returncode}"
        raise RuntimeError(f"{shlex.join(command[:2])} failed: {said}")


def _checksum(library: Path) -> Path:
    """Where the sha256 of a library stands."""
    return library.with_suffix(".sha256")


def _is_whole(library: Path) -> bool:
    """Whether a library is there, with the bytes that the compiler gave it."""
    try:
        kept = _checksum(library).read_text(encoding="ascii", errors="replace")
        return sha256(library.read_bytes()) == kept
    except FileNotFoundError:
        return False


def _name(compiler: Sequence[str], source: Path, defines: Sequence[str]) -> str:
    facts = [
        *(file.read_text(encoding="utf-8") for file in sources(source)),
        *compiler,
        str(Path(compiler[0]).resolve()),
        *FLAGS,
        *defines,
        platform.machine(),
        _processor(),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def sources(source: Path) -> Iterator[Path]:
    """A C file, and those that it includes, and those that these include.

    Example:
        >>> [file.name for file in sources(FOLDER / "flow.c")]
        ['flow.c', 'spline.c', 'vector.h']
    """
    yield source
    text = source.read_text(encoding="utf-8")
    for name in re.findall(r'^#include "(.+)"', text, re.MULTILINE):
        yield from sources(source.with_name(name))


def _processor() -> str:
    """What this processor can do: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    telling = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(telling)))
