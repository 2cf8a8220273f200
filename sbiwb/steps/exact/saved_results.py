"""Results of a reference method, one file a data set: a kill costs the data set that was at work,
and the same command begins behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sbiwb.contracts import Reference
from sbiwb.errors import CorruptFile
from sbiwb.files import put
from sbiwb.store import hdf5

CURVE = "curve/"


def put_part(path: Path, found: Reference, identity: str) -> None:
    """Writes one result; `identity` is a hash of all that decides it."""
    arrays: Mapping[str, np.ndarray] = {
        "theta": found.theta,
        **{CURVE + name: np.asarray(curve) for name, curve in found.curves.items()},
    }
    told = {
        "identity": identity,
        "chains": found.chains,
        "facts": json.dumps(dict(found.facts)),
        "warnings": json.dumps(found.warnings),
    }
    put(path, hdf5.image(arrays, told))


def read_part(path: Path, identity: str) -> Reference | None:
    """A result that is there, is whole, and is of the same data, method, draws and seed."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        told, arrays = hdf5.attributes(data, path), hdf5.read(data, path)
    except CorruptFile:
        return None
    if told["identity"] != identity:
        return None
    curves = {
        name.removeprefix(CURVE): curve for name, curve in arrays.items() if name.startswith(CURVE)
    }
    return Reference(
        arrays["theta"],
        int(told["chains"]),
        json.loads(told["facts"]),
        curves,
        tuple(json.loads(told["warnings"])),
    )
