"""TensorBoard: event files in the run folder, for `tensorboard --logdir runs`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sbiwb.contracts import TrackerPart
from sbiwb.extras import imported

FLUSH_S = 20


class Config(TrackerPart):
    """How often it writes."""

    kind: Literal["tensorboard"] = Field(
        "tensorboard", description="Event files in the run folder."
    )
    flush_s: float = Field(
        FLUSH_S, gt=0, description="Seconds after which what was logged is on disk at the latest."
    )

    def build(self, folder: Path, name: str) -> TensorBoard:
        torch_side = imported(
            "torch.utils.tensorboard", extra="tensorboard", where="machine.tracking: tensorboard"
        )
        return TensorBoard(torch_side.SummaryWriter, folder / "tensorboard", self.flush_s)


class TensorBoard:
    """Writes scalars; what a killed run logged after its last checkpoint is hidden when the resumed
    run logs it again.

    Args:
        writer_type: `torch.utils.tensorboard.SummaryWriter`; tensorboard's own writer cannot purge.
        folder: Where the event files go.
        flush_s: Seconds between flushes.
    """

    def __init__(self, writer_type: Any, folder: Path, flush_s: float) -> None:
        self.writer_type, self.folder, self.flush_s = writer_type, folder, flush_s

    def start(self, config: Mapping[str, Any], *, step: int) -> str:
        self.writer = self.writer_type(
            str(self.folder), purge_step=step + 1, flush_secs=self.flush_s
        )
        self.writer.add_text("config", f"```\n{json.dumps(config, indent=1)}\n```", step)
        return f"tensorboard --logdir {self.folder}"

    def log(self, step: int, facts: Mapping[str, float]) -> None:
        for name, value in facts.items():
            self.writer.add_scalar(name, value, step)

    def close(self, *, finished: bool) -> None:
        self.writer.close()
