"""C code compiled by the machine's own compiler at first use, for this very processor, and kept for the next time."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

SOURCES_FOLDER = Path(__file__).parent
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


def load(sources: Sequence[Path], defines: Sequence[str] = ()) -> ctypes.CDLL | None:
    """The library of the first source, which includes the others; None where there is no compiler, or no place for its output.

    It is kept under a name that says sources, flags, compiler and processor.
    """
    try:
        return ctypes.CDLL(str(_built(sources, defines)))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # RuntimeError: no home folder
        return None


def cache_folder() -> Path:
    """A folder of our own that only this user can write: code is loaded from it."""
    chosen = (
        os.environ.get("SBIWB_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sbiwb"
    )
    folder = Path(chosen)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
        if about.st_uid == os.getuid() and not about.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return _scratch()


@lru_cache
def _scratch() -> Path:
    """A private folder for this process alone, where no lasting one can be had."""
    return Path(tempfile.mkdtemp(prefix="sbiwb-"))


def _compiler() -> str | None:
    found = os.environ.get("CC") or "cc"
    return shutil.which(found) or (
        None if "CC" in os.environ else shutil.which("gcc") or shutil.which("clang")
    )


def _built(sources: Sequence[Path], defines: Sequence[str]) -> Path:
    """The library's file: as it was kept, or compiled now.

    Raises:
        OSError: There is no compiler, or no place for its output.
        subprocess.SubprocessError: The compiler failed.
    """
    compiler = _compiler()
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    folder = cache_folder()
    kept = folder / f"{sources[0].stem}-{_name(compiler, sources, defines)}.so"
    if not kept.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fresh = Path(scratch) / kept.name
            command = [compiler, *FLAGS, *defines, str(sources[0]), "-o", str(fresh), "-lm"]
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=COMPILING_S,
            )
            os.replace(fresh, kept)
    return kept


def _name(compiler: str, sources: Sequence[Path], defines: Sequence[str]) -> str:
    facts = [
        *(source.read_text(encoding="utf-8") for source in sources),
        compiler,
        str(Path(compiler).resolve()),
        *FLAGS,
        *defines,
        platform.machine(),
        _processor(),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def _processor() -> str:
    """What this processor can do: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(
        dict.fromkeys(
            line
            for line in lines
            if line.startswith(("model name", "flags", "Features", "CPU part"))
        )
    )
