"""Parameters and the quantities that the simulator file derives from them."""

from __future__ import annotations

import numpy as np

from sbiwb.errors import SimulatorError
from sbiwb.project.project import Project
from sbiwb.seeds import generator


def quantities(project: Project, theta: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters and derived quantities by name, (N, S) or (N, S, K), of theta (N, S, D).

    Raises:
        SimulatorError: `derived` of the simulator file fails, or returns something of another shape.
    """
    found = project.prior.unstack(theta)
    derived = project.source.optional("derived")
    if derived is None:
        return found
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in found.items()}
    try:
        extra = {
            name: np.asarray(values, float).reshape(theta.shape[:2])
            for name, values in derived(**flat).items()
        }
    except Exception as error:
        raise SimulatorError(
            f"derived() failed: {type(error).__name__}: {error}",
            where=project.source.path,
            todo=f"It is called with every parameter, arrays (N,): write derived({', '.join(found)}) and return {{name: array (N,)}}.",
        ) from error
    return {**found, **extra}


def check_derived(project: Project) -> None:
    """Calls `derived` on a few draws from the prior, so that it does not fail after hours of training."""
    theta = project.prior.stack(
        project.prior.sample(generator(project.config.simulate.seed, "preflight", 2), 3)
    )
    quantities(project, theta[None])
