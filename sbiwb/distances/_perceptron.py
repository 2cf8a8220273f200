"""The classifier of C2ST: two hidden layers of 10 D units, trained as scikit-learn trains it.

As its `MLPClassifier` with relu; weights and biases uniform within ±sqrt(6 / (in + out)) (Glorot &
Bengio 2010); Adam with rate 1e-3 on shuffled batches of 200; mean log loss plus 1e-4 / 2 times the
squared weights over the batch's size; until the loss over an epoch has not gone below its least by
1e-4 for more than ten epochs, at most 10,000 epochs. Initial weights and orders come from the same
random numbers as there, in float32, which is what the published table was computed in: a training
differs by rounding alone, which it amplifies from epoch to epoch.

A training is a loop in C (`perceptron.c`), one a core; where there is no compiler, all are batched
torch operations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sbiwb.distances import _compiled_perceptron
from sbiwb.distances._classifier import Labelled, Perceptron, initial

MAX_EPOCHS = 10_000


def train_all(
    sets: Sequence[Labelled], *, seed: int, cores: int | None = None, max_epochs: int = MAX_EPOCHS
) -> Iterator[Perceptron]:
    """A network for each set, in their order, as they are done.

    Args:
        sets: What to train on.
        seed: Of every network's weights and orders.
        cores: To train on; all that this process may use if not given.
        max_epochs: After which training ends in any case.
    """
    if not _compiled_perceptron.available():
        yield from _by_shape(sets, seed, max_epochs)
        return
    pool = ThreadPoolExecutor(cores or _cores(), thread_name_prefix="c2st")
    try:
        yield from pool.map(lambda data: train_one(data, seed, max_epochs), sets)
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def train_one(data: Labelled, seed: int, max_epochs: int) -> Perceptron:
    """One network, in C."""
    random = np.random.RandomState(seed)
    layers = initial(data.x.shape[1], random)
    layers, loss, epochs = _compiled_perceptron.train(data.x, data.y, layers, random, max_epochs)
    return Perceptron(layers, loss, epochs)


def _by_shape(sets: Sequence[Labelled], seed: int, max_epochs: int) -> list[Perceptron]:
    """All networks, those of one shape together, in torch."""
    from sbiwb.distances._batched import train_together

    places_by_shape: dict[tuple[int, ...], list[int]] = {}
    for place, data in enumerate(sets):
        places_by_shape.setdefault(data.x.shape, []).append(place)
    networks: dict[int, Perceptron] = {}
    for places in places_by_shape.values():
        trained = train_together([sets[place] for place in places], seed, max_epochs)
        networks.update(zip(places, trained, strict=True))
    return [networks[place] for place in range(len(sets))]
