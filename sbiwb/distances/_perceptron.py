"""The classifier of C2ST: a perceptron with two hidden layers of 10 D units, trained as scikit-learn's `MLPClassifier` trains it.

relu; weights and biases uniform within ±sqrt(6 / (in + out)) (Glorot & Bengio 2010); Adam with rate 1e-3 on shuffled batches of 200; mean
log loss plus 1e-4 / 2 times the squared weights over the batch's size; until the loss over an epoch has not gone below its least by 1e-4
for more than ten epochs, at most 10,000 epochs. Initial weights and orders come from the same random numbers as there, in float32,
which is what the published table was computed in: a training differs by rounding alone, which it amplifies from epoch to epoch.

A training is a loop in C (`perceptron.c`), one a core; where there is no compiler, all are batched torch operations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sbiwb.distances import _native

MOST_EPOCHS = 10_000
BATCH = 200
PATIENCE, TOLERANCE = 10, 1e-4
ALPHA = 1e-4


@dataclass(frozen=True)
class Labelled:
    """Rows x (n, D), float32, with labels y (n,), 0 or 1 as float32."""

    x: np.ndarray
    y: np.ndarray

    def where(self, mask: np.ndarray) -> Labelled:
        """The rows of a mask (n,)."""
        return Labelled(np.ascontiguousarray(self.x[mask]), np.ascontiguousarray(self.y[mask]))


@dataclass(frozen=True)
class Perceptron:
    """A trained network: its layers, (out, in + 1) with the bias last, the loss of the last epoch, and how many epochs there were."""

    layers: Sequence[np.ndarray]
    loss: float
    epochs: int

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Log-odds (n,) of label 1 at x (n, D)."""
        for layer in self.layers[:-1]:
            x = np.maximum(x @ layer[:, :-1].T + layer[:, -1], 0)
        return (x @ self.layers[-1][:, :-1].T + self.layers[-1][:, -1])[:, 0]

    def accuracy(self, test: Labelled) -> float:
        """Share of rows whose label it guesses."""
        return float(((self.logits(test.x) > 0) == test.y).mean())


def initial(inputs: int, random: np.random.RandomState) -> list[np.ndarray]:
    """The layers before training: weights, then biases, of each in turn."""
    sizes = [inputs, 10 * inputs, 10 * inputs, 1]
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        bound = np.sqrt(6 / (fan_in + fan_out))
        weight, bias = random.uniform(-bound, bound, (fan_in, fan_out)), random.uniform(-bound, bound, fan_out)
        layers.append(np.ascontiguousarray(np.vstack([weight, bias]).T, dtype=np.float32))
    return layers


def train_all(sets: Sequence[Labelled], *, seed: int, cores: int | None = None, most_epochs: int = MOST_EPOCHS) -> Iterator[Perceptron]:
    """A network for each set, in their order, as they are done.

    Args:
        sets: What to train on.
        seed: Of every network's weights and orders.
        cores: To train on; all that this process may use if not given.
        most_epochs: After which training ends in any case.
    """
    if not _native.available():
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
    layers, loss, epochs = _native.train(data.x, data.y, initial(data.x.shape[1], random), random, most_epochs)
    return Perceptron(layers, loss, epochs)


def _by_shape(sets: Sequence[Labelled], seed: int, most_epochs: int) -> list[Perceptron]:
    """All networks, those of one shape together, in torch."""
    from sbiwb.distances._batched import train_together

    shapes = [one.x.shape for one in sets]
    found: dict[int, Perceptron] = {}
    for shape in dict.fromkeys(shapes):
        places = [place for place, other in enumerate(shapes) if other == shape]
        found |= zip(places, train_together([sets[place] for place in places], seed, most_epochs), strict=True)
    return [found[place] for place in range(len(sets))]
