"""Parameters and the quantities that the simulator file derives from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbiwb.errors import SimulatorError
from sbiwb.naming import storable_name, unstorable_because
from sbiwb.priors import Prior
from sbiwb.seeds import generator

Derive = Callable[..., Mapping[str, object]]


@dataclass(frozen=True)
class DerivedQuantities:
    """Everything that is known of theta by name.

    Args:
        prior: Names the parameters.
        derive: `derived(**theta)` of the simulator file; None where it has none.
        path: The simulator file.
    """

    prior: Prior
    derive: Derive | None
    path: Path

    def of(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters and derived quantities by name, (N, S) or (N, S, K), of theta (N, S, D).

        Raises:
            SimulatorError: `derived` fails, or returns something of another shape or under a name
                that cannot be stored or is a parameter's.
        """
        quantities = self.prior.unstack(theta)
        if self.derive is None:
            return quantities
        flat = {}
        for name, values in quantities.items():
            flat[name] = values.reshape(-1, *values.shape[2:])
        try:
            for name, derived in self.derive(**flat).items():
                self._check_name(name, quantities)
                quantities[name] = np.asarray(derived, float).reshape(theta.shape[:2])
        except SimulatorError:
            raise
        except Exception as error:
            raise SimulatorError(
                f"derived() failed: {type(error).__name__}: {error}",
                where=self.path,
                todo="It is called with every parameter, arrays (N,): "
                f"write derived({', '.join(flat)}) and return {{name: array (N,)}}.",
            ) from error
        return quantities

    def _check_name(self, name: object, taken: Collection[str]) -> None:
        reason = unstorable_because(name)
        other = storable_name(name)
        if name in taken:
            reason, other = "is a parameter's name already", f"{name}_1"
        if reason is not None:
            raise SimulatorError(
                f"derived() returns {name!r}, which {reason}",
                where=self.path,
                todo=f"Give the quantity another name, such as {other!r}.",
            )

    def check(self, seed: int) -> None:
        """Calls `derived` on a few draws from the prior, lest it fails after hours of training.

        Raises:
            SimulatorError: It does.
        """
        theta = self.prior.sample(generator(seed, "preflight", 2), 3)
        self.of(self.prior.stack(theta)[None])
