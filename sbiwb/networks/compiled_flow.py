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
from typing import Any

import torch
from torch import Tensor

from sbiwb.kernels.compiled import Library, load

LANES = 16  # members of the batch in a vector, as in vector.h
MOST_LAYERS = 33  # of a transform's network, as in flow.c
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


def use(on: bool, *, cores: int = 1) -> None:
    """Whether kernels are used where they can be, in this process; and on how many cores several
    flows are computed side by side.
    """
    _state["on"], _state["cores"] = on, cores


def side_by_side(work: Callable[[int], Any], count: int) -> list[Any]:
    """work(0), work(1), ...: on several cores, for C and torch let other threads run."""
    if _state["cores"] == 1:
        return [work(one) for one in range(count)]
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
        (columns, batch), sizes = x.shape, self.plans[0].sizes.data_ptr()
        y, log_det = x.new_empty(columns, batch), x.new_empty(batch)
        kept, scratch = (
            x.new_empty(
                self.kernels.library.flow_kept(sizes, len(self.plans), batch) if keep else 0
            ),
            self._scratch(x),
        )
        pointers = _pointers(features, x, y, log_det, kept, scratch)
        self.kernels.library.flow_forward(
            *self._network(), *pointers, *features.stride(), *x.stride(), len(self.plans), batch
        )
        return y, log_det, kept

    def backward(
        self, kept: Tensor, g_y: Tensor, g_l: Tensor, g_features: Tensor | None
    ) -> list[Tensor]:
        """Gradients of the layers from those of y (D, B), which becomes that of x, and of the
        log-determinant (B,); all contiguous.

        The gradient of the features (H, B), unless it is None, is added to.
        """
        g_layers, scratch = [torch.empty_like(layer) for layer in self.layers], self._scratch(g_y)
        known = None if g_features is None else g_features.data_ptr()
        pointers = [*_pointers(kept, g_l, g_y), known, _table(g_layers), *_pointers(scratch)]
        self.kernels.library.flow_backward(
            *self._network(), *pointers, len(self.plans), g_y.shape[1]
        )
        return g_layers

    def inverse(self, y: Tensor, features: Tensor) -> Tensor:
        """x (D, N S) of y (D, N S), S draws for each of N observations with features (H, N)."""
        observations = features.shape[1]
        x, scratch = torch.empty_like(y, memory_format=torch.contiguous_format), self._scratch(y)
        count = len(self.plans), observations, y.shape[1] // max(1, observations)
        self.kernels.library.flow_inverse(
            *self._network(),
            *_pointers(features, y, x, scratch),
            *features.stride(),
            *y.stride(),
            *count,
        )
        return x

    def _network(self) -> tuple[Any, ...]:
        return (
            self.plans[0].sizes.data_ptr(),
            _table([plan.steps for plan in self.plans]),
            _table(self.layers),
        )

    def _scratch(self, like: Tensor) -> Tensor:
        return like.new_empty(self.kernels.library.flow_scratch(self.plans[0].sizes.data_ptr()))


def _table(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _pointers(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def kernels(x: Tensor, rows: int) -> Kernels | None:
    """The kernels for a spline of x (D, B) with R rows of parameters, or None where torch
    operations must do.
    """
    return flows(x, rows) if x.shape[1] >= LANES else None


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
    return None if functions is None else Kernels(_typed(functions))


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
