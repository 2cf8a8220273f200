"""MLflow: one run of an experiment on a tracking server or in a local database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from sbiwb.contracts import TrackerPart
from sbiwb.extras import imported
from sbiwb.files import put_text
from sbiwb.trackers._plain import dotted

MAX_PARAMS, MAX_LETTERS = 100, 500  # of one request, and of one value


class Config(TrackerPart):
    """Which server and experiment; user and password come from MLFLOW_TRACKING_USERNAME and
    _PASSWORD, never from a file of the run."""

    kind: Literal["mlflow"] = Field("mlflow", description="MLflow.")
    experiment: str = Field(
        "sbiwb", min_length=1, description="Experiment there; made if it is new."
    )
    uri: str | None = Field(
        None,
        description="Tracking server or database; null: MLFLOW_TRACKING_URI, or MLflow's own "
        "default.",
    )

    @field_validator("uri")
    @classmethod
    def _no_secret(cls, uri: str | None) -> str | None:
        parts = urlsplit(uri or "")
        if parts.password or (parts.username and parts.scheme.startswith("http")):
            raise PydanticCustomError(
                "secret",
                "holds a user or a password; set MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD.",
            )
        return uri

    def build(self, folder: Path, name: str) -> MLflow:
        package = imported("mlflow", extra="mlflow", where="machine.tracking: mlflow")
        return MLflow(package, folder, name, uri=self.uri, experiment=self.experiment)


class MLflow:
    """Logs to one run, whose id is kept in the run folder; a resumed training goes on in it and
    repeats no step.

    Args:
        package: `mlflow`; only its client is used, which keeps no global state.
        folder: Keeps the id.
        name: Of the run there.
        uri: Of the store; None leaves it to mlflow's own settings.
        experiment: Of the run there.
    """

    def __init__(
        self, package: Any, folder: Path, name: str, *, uri: str | None, experiment: str
    ) -> None:
        self.package, self.folder, self.name, self.uri, self.experiment = (
            package,
            folder,
            name,
            uri,
            experiment,
        )
        self.done = 0

    def start(self, config: Mapping[str, Any], *, step: int) -> str:
        self.client = self.package.MlflowClient(tracking_uri=self.uri)
        self.run_id = self._resumed() or self._begun(config)
        where = self.uri or self.package.get_tracking_uri()
        return f"experiment {self.experiment}, run {self.name} in {_without_secret(where)}"

    def _resumed(self) -> str | None:
        """The run that this training began before, if the store has it."""
        path = self.folder / "mlflow.id"
        if not path.is_file():
            return None
        run_id = path.read_text(encoding="utf-8", errors="replace").strip()
        try:
            metrics = self.client.get_run(run_id).data.metrics
        except self.package.exceptions.MlflowException:
            return None  # another store than before
        self.client.update_run(run_id, status="RUNNING")
        self.done = max(
            (
                point.step
                for name in metrics
                for point in self.client.get_metric_history(run_id, name)
            ),
            default=0,
        )
        return run_id

    def _begun(self, config: Mapping[str, Any]) -> str:
        existing = self.client.get_experiment_by_name(self.experiment)
        if existing is None:
            experiment = self.client.create_experiment(self.experiment)
        else:
            experiment = existing.experiment_id
        run_id = self.client.create_run(experiment, run_name=self.name).info.run_id
        put_text(self.folder / "mlflow.id", run_id)
        entities = self.package.entities
        params = [entities.Param(key, str(value)[:MAX_LETTERS]) for key, value in dotted(config)]
        for first in range(0, len(params), MAX_PARAMS):
            self.client.log_batch(run_id, params=params[first : first + MAX_PARAMS])
        return run_id

    def log(self, step: int, facts: Mapping[str, float]) -> None:
        if step > self.done:
            now = int(1000 * time.time())
            metrics = [
                self.package.entities.Metric(name, float(value), now, step)
                for name, value in facts.items()
            ]
            self.client.log_batch(self.run_id, metrics=metrics)

    def close(self, *, finished: bool) -> None:
        self.client.set_terminated(self.run_id, status="FINISHED" if finished else "KILLED")


def _without_secret(uri: str) -> str:
    parts = urlsplit(uri)
    return (
        parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if "@" in parts.netloc
        else uri
    )
