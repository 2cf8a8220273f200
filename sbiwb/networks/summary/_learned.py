"""Options of every summary network that learns: what its summaries are drawn towards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sbiwb.contracts import SummaryPart


class Learned(SummaryPart):
    """Where summaries of the training data are to lie, so that data unlike them stand out.

    References:
        Schmitt, Bürkner, Köthe & Radev (2023), Detecting Model Misspecification in Amortized
        Bayesian Inference, https://arxiv.org/abs/2112.08866
    """

    base_distribution: Literal["normal"] | None = Field(
        None,
        description=(
            "What summaries are drawn towards: normal adds the squared MMD between them and N(0, "
            "I) "
            "to the training loss, so that misspecified data stand out; null: nothing."
        ),
    )
    mmd_weight: float = Field(1, ge=0, description="What that squared MMD is multiplied by.")

    @property
    def penalty_weight(self) -> float:
        return self.mmd_weight if self.base_distribution == "normal" else 0.0
