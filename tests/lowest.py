"""`make lowest`: the lowest versions that pyproject.toml allows, as constraints for pip.

    python -m tests.lowest > constraints.txt

Every package of the dependencies and extras stands with its bound; torch, whose builds differ from
machine to machine, and the tools of `dev`, which no user installs, as in constraints.txt.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lowest() -> Iterator[str]:
    """`name==version` of each package, once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = dict(project["optional-dependencies"])
    tools = extras.pop("dev")
    ours = {name for bounds in extras.values() for name in bounds} | set(project["dependencies"])
    bounds = dict(bound.split(">=") for bound in ours)
    exact = _exact()
    for name in sorted(bounds):
        yield exact[name] if name == "torch" else f"{name}=={bounds[name]}"
    yield from (exact[name] for tool in tools if (name := tool.split(">=")[0]) not in bounds)


def _exact() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {line.split("==")[0]: line for line in lines if "==" in line}


if __name__ == "__main__":
    print("\n".join(lowest()))
