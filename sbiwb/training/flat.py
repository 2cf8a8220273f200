"""All weights of a module as one vector.

Optimiser, clipping, averaging and all-reduce are then one operation each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatWeights:
    """The trainable weights of a module, laid side by side.

    The module's own parameters become views of `vector`.

    Args:
        module: Its trainable parameters are of one type and on one device.
        extra: Numbers that travel behind the gradients, in `gradient`.
    """

    def __init__(self, module: nn.Module, extra: int = 0) -> None:
        self.names = [
            name for name, parameter in module.named_parameters() if parameter.requires_grad
        ]
        self.parameters = [module.get_parameter(name) for name in self.names]
        self.sizes = [parameter.numel() for parameter in self.parameters]
        self.vector = nn.Parameter(
            torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters])
        )
        self.gradient = self.vector.new_zeros(len(self.vector) + extra)
        self.vector.grad = self.gradient[: len(self.vector)]
        self.extra = self.gradient[len(self.vector) :]
        self._gradients = self._views(self.vector.grad)
        self.share_storage(self.vector.data, module)

    def _views(self, vector: Tensor) -> list[Tensor]:
        pieces = zip(vector.split(self.sizes), self.parameters, strict=True)
        return [piece.view(parameter.shape) for piece, parameter in pieces]

    def share_storage(self, vector: Tensor, module: nn.Module) -> None:
        """Makes the parameters of a module of the same kind views of a vector as long as this."""
        for name, view in zip(self.names, self._views(vector), strict=True):
            module.get_parameter(name).data = view

    def clear_grads(self) -> None:
        """Drops the gradients of the parameters, before a backward pass."""
        for parameter in self.parameters:
            parameter.grad = None

    def collect_grads(self) -> None:
        """Copies the parameters' gradients side by side.

        A parameter that the loss does not touch has gradient zero.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if len(gradients) == len(self.parameters):
            torch._foreach_copy_(self._gradients, gradients)
            return
        for view, parameter in zip(self._gradients, self.parameters, strict=True):
            if parameter.grad is None:
                view.zero_()
            else:
                view.copy_(parameter.grad)
