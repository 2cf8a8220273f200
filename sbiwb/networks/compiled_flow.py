"""Flows in C for the CPU: `flow.c`, with `spline.c` in it, compiled at first use.

Where there is no compiler, the flows are torch operations: the same numbers to rounding, several
times slower.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from sbiwb.kernels.compiled import Library, load

LANES = 16  # members of the batch in a vector, as in vector.h
MAX_LAYERS = 33  # of a transform's network, as in flow.c
DEFAULT_ROWS = 25  # of parameters of the default network, which will be wanted most
_SIGNATURES = {  # name: how many pointers, then how many int64
    "forward": (4, 2),
    "backward": (6, 2),
    "inverse": (3, 2),
    "flow_kept": (1, 2),
    "flow_scratch": (1, 0),
    "flow_forward": (9, 6),
    "flow_backward": (9, 2),
    "flow_inverse": (7, 7),
}
_state = {"on": True, "cores": 1}
T = TypeVar("T")


def use(on: bool, *, cores: int = 1) -> None:
    """Sets how this process computes flows.

    Args:
        on: Whether kernels are used where they can be.
        cores: On how many several flows are computed side by side.
    """
    _state["on"], _state["cores"] = on, cores


def side_by_side(work: Callable[[int], T], count: int) -> list[T]:
    """work(0), work(1), ...: on several cores, for C and torch let other threads run."""
    if _state["cores"] == 1:
        return [work(number) for number in range(count)]
    return list(_threads(_state["cores"], os.getpid()).map(work, range(count)))


@lru_cache(maxsize=1)
def _threads(cores: int, process: int) -> ThreadPoolExecutor:
    """The threads of this process; a fork has none of its parent's."""
    return ThreadPoolExecutor(
        cores, thread_name_prefix="flow", initializer=torch.set_num_threads, initargs=(1,)
    )


@dataclass(frozen=True)
class FlowPlan:
    """What `flow.c` must know of a transform besides its weights; both tensors are int64, as
    described there.
    """

    sizes: Tensor
    steps: Tensor


@dataclass(frozen=True)
class Kernels:
    """The compiled functions for one number of bins; tensors are float32 and contiguous, splines
    have at least `LANES` in the batch B.
    """

    library: ctypes.CDLL

    def forward(self, x: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        """y (D, B) and the log-determinant (B,) at x (D, B) with parameters phi (D, R, B)."""
        y, log_det = torch.empty_like(x), x.new_empty(x.shape[1])
        self.library.forward(*_pointers(x, phi, y, log_det), *x.shape)
        return y, log_det

    def backward(self, x: Tensor, phi: Tensor, g_y: Tensor, g_l: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x (D, B) and phi (D, R, B), given those of y (D, B) and the log-determinant
        (B,).
        """
        g_x, g_phi = torch.empty_like(x), torch.empty_like(phi)
        self.library.backward(*_pointers(x, phi, g_y, g_l, g_x, g_phi), *x.shape)
        return g_x, g_phi

    def inverse(self, y: Tensor, phi: Tensor) -> Tensor:
        """x (D, B) of y (D, B)."""
        x = torch.empty_like(y)
        self.library.inverse(*_pointers(y, phi, x), *y.shape)
        return x


@dataclass(frozen=True)
class CompiledFlow:
    """The functions of `flow.c` for T transforms of the same sizes and all their layers, float32
    and contiguous.

    Arguments x, y (D, B) and features (H, B) may have any strides.
    """

    kernels: Kernels
    plans: Sequence[FlowPlan]
    layers: Sequence[Tensor]

    def forward(self, x: Tensor, features: Tensor, *, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
        """y (D, B), the log-determinant (B,) and, to keep for `backward`, all activations."""
        library, count = self.kernels.library, len(self.plans)
        columns, batch = x.shape
        y, log_det = x.new_empty(columns, batch), x.new_empty(batch)
        size = library.flow_kept(self._sizes, count, batch) if keep else 0
        kept = x.new_empty(size)
        scratch = self._scratch(x)  # a name keeps its memory until the call returns
        pointers = _pointers(features, x, y, log_det, kept, scratch)
        strides = (*features.stride(), *x.stride())
        library.flow_forward(*self._network(), *pointers, *strides, count, batch)
        return y, log_det, kept

    def backward(
        self, kept: Tensor, g_y: Tensor, g_l: Tensor, g_features: Tensor | None
    ) -> list[Tensor]:
        """Gradients of the layers, from what was kept.

        Args:
            kept: Activations of `forward`.
            g_y: Gradient of y (D, B), contiguous; it becomes that of x.
            g_l: Gradient of the log-determinant (B,), contiguous.
            g_features: Gradient of the features (H, B), contiguous, which is added to; or None.
        """
        g_layers = [torch.empty_like(layer) for layer in self.layers]
        features = None if g_features is None else g_features.data_ptr()
        scratch = self._scratch(g_y)
        pointers = [*_pointers(kept, g_l, g_y), features, _table(g_layers), scratch.data_ptr()]
        sizes = len(self.plans), g_y.shape[1]
        self.kernels.library.flow_backward(*self._network(), *pointers, *sizes)
        return g_layers

    def inverse(self, y: Tensor, features: Tensor) -> Tensor:
        """x (D, N S) of y (D, N S), S draws for each of N observations with features (H, N)."""
        observations = features.shape[1]
        x = torch.empty_like(y, memory_format=torch.contiguous_format)
        scratch = self._scratch(y)  # a name keeps its memory until the call returns
        pointers = _pointers(features, y, x, scratch)
        strides = (*features.stride(), *y.stride())
        sizes = len(self.plans), observations, y.shape[1] // max(1, observations)
        self.kernels.library.flow_inverse(*self._network(), *pointers, *strides, *sizes)
        return x

    @property
    def _sizes(self) -> int:
        return self.plans[0].sizes.data_ptr()

    def _network(self) -> tuple[int, Table, Table]:
        """Sizes, plans and layers, as all functions take them."""
        steps = [plan.steps for plan in self.plans]
        return self._sizes, _table(steps), _table(self.layers)

    def _scratch(self, like: Tensor) -> Tensor:
        return like.new_empty(self.kernels.library.flow_scratch(self._sizes))


Table = ctypes.Array[ctypes.c_void_p]
"""Addresses of several tensors."""


def _table(tensors: Sequence[Tensor]) -> Table:
    return (ctypes.c_void_p * len(tensors))(*_pointers(*tensors))


def _pointers(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def kernels(x: Tensor, rows: int) -> Kernels | None:
    """The kernels for a spline of x (D, B) with R rows of parameters, or None where torch
    operations must do.
    """
    if x.shape[1] < LANES:
        return None
    return flows(x, rows)


def flows(x: Tensor, rows: int) -> Kernels | None:
    """The kernels for a flow of x, whatever the batch, or None where torch operations must do."""
    usable = _state["on"] and x.device.type == "cpu" and x.dtype == torch.float32
    if not usable or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return None
    return compiled(rows)


@lru_cache
def compiled(rows: int) -> Kernels | None:
    """The kernels for R rows of parameters; None where they cannot be had."""
    functions = _library(rows).functions
    if functions is None:
        return None
    return Kernels(_typed(functions))


def _library(rows: int) -> Library:
    """The library for R rows of parameters: 3 K - 1 of K bins, or 3 K + 1 with an affine map."""
    affine = int(rows % 3 == 1)
    bins = (rows + 1 - 2 * affine) // 3
    return load("flow.c", (f"-DBINS={bins}", f"-DAFFINE={affine}"))


def available() -> bool:
    """Whether this machine has, or can compile, kernels."""
    return compiled(DEFAULT_ROWS) is not None


def unavailable_because() -> str:
    """Why this machine has no kernels, in the compiler's words; empty where it has."""
    return _library(DEFAULT_ROWS).problem


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    for name, (pointers, numbers) in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = [pointer] * pointers + [number] * numbers, None
    library.flow_kept.restype = library.flow_scratch.restype = number
    return library
