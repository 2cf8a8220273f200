"""The summary networks that may suit an input, the likeliest first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

Plain = dict[str, object]

MAX_DIRECT = 16  # numbers that the flow sees as they are
MAX_IDENTITY = 128  # that it may
MIN_FEATURES, MAX_FEATURES = 32, 128
MAX_ATTENTION = 256  # steps whose pairs are all looked at
MAX_RECURRENT = 400  # steps that a recurrent network goes through one by one
MIN_CONVOLVED = 64
MAX_SET_ATTENTION = 400  # members on average
MIN_BLOCKS, MAX_BLOCKS = 4, 6  # of dilated convolutions
STAGES = (16, 32, 64)  # with one of 128 more, 20,000 pictures were overfitted


@dataclass(frozen=True)
class Candidate:
    """One way to read an input.

    Args:
        name: Kind of the summary network.
        as_: What the input is taken for.
        summary: The network, as the YAML has it.
        why: Half a line.
        axes: Of a grid.
    """

    name: str
    as_: str
    summary: Plain
    why: str
    axes: int = 2


def features(parameters: int) -> int:
    """Features of a summary network, for D parameters."""
    return min(MAX_FEATURES, max(MIN_FEATURES, 4 * parameters))


def of_vector(width: int) -> Iterator[Candidate]:
    """For a list of numbers in no order."""
    if width <= MAX_IDENTITY:
        yield Candidate("identity", "vector", {"kind": "identity"}, "the flow sees them directly")
    if width > MAX_DIRECT:
        yield _mlp()


def of_ordered_list(width: int) -> Iterator[Candidate]:
    """For a list of numbers of which neighbours resemble each other."""
    if width <= MAX_DIRECT:
        yield Candidate("identity", "vector", {"kind": "identity"}, "the flow sees them directly")
    yield _mlp()
    yield from of_series(width)


def of_series(steps: int, *, varies: bool = False) -> Iterator[Candidate]:
    """For steps in time."""
    if steps <= MAX_RECURRENT:
        yield Candidate("lstnet", "series", {"kind": "lstnet", "hidden": 96}, "for a series")
    if steps >= MIN_CONVOLVED:
        yield Candidate("conv1d", "series", _conv1d(steps), "for a long series")
    if steps <= MAX_ATTENTION:
        yield Candidate("transformer", "series", {"kind": "transformer"}, "for a series")


def of_set(members: int) -> Iterator[Candidate]:
    """For exchangeable members."""
    deepset: Plain = {"kind": "deepset", "hidden": 64, "head_depth": 2, "residual": True}
    yield Candidate("deepset", "set", deepset, "members in any order")
    if members <= MAX_SET_ATTENTION:
        yield Candidate(
            "set_transformer", "set", {"kind": "set_transformer"}, "members in any order"
        )


def of_grid(sizes: tuple[int, ...]) -> Iterator[Candidate]:
    """For the cells of a line or a picture."""
    if len(sizes) == 1:
        yield Candidate("conv1d", "grid", _conv1d(sizes[0]), "for a line", axes=1)
        return
    stages = max(1, min(len(STAGES), round(math.log2(max(2, min(sizes)) / 2))))
    filters = list(STAGES[:stages])
    summary: Plain = {"kind": "conv2d", "filters": filters, "pooling": "mean", "pooled": "every"}
    yield Candidate("conv2d", "grid", summary, "for a picture")


def _mlp() -> Candidate:
    hidden = [128, 128, 128]
    summary = {"kind": "mlp", "hidden": hidden, "activation": "silu", "residual": True}
    return Candidate("mlp", "vector", summary, "many numbers")


def _conv1d(steps: int) -> Plain:
    """Blocks enough to see all steps, up to `MAX_BLOCKS`: beyond, the pooling joins them."""
    blocks = math.ceil(math.log2(max(2, steps) / 4 + 1))
    return {"kind": "conv1d", "depth": max(MIN_BLOCKS, min(MAX_BLOCKS, blocks))}
