"""Where a profiled step's time goes: events of torch.profiler sorted into matrix products, our
kernels, other ATen, and the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MATRIX = (
    "aten::mm",
    "aten::addmm",
    "aten::addmm_",
    "aten::bmm",
    "aten::baddbmm",
    "aten::linear",
    "mkldnn::",
    "mkl::",
)
OURS = (
    "sbiwb",
    "triton",
    "inductor",
    "cpp_fused",
    "graph_0_cpp",
)  # names under which compiled and own kernels run
LARGEST = 12


def kind_of(name: str) -> str:
    """Which of `matrix`, `own`, `aten`, `rest` an event belongs to."""
    if name.startswith(MATRIX):
        return "matrix"
    if any(part in name for part in OURS):
        return "own"
    return "aten" if name.startswith("aten::") else "rest"


def shares(
    events: Iterable[tuple[str, float, int]], *, step_us: float, plain_us: float
) -> dict[str, Any]:
    """Shares of a profiled step's wall time; what no event accounts for (Python, dispatch, the
    profiler itself) counts as rest.

    Args:
        events: Name, self time a step in µs, and calls.
        step_us: Time of a step under the profiler.
        plain_us: Time of a step without it.

    Returns:
        `matrix`, `own`, `aten`, `rest`, which sum to one; `uncompiled`: what is neither of the
        first two, as a share of the plain step; `largest`: events with their shares.
    """
    events = list(events)
    found = {
        kind: sum(us for name, us, _ in events if kind_of(name) == kind) / step_us
        for kind in ("matrix", "own", "aten")
    }
    largest = sorted(events, key=lambda event: -event[1])[:LARGEST]
    return {
        **found,
        "rest": max(0.0, 1 - sum(found.values())),
        "uncompiled": max(0.0, 1 - (found["matrix"] + found["own"]) * step_us / plain_us),
        "step_us": step_us,
        "plain_us": plain_us,
        "largest": [(name, us / step_us, calls) for name, us, calls in largest],
    }
