"""Options of simulating: what a failed simulation may cost, and how a program is called."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sbiwb.families import Options

MAX_TIMEOUT_S = 1e7  # 115 days; a timer of the kernel cannot wait much longer


class Failures(Options):
    """What happens when simulations fail."""

    max_rate: float = Field(
        0.05, ge=0, le=1, description="Largest share of failed simulations before the run stops."
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="GB that one simulator call may take beyond what its process holds (Linux); "
        "null as many as there are.",
    )
    timeout_s: float | None = Field(
        None,
        gt=0,
        le=MAX_TIMEOUT_S,
        description="Seconds per simulator call (for a batched function: per block); null never.",
    )


class ProgramCommand(Options):
    """An external program as the simulator."""

    command: list[str] = Field(
        min_length=1,
        description="Program and its arguments, without a shell. {theta} and {out} are files, "
        "{seed} an integer, {scratch} the call's folder, {NAME} one parameter; without {theta} "
        "standard input has the parameters, without {out} standard output the result.",
    )
    input: Literal["csv", "json", "npz", "hdf5"] = Field(
        "json", description="Format of parameters, context and constants."
    )
    output: Literal["csv", "json", "npz", "hdf5"] = Field(
        "json", description="Format of the observables; NA, NaN or nothing is a missing value."
    )
    keep: bool = Field(
        False,
        description="Whether the scratch folder of a call that failed stays; its path is in the "
        "ledger.",
    )
