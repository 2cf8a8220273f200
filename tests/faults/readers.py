"""Damaged and random files given to the readers of the user's own data: only our errors may come
out."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow
from pyarrow import parquet

from sbiwb.config.model import Observation
from sbiwb.errors import SbiwbError
from sbiwb.project.observe import NamedObservation, observe
from sbiwb.simulation.layout import Observable
from sbiwb.store import foreign

Change = Callable[[bytes, np.random.Generator], bytes]

COLUMNS = {"who": np.array([1, 1, 2]), "y": np.array([0.5, -1.5, 2e3])}
LAYOUT = {"y": Observable("float64", (0,), True, missing=True)}
TEXT = b"who,y,hit\n1,0.5,TRUE\n1,NA,FALSE\n2,2e3,TRUE\n"
ODD = [
    b"\0",
    b"\xff\xfe",
    b'"',
    b"\r",
    b"9" * 5000,
    b"nan",
    b"[" * 2000,
    b";",
    b"\xed\xa0\x80",
    b"-",
]


def whole_files() -> dict[str, bytes]:
    """A whole file of every kind, by the end of its name."""
    npz, npy, hdf, table = (io.BytesIO() for _ in range(4))
    np.savez(npz, **COLUMNS)
    np.save(npy, COLUMNS["y"])
    with h5py.File(hdf, "w") as file:
        for name, values in COLUMNS.items():
            file[name] = values
        file["z/values"], file["z/offsets"] = np.arange(4.0), np.array([0, 1, 2, 4])
    parquet.write_table(pyarrow.table(COLUMNS), table)
    return {
        ".csv": TEXT,
        ".tsv": TEXT.replace(b",", b"\t"),
        ".json": json.dumps({name: values.tolist() for name, values in COLUMNS.items()}).encode(),
        ".npz": npz.getvalue(),
        ".npy": npy.getvalue(),
        ".h5": hdf.getvalue(),
        ".parquet": table.getvalue(),
    }


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(len(data))]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """With some bytes changed."""
    changed = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(len(data), size=rng.integers(1, 9))
    changed[places] = rng.integers(256, size=len(places))
    return changed.tobytes()


def moved(data: bytes, rng: np.random.Generator) -> bytes:
    """With a stretch taken out and put in elsewhere."""
    start, stop, to = np.sort(rng.integers(len(data), size=3))
    return data[:start] + data[stop:to] + data[start:stop] + data[to:]


def disturbed(data: bytes, rng: np.random.Generator) -> bytes:
    """With bytes that mean something put in."""
    at = rng.integers(len(data) + 1)
    return data[:at] + ODD[rng.integers(len(ODD))] + data[at:]


def noise(data: bytes, rng: np.random.Generator) -> bytes:
    return rng.bytes(int(rng.integers(200)))


CHANGES: list[Change] = [truncated, flipped, moved, disturbed, noise]


def campaign(count: int, seed: int) -> list[str]:
    """Reads `count` damaged files as an observation and as simulations to import.

    Returns:
        A line for each error that is not ours: number of the file, kind, damage and error.
    """
    files = whole_files()
    failures = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            end = list(files)[number % len(files)]
            change = CHANGES[number // len(files) % len(CHANGES)]
            path = Path(folder) / f"damaged{end}"
            path.write_bytes(change(files[end], rng))
            for read in (_observe, _import):
                error = _error_of(read, path)
                if error:
                    failures.append(f"{number} {end} {change.__name__} {read.__name__}: {error}")
    return failures


def _observe(path: Path) -> None:
    for group_by in ([], ["who"]):
        options = Observation(file=path.name, group_by=group_by)
        observe(NamedObservation("damaged", options, path.parent), LAYOUT, {})


def _import(path: Path) -> None:
    if path.suffix in foreign.KINDS:
        file = foreign.foreign(path)
        for _ in file.chunks(file.columns):
            pass


def _error_of(read: Callable[[Path], None], path: Path) -> str:
    """The error of reading a file, if it is not one of ours."""
    try:
        read(path)
    except SbiwbError:
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""
