"""Random streams, each of a root seed, a name and a position: order and workers change nothing."""

from __future__ import annotations

import hashlib

import numpy as np

# Append only: a number once given to a name stays its number, or old runs draw other values.
STREAMS = {
    "train": 0,
    "validation": 1,
    "test": 2,
    "init": 3,
    "epoch": 4,
    "draws": 5,
    "ranks": 6,
    "sample": 7,
    "predictive": 8,
    "preflight": 9,
    "bands": 10,
    "online": 11,
    "batch": 12,
    "prior": 13,
    "replicas": 14,
    "local": 15,
    "member": 16,
    "noise": 17,
    "components": 18,
    "bootstrap": 19,
    "reference": 20,
    "refine": 21,
    "neighbours": 22,
    "members": 23,
    "consistency": 24,
    "baseline": 25,
    "trust": 26,
}


def generator(seed: int, stream: str, *position: int) -> np.random.Generator:
    """The generator of one named stream at one position.

    Args:
        seed: Root seed from the YAML.
        stream: A name in `STREAMS`.
        position: Where in the stream: block and attempt, epoch, observation, ...

    Example:
        >>> generator(0, "train", 3, 0).random() == generator(0, "train", 3, 0).random()
        True
    """
    key = (STREAMS[stream], *position)
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=key)))


def place(name: str) -> int:
    """A position for a name, the same in every process, so that no two names share their noise."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def torch_seed(rng: np.random.Generator) -> int:
    """32 bits for a `torch.Generator`: its CPU generator ignores all bits beyond them."""
    return int(rng.integers(2**32, dtype=np.uint64))
