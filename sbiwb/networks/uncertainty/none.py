"""One network with one set of weights."""

from __future__ import annotations

from collections.abc import Callable

from sbiwb.contracts import UncertaintyPart
from sbiwb.networks.estimator import Estimator


class Config(UncertaintyPart):
    """No options."""

    def build(self, make: Callable[[int], Estimator], pairs: int) -> Estimator:
        """What is trained.

        Args:
            make: The untrained network of a member, by its number; each has weights of its own.
            pairs: Training pairs N.
        """
        return make(0)
