"""Weights & Biases: one run of a project there, online or, with WANDB_MODE=offline, in the run
folder for `wandb sync`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sbiwb.contracts import TrackerPart
from sbiwb.errors import ConfigError
from sbiwb.extras import imported
from sbiwb.files import put_text

INIT_S, FINISH_S = 60.0, 30.0


class Config(TrackerPart):
    """Which project; the key comes from `wandb login` or WANDB_API_KEY, never from a file of the
    run."""

    kind: Literal["wandb"] = Field("wandb", description="Weights & Biases.")
    project: str = Field("sbiwb", min_length=1, description="Project there.")
    entity: str | None = Field(None, description="User or team there; null: your default.")
    group: str | None = Field(None, description="Group of runs there.")
    tags: list[str] = Field([], description="Tags of the run.")
    mode: Literal["online", "offline", "disabled"] | None = Field(
        None, description="Null: what WANDB_MODE or `wandb offline` says."
    )

    def build(self, folder: Path, name: str) -> WandB:
        package = imported("wandb", extra="wandb", where="machine.tracking: wandb")
        there = {
            "project": self.project,
            "entity": self.entity,
            "group": self.group,
            "tags": self.tags,
            "name": name,
        }
        return WandB(package, folder, self.mode, there)


class WandB:
    """Logs to one run, whose id is kept in the run folder; a resumed training goes on in it.

    A step that was logged before is dropped there: a resumed training gives the same numbers again.

    Args:
        package: `wandb`.
        folder: Keeps the id, and what wandb writes.
        mode: Of `wandb.init`; None leaves it to wandb's own settings.
        there: The other options of `wandb.init`.
    """

    def __init__(
        self, package: Any, folder: Path, mode: str | None, there: Mapping[str, Any]
    ) -> None:
        self.package, self.folder, self.mode, self.there = package, folder, mode, there

    def start(self, config: Mapping[str, Any], *, step: int) -> str:
        self._check_login()
        settings = {
            "console": "off",  # the terminal is ours
            "silent": True,
            "disable_code": True,
            "disable_git": True,  # the address of a git remote may hold a token
            "init_timeout": INIT_S,
            "finish_timeout": FINISH_S,
        }
        self.run = self.package.init(
            **self.there,
            id=self._id(),
            resume="allow",
            mode=self.mode,
            dir=str(self.folder),
            config=dict(config),
            allow_val_change=True,  # another machine.device on resume is no mistake
            reinit="create_new",
            settings=self.package.Settings(**settings),
        )
        return (
            f"wandb sync {Path(self.run.dir).parent}"
            if self.run.offline
            else self.run.url or "nowhere, for it is disabled"
        )

    def _check_login(self) -> None:
        """Asks now, for `wandb.init` would ask the terminal and wait."""
        mode = self.mode or self.package.setup().settings.mode
        if mode == "online" and not self.package.login(prompt=False):
            raise ConfigError(
                "no API key",
                where="wandb",
                todo="Run `wandb login`, or set WANDB_API_KEY, or WANDB_MODE=offline.",
            )

    def _id(self) -> str:
        path = self.folder / "wandb.id"
        if not path.is_file():
            put_text(path, uuid.uuid4().hex[:12])
        return path.read_text(encoding="utf-8", errors="replace").strip()

    def log(self, step: int, facts: Mapping[str, float]) -> None:
        self.run.log(dict(facts), step=step)

    def close(self, *, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)
