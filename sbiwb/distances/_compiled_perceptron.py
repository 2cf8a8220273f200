"""The training loop of C2ST's perceptron in C, compiled at first use."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sbiwb.kernels.compiled import load


def available() -> bool:
    """Whether this machine has, or can compile, the loop."""
    return _library() is not None


def train(
    x: np.ndarray,
    y: np.ndarray,
    layers: Sequence[np.ndarray],
    random: np.random.RandomState,
    max_epochs: int,
) -> tuple[list[np.ndarray], float, int]:
    """The trained layers, the loss of the last epoch, and the epochs.

    Args:
        x: Rows, (n, D), float32 and contiguous.
        y: Labels, (n,), 0 or 1, float32 and contiguous.
        layers: At the start, (out, in + 1) each.
        random: Whose next numbers shuffle the batches; it stays as it is.
        max_epochs: After which training ends in any case.
    """
    library = _library()
    if library is None:
        raise RuntimeError("C2ST: there is no C compiler on this machine; ask `available` first")
    weights = np.concatenate([layer.ravel() for layer in layers])
    loss = ctypes.c_double()
    bits = _same_numbers(random)
    numbers = ctypes.cast(bits.ctypes.next_uint32, ctypes.c_void_p), bits.ctypes.state_address
    arrays = x.ctypes.data, y.ctypes.data, weights.ctypes.data
    sizes = *x.shape, len(layers[0]), max_epochs
    epochs = library.train(*arrays, ctypes.byref(loss), *numbers, *sizes)
    if epochs < 0:
        raise MemoryError(f"C2ST: no memory to train a network on {x.shape} numbers")
    return _as_layers(weights, layers), loss.value, int(epochs)


def _same_numbers(random: np.random.RandomState) -> np.random.MT19937:
    """A generator of the same numbers, which leaves the other as it is."""
    bits = np.random.MT19937()
    state = random.get_state(legacy=False)
    bits.state = state  # type: ignore[assignment]  # declared narrower than what it takes
    return bits


def _as_layers(weights: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All weights, end to end, in the shapes of these layers."""
    layers, start = [], 0
    for layer in like:
        layers.append(weights[start : start + layer.size].reshape(layer.shape))
        start += layer.size
    return layers


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    library = load("perceptron.c").functions
    if library is None:
        return None
    library.train.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int64] * 4
    library.train.restype = ctypes.c_int64
    return library
