"""What a checkpoint says of itself beside its weights, so that it can be loaded alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from sbiwb.errors import CorruptFile
from sbiwb.project.adapter import AdapterState
from sbiwb.project.fingerprint import Identity, Plain
from sbiwb.project.settings import Settings

FACTS = "about"  # the key of a checkpoint


@final
@dataclass(frozen=True)
class CheckpointFacts:
    """Beside the weights: what was trained, on which data, and how this machine computed it.

    Args:
        config: The whole YAML, as plain values.
        adapter: What the adapters learned, `Adapter.state`.
        settings: How the training computed.
        identity: All that decides the network, given the data.
        data_hash: Of the data.
        model_hash: Of `identity`.
    """

    config: Plain
    adapter: AdapterState
    settings: Settings
    identity: Identity
    data_hash: str
    model_hash: str

    def plain(self) -> dict[str, object]:
        """As a checkpoint holds it; nested values as JSON, which `weights_only` loading accepts."""
        return {
            "config": json.dumps(self.config),
            "data_hash": self.data_hash,
            "model_hash": self.model_hash,
            "identity": json.dumps(self.identity),
            "adapter": json.dumps(self.adapter),
            "settings": asdict(self.settings),
        }

    @classmethod
    def of(cls, checkpoint: Mapping[str, object], path: Path) -> CheckpointFacts:
        """Of a checkpoint that was read from `path`.

        Raises:
            CorruptFile: It says nothing of itself, or not in this version's words.
        """
        try:
            return cls._read(checkpoint[FACTS])  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFile(
                f"does not say what was trained ({type(error).__name__}: {error})",
                where=path,
                todo="Install the sbiwb that wrote it, or train again with `sbiwb train --fresh`.",
            ) from error

    @classmethod
    def _read(cls, plain: Mapping[str, str]) -> CheckpointFacts:
        settings: Mapping[str, object] = plain["settings"]  # type: ignore[assignment]
        return cls(
            config=json.loads(plain["config"]),
            adapter=json.loads(plain["adapter"]),
            settings=Settings(**settings),  # type: ignore[arg-type]
            identity=json.loads(plain["identity"]),
            data_hash=plain["data_hash"],
            model_hash=plain["model_hash"],
        )
