"""How far trainings are, of the run's own network and of its learned likelihoods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sbiwb.document import read_run_config
from sbiwb.errors import CorruptFile
from sbiwb.files import parse_typed, read_data
from sbiwb.rundir import RunDir, TrainProvenance, read_provenance


@dataclass(frozen=True)
class LastValidation:
    """The last line of a training's metrics."""

    step: int
    validation_loss: float


def last_validation(run: RunDir) -> LastValidation | None:
    """The last whole line of the metrics."""
    if not run.metrics.is_file():
        return None
    for line in reversed(read_data(run.metrics).splitlines()):
        try:
            return parse_typed(LastValidation, line, where=run.metrics)
        except CorruptFile:
            continue  # it is being written
    return None


@dataclass(frozen=True)
class LikelihoodStatus:
    """How far the training of a likelihood is.

    Args:
        name: Of its structure.
        steps: To be done at most; None where nobody knows yet.
        training: Last validation, or None.
        trained: How training ended, or None.
    """

    name: str
    steps: int | None
    training: LastValidation | None
    trained: TrainProvenance | None

    def words(self) -> str:
        """In a line."""
        if self.trained:
            best = f"{self.trained.best_loss:.4f} at step {self.trained.best_step:,}"
            return f"trained, best validation loss {best}"
        if not self.training:
            return "not trained yet"
        step = f"step {self.training.step:,}"
        if self.steps is not None:
            step += f" of {self.steps:,}"
        return f"{step}, validation loss {self.training.validation_loss:.4f}"


def likelihood_states(run: RunDir) -> list[LikelihoodStatus]:
    """Of each likelihood that the run's config asks for, by files alone.

    Raises:
        RunError: A config is not that of a run.
        CorruptFile: A provenance cannot be read.
    """
    return [_state(name, RunDir(run.likelihood / name)) for name in wanted_structures(run)]


def wanted_structures(run: RunDir) -> list[str]:
    """Structures whose likelihoods are learned: `project.likelihoods.wanted` by the plain
    config."""
    config = read_run_config(run.config)
    structures = _section(config["problem"].get("structure"))
    likelihood = _section(config.get("model")).get("likelihood", "none")
    if likelihood == "none":
        return []
    if likelihood == "auto":
        kinds = {_section(part).get("as", part) for part in structures.values()}
        if config.get("effort") == "quick" or kinds <= {"joint"}:
            return []
    return list(structures)


def _section(value: object) -> Mapping[str, object]:
    """A section of a config; empty where there is none."""
    return value if isinstance(value, Mapping) else {}


def _state(name: str, run: RunDir) -> LikelihoodStatus:
    steps = None
    if run.config.is_file():
        asked = _section(read_run_config(run.config).get("train")).get("steps")
        steps = asked if isinstance(asked, int) else None
    trained = None
    if run.best.is_file():
        trained = read_provenance(run.train, TrainProvenance)
    return LikelihoodStatus(name, steps, last_validation(run), trained)
