"""Nodes of autograd of our own, as type checkers see them."""

from __future__ import annotations

from torch import Tensor
from torch.autograd.function import FunctionCtx


class NodeContext(FunctionCtx):
    """What a node keeps from its forward to its backward pass; a node's own adds its fields.

    Attributes:
        saved_tensors: What `save_for_backward` kept.
        needs_input_grad: Of each argument of the forward pass.
    """

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
