"""Options of simulating: what a failed simulation may cost."""

from __future__ import annotations

from pydantic import Field

from sbiwb.families import Options


class Failures(Options):
    """What happens when simulations fail."""

    max_rate: float = Field(0.05, ge=0, le=1, description="Largest share of failed simulations before the run stops.")
    timeout_s: float | None = Field(None, gt=0, description="Seconds per simulator call (for a batched function: per block); null never.")
