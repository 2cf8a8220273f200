"""The training loop of C2ST's perceptron in C, compiled by the machine's own compiler at first use and kept for the next time."""

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

import numpy as np

SOURCE = Path(__file__).with_name("perceptron.c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=gnu11", "-shared", "-fPIC")


def available() -> bool:
    """Whether this machine has, or can compile, the loop."""
    return _library() is not None


def train(
    x: np.ndarray, y: np.ndarray, layers: Sequence[np.ndarray], random: np.random.RandomState, most_epochs: int
) -> tuple[list[np.ndarray], float, int]:
    """The trained layers, the loss of the last epoch, and the epochs.

    Args:
        x: Rows, (n, D), float32 and contiguous.
        y: Labels, (n,), 0 or 1, float32 and contiguous.
        layers: At the start, (out, in + 1) each.
        random: Whose next numbers shuffle the batches; it stays as it is.
        most_epochs: After which training ends in any case.
    """
    library, loss = _library(), ctypes.c_double()
    if library is None:
        raise RuntimeError("C2ST: there is no C compiler on this machine; ask `available` first")
    flat = np.concatenate([layer.ravel() for layer in layers])
    bits = np.random.MT19937()
    bits.state = random.get_state(legacy=False)  # type: ignore[assignment]  # declared narrower than what it takes
    numbers = ctypes.cast(bits.ctypes.next_uint32, ctypes.c_void_p), bits.ctypes.state_address
    sizes = *x.shape, len(layers[0]), most_epochs
    epochs = library.train(x.ctypes.data, y.ctypes.data, flat.ctypes.data, ctypes.byref(loss), *numbers, *sizes)
    if epochs < 0:
        raise MemoryError(f"C2ST: no memory to train a network on {x.shape} numbers")
    ends = np.cumsum([layer.size for layer in layers])[:-1]
    return [part.reshape(layer.shape) for part, layer in zip(np.split(flat, ends), layers, strict=True)], loss.value, int(epochs)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(str(_built()))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # RuntimeError: no home folder
        return None
    library.train.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int64] * 4
    library.train.restype = ctypes.c_int64
    return library


def _compiler() -> str | None:
    found = os.environ.get("CC") or "cc"
    return shutil.which(found) or (None if "CC" in os.environ else shutil.which("gcc") or shutil.which("clang"))


def _built() -> Path:
    """The library's file: as it was kept, or compiled now.

    Raises:
        OSError: There is no compiler, or no place for its output.
        subprocess.SubprocessError: The compiler failed.
    """
    compiler = _compiler()
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    folder = _cache_folder()
    kept = folder / f"perceptron-{_name(compiler)}.so"
    if not kept.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fresh = Path(scratch) / kept.name
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(fresh), "-lm"]
            subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
            os.replace(fresh, kept)
    return kept


def _name(compiler: str) -> str:
    facts = [SOURCE.read_text(encoding="utf-8"), compiler, str(Path(compiler).resolve()), *FLAGS, platform.machine(), _processor()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def _processor() -> str:
    """What this processor can do: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))))


def _cache_folder() -> Path:
    """A folder of our own that only this user can write: code is loaded from it."""
    chosen = os.environ.get("SBIWB_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sbiwb"
    folder = Path(chosen)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
        if about.st_uid == os.getuid() and not about.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="sbiwb-"))
