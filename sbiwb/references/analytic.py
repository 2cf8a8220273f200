"""The exact posterior, where the simulator file can draw it (`posterior`)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sbiwb.contracts import Reference, ReferencePart, Reporter, Target, TargetNeed
from sbiwb.errors import DataError


class Config(ReferencePart):
    """Options of exact draws: none."""

    needs: ClassVar[TargetNeed] = "exact"

    def run(
        self, target: Target, draws: int, rng: np.random.Generator, reporter: Reporter
    ) -> Reference:
        """`draws` independent draws.

        Raises:
            DataError: The simulator file has no `posterior`.
        """
        if target.exact is None:
            raise DataError(
                "the simulator file has no exact posterior",
                where="reference method 'analytic'",
                todo="Write `posterior(x, n, rng)` into it, or choose another method: sbiwb parts "
                "references",
            )
        return Reference(np.asarray(target.exact(draws, rng), np.float64))
