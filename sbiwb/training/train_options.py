"""Options of training: the section `train` of the YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sbiwb.families import WHOLE, Count, Options, Seed

MAX_BATCH = 1_000_000
MAX_BUFFER = 10_000_000


class Online(Options):
    """The rolling buffer of the regime `online`."""

    buffer: Annotated[int, Field(ge=64, le=MAX_BUFFER), WHOLE] = Field(
        16_384, description="Pairs kept at most."
    )
    uses: Count = Field(8, ge=1, description="Times that a pair is used at most.")


class TrainOptions(Options):
    """How the network is fitted."""

    steps: Count = Field(20_000, ge=1, description="Optimiser steps at most.")
    epochs: Count | None = Field(None, ge=1, description="Budget in epochs instead of steps.")
    max_time_min: float | None = Field(
        None, gt=0, description="Minutes of training at most; the rate anneals in their last tenth."
    )
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH), WHOLE] = Field(
        256,
        description="Pairs per step, those of all processes together; no more than there are.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(1e-3, ge=0, description="Decoupled weight decay of AdamW.")
    schedule: Literal["cosine", "one_cycle", "constant", "plateau"] = Field(
        "cosine", description="Course of the learning rate."
    )
    warmup: float = Field(
        0.02, ge=0, le=1, description="Share of the steps in which the rate rises linearly."
    )
    clip_norm: float | None = Field(
        5.0, gt=0, description="Gradient norm above which gradients are scaled down; null never."
    )
    ema: float | None = Field(
        0.999,
        gt=0,
        lt=1,
        description="Decay of the averaged weights that are validated and kept; null: none.",
    )
    swa: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the whole course, at its end, whose weights are averaged equally; "
        "null: none. Use with patience: null.",
    )
    validate_every: Count | None = Field(
        None,
        ge=1,
        description="Steps between validations; null: a hundredth of the steps, 50 at least.",
    )
    patience: Count | None = Field(
        20,
        ge=1,
        description="Validations without improvement before the rate anneals; null: whole course.",
    )
    checkpoint_every_s: float = Field(60.0, gt=0, description="Seconds between checkpoints.")
    regime: Literal["auto", "memory", "disk", "online"] = Field(
        "auto",
        description="Pairs all in memory, streamed from disk, or simulated meanwhile; auto: "
        "memory, or disk where that is too small.",
    )
    online: Online = Field(Online(), description="The rolling buffer of the regime online.")
    seed: Seed = Field(0, description="Root of initial weights and batch order.")
