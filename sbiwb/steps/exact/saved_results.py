"""Results of a reference method, one file a data set: a kill costs the data set that was at work,
and the same command begins behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sbiwb.contracts import Reference
from sbiwb.errors import CorruptFile
from sbiwb.files import parse_typed, put
from sbiwb.store import hdf5

CURVE = "curve/"


def put_part(path: Path, result: Reference, identity: str) -> None:
    """Writes one result; `identity` is a hash of all that decides it."""
    arrays = {"theta": result.theta}
    for name, curve in result.curves.items():
        arrays[CURVE + name] = np.asarray(curve)
    attributes = {
        "identity": identity,
        "chains": result.chains,
        "facts": json.dumps(dict(result.facts)),
        "warnings": json.dumps(result.warnings),
    }
    put(path, hdf5.image(arrays, attributes))


def read_part(path: Path, identity: str) -> Reference | None:
    """A result that is there, is whole, and is of the same data, method, draws and seed."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        attributes, arrays = hdf5.attributes(data, path), hdf5.read(data, path)
        if attributes.get("identity") != identity:
            return None
        facts = parse_typed(dict[str, float], str(attributes["facts"]), where=path)
        warnings = parse_typed(tuple[str, ...], str(attributes["warnings"]), where=path)
        theta, chains = arrays.pop("theta"), int(str(attributes["chains"]))
    except (CorruptFile, KeyError, TypeError, ValueError):
        return None  # made again
    curves = {name.removeprefix(CURVE): curve for name, curve in arrays.items()}
    return Reference(theta, chains, facts, curves, warnings)
