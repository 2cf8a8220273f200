"""The classifier of C2ST: a perceptron with two hidden layers of 10 D units, trained as
scikit-learn's `MLPClassifier` trains it.

relu; weights and biases uniform within ±sqrt(6 / (in + out)) (Glorot & Bengio 2010); Adam with rate
1e-3 on shuffled batches of 200; mean log loss plus 1e-4 / 2 times the squared weights over the
batch's size; until the loss over an epoch has not gone below its least by 1e-4 for more than ten
epochs, at most 10,000 epochs. Initial weights and orders come from the same random numbers as
there, in float32, which is what the published table was computed in: a training differs by rounding
alone, which it amplifies from epoch to epoch.

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

MOST_EPOCHS = 10_000


def train_all(
    sets: Sequence[Labelled], *, seed: int, cores: int | None = None, most_epochs: int = MOST_EPOCHS
) -> Iterator[Perceptron]:
    """A network for each set, in their order, as they are done.

    Args:
        sets: What to train on.
        seed: Of every network's weights and orders.
        cores: To train on; all that this process may use if not given.
        most_epochs: After which training ends in any case.
    """
    if not _compiled_perceptron.available():
        yield from _by_shape(sets, seed, most_epochs)
        return
    pool = ThreadPoolExecutor(cores or _cores(), thread_name_prefix="c2st")
    try:
        yield from pool.map(lambda one: train_one(one, seed, most_epochs), sets)
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train_one(data: Labelled, seed: int, most_epochs: int) -> Perceptron:
    """One network, in C."""
    random = np.random.RandomState(seed)
    layers, loss, epochs = _compiled_perceptron.train(
        data.x, data.y, initial(data.x.shape[1], random), random, most_epochs
    )
    return Perceptron(layers, loss, epochs)


def _by_shape(sets: Sequence[Labelled], seed: int, most_epochs: int) -> list[Perceptron]:
    """All networks, those of one shape together, in torch."""
    from sbiwb.distances._batched import train_together

    shapes = [one.x.shape for one in sets]
    found: dict[int, Perceptron] = {}
    for shape in dict.fromkeys(shapes):
        places = [place for place, other in enumerate(shapes) if other == shape]
        found |= zip(
            places,
            train_together([sets[place] for place in places], seed, most_epochs),
            strict=True,
        )
    return [found[place] for place in range(len(sets))]
