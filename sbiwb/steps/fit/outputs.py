"""Files of a training: checkpoints, the best weights, and the metrics of each validation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from sbiwb.errors import DiskError
from sbiwb.files import put_text
from sbiwb.project.checkpoint_facts import FACTS, CheckpointFacts
from sbiwb.rundir import RunDir
from sbiwb.training.checkpoint import keep_last, put_checkpoint
from sbiwb.training.events import Validated
from sbiwb.training.loop import Trainer


class TrainingOutputs:
    """What the process that writes leaves in the run folder.

    Args:
        run: The run folder.
        facts: What every checkpoint says of itself.
        step: The last validation that the training knows; later ones come again.
        check: Called before anything is written; raises where this process may write no longer.
    """

    def __init__(
        self, run: RunDir, facts: CheckpointFacts, step: float, check: Callable[[], None]
    ) -> None:
        self._run, self._facts, self._check = run, facts, check
        self._metrics = Metrics(run.metrics, step)

    def put_checkpoint(self, trainer: Trainer) -> None:
        """The whole state of a trainer; the last two are kept."""
        self._check()
        content = {FACTS: self._facts.plain(), "trainer": trainer.state()}
        put_checkpoint(self._run.checkpoint(trainer.progress.step), content)
        keep_last(self._run.train)

    def put_best(self, weights: dict[str, Tensor], step: int) -> None:
        """The weights that the posterior is made of."""
        self._check()
        put_best(self._run, weights, self._facts, step)

    def put_metrics(self, event: Validated) -> None:
        self._metrics.write(event)


def put_best(run: RunDir, weights: dict[str, Tensor], facts: CheckpointFacts, step: int) -> None:
    """Writes best.pt.

    Args:
        run: The run folder.
        weights: By name.
        facts: What the file says of itself.
        step: Of training, whose weights they are.
    """
    put_checkpoint(run.best, {FACTS: facts.plain(), "weights": weights, "step": step})


class Metrics:
    """Validations as JSON lines.

    Lines after the last validation that a resumed run knows are dropped, for they come again.
    """

    def __init__(self, path: Path, step: float) -> None:
        self._path, self._start = path, time.monotonic()
        text = ""
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if _step_of(line) <= step]
        put_text(path, "".join(f"{line}\n" for line in lines))

    def write(self, event: Validated) -> None:
        """Appends a line."""
        facts = {**asdict(event), "seconds": round(time.monotonic() - self._start, 3)}
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")
        except OSError as error:
            raise DiskError.of(error, self._path) from error


def _step_of(line: str) -> float:
    """The step of a line; one cut by a kill, or damaged, counts as later than everything."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")
