"""A simulator file and what is made of it, without a project around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sbiwb.priors import Prior
from sbiwb.priors import family as priors
from sbiwb.simulation.blocks import Problem
from sbiwb.simulation.simulator import Simulator
from sbiwb.simulation.source import check_arguments, load_source


def problem(
    folder: Path,
    code: str,
    *,
    parameters: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    constants: dict[str, Any] | None = None,
    batched: bool = True,
    timeout_s: float | None = None,
    seed: int = 1,
) -> Problem:
    """What blocks are made from, for a simulator file with this code."""
    (folder / "sim.py").write_text(code)
    source = load_source("sim.py", folder)
    parameters, context, constants = parameters or {"mu": "normal"}, context or {}, constants or {}
    injected = check_arguments(source, list(parameters), list(context), list(constants))
    theta = {name: priors.parse(part).build() for name, part in parameters.items()}
    known = {name: priors.parse(part).build() for name, part in context.items()}
    prior = Prior(
        theta, sampler=source.optional("prior") if "joint" in parameters.values() else None
    )
    return Problem(
        prior, known, Simulator(source, batched, tuple(injected), constants, timeout_s), seed
    )
