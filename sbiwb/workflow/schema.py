"""The verb `schema`: the JSON Schema of the YAML, for editors."""

from __future__ import annotations

import json
from pathlib import Path

from sbiwb import config
from sbiwb.files import put_text


def schema(output: Path | None = None) -> str:
    """The schema as text, written to `output` where that is given."""
    text = json.dumps(config.schema(), indent=1) + "\n"
    if output is not None:
        put_text(output, text)
    return text
