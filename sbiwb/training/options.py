"""Options of training: the section `train` of the YAML."""

from __future__ import annotations

from pydantic import Field

from sbiwb.families import Count, Options


class TrainOptions(Options):
    """How the network is fitted."""

    steps: Count = Field(20_000, ge=1, description="Optimiser steps at most.")
    batch_size: Count = Field(256, ge=1, description="Pairs per step; no more than there are.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(1e-3, ge=0, description="Decoupled weight decay of AdamW.")
    warmup: float = Field(0.02, ge=0, le=1, description="Share of the steps in which the rate rises linearly; then a cosine to zero.")
    clip_norm: float | None = Field(5.0, gt=0, description="Gradient norm above which gradients are scaled down; null never.")
    ema: float | None = Field(0.999, gt=0, lt=1, description="Decay of the averaged weights that are validated and kept; null: none.")
    validate_every: Count | None = Field(None, ge=1, description="Steps between validations; null: a hundredth of the steps, 50 at least.")
    patience: Count | None = Field(20, ge=1, description="Validations without improvement before the rate anneals; null: whole cosine.")
    checkpoint_every_s: float = Field(60.0, gt=0, description="Seconds between checkpoints.")
    seed: Count = Field(0, ge=0, description="Root of initial weights and batch order.")
