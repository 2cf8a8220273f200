"""The likelihood of fixed data sets as an operation of PyTensor, PyMC's graphs: theta in, the sum
of log l and its gradient out. Imported only where PyTensor is installed.

Shapes: N data sets, D columns of theta, K of them one parameter's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytensor.tensor as pt
import torch
from pytensor.gradient import DisconnectedType, grad_not_implemented
from pytensor.graph.op import Op
from pytensor.tensor import TensorVariable

from sbiwb.errors import DataError
from sbiwb.priors import Prior

if TYPE_CHECKING:
    from sbiwb.project.likelihood_bridges import ObservedLikelihood


class LogLikelihoodOp(Op):
    """theta (N, D) to the sum of log l over data sets and its gradient, () and (N, D).

    Both are outputs, so that a sampler that asks for both runs the network once.

    Args:
        observed: The likelihood of N data sets.
    """

    def __init__(self, observed: ObservedLikelihood) -> None:
        self.observed = observed
        theta = pt.TensorType("float64", (observed.count, observed.likelihood.prior.size))
        self.itypes, self.otypes = [theta], [pt.dscalar, theta]

    def perform(self, node: Any, inputs: Sequence[np.ndarray], output_storage: Any) -> None:
        theta = torch.from_numpy(np.array(inputs[0], order="C")).requires_grad_()
        gradient = torch.zeros_like(theta)
        with torch.enable_grad(), _one_thread():
            log_l = self.observed.log_probs(theta).sum()
            if log_l.isfinite():
                (gradient,) = torch.autograd.grad(log_l, theta)
        output_storage[0][0] = log_l.detach().numpy()
        output_storage[1][0] = gradient.numpy()

    def pullback(
        self,
        inputs: Sequence[TensorVariable],
        outputs: Sequence[TensorVariable],
        cotangents: Sequence[TensorVariable],
    ) -> list[TensorVariable]:
        of_value, of_gradient = cotangents
        if not isinstance(of_gradient.type, DisconnectedType):
            why = "a learned likelihood has no second derivative"
            return [grad_not_implemented(self, 0, inputs[0], why)]
        return [of_value * outputs[1]]

    L_op = pullback  # its name before PyTensor 3

    def infer_shape(self, fgraph: Any, node: Any, shapes: Sequence[Any]) -> list[Any]:
        return [(), shapes[0]]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps torch to one thread: chains are forks, which wait for ever for threads that only their
    parent had."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def row_variables(
    prior: Prior, theta: TensorVariable | Mapping[str, TensorVariable], count: int
) -> TensorVariable:
    """theta (N, D) of one variable, or of parameters by name.

    Raises:
        DataError: One has another shape.
    """
    if not isinstance(theta, Mapping):
        return _rows("theta", theta, (prior.size,), count)
    parts = []
    for name, distribution in prior.distributions.items():
        parts.append(_rows(name, theta[name], distribution.event, count))
    return pt.concatenate(parts, axis=1)


def _rows(where: str, value: object, event: tuple[int, ...], count: int) -> TensorVariable:
    """(N, K) of a value of the shape event or (N, *event).

    Raises:
        DataError: It has another shape, as far as a shape is known before there are values.
    """
    variable = pt.as_tensor_variable(value)
    shape, axes = variable.type.shape, len(event)
    fits = len(shape) == axes or (len(shape) == axes + 1 and shape[0] in (1, count, None))
    if not fits or (event and shape[-1] not in (*event, None)):
        raise DataError(
            f"has the shape {shape}",
            where=where,
            todo=f"Give {event} for all data sets, or {(count, *event)}, one for each.",
        )
    if not event:
        variable = pt.expand_dims(variable, -1)
    size = event[0] if event else 1
    known = pt.specify_shape(variable, (None,) * (variable.ndim - 1) + (size,))
    return known.astype("float64") + pt.zeros((count, size))
