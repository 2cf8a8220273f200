"""The floors of the architecture: imports go down only, and a room never imports another room."""

import ast
from pathlib import Path

import pytest

import sbiwb

ROOT = Path(sbiwb.__file__).parent
GROUND = {"compiled", "errors", "records", "evidence", "families", "seeds", "files", "rundir", "stopping", "words", "extras", "__init__"}
ROOMS = {
    "priors",
    "simulation",
    "store",
    "executors",
    "adapters",
    "networks",
    "training",
    "posterior",
    "diagnostics",
    "distances",
    "references",
    "report",
    "trackers",
}
FLOOR = {**dict.fromkeys(GROUND, 0), "contracts": 1, **dict.fromkeys(ROOMS, 2), "config": 3, "workflow": 4, "cli": 5, "__main__": 6}
CLI_MAY = {"workflow", "config", "cli"} | GROUND
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms of sbiwb that a file imports, anywhere in it; imports for type checkers alone do not count."""
    found = set()
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sbiwb":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name if alias.name in FLOOR else "__init__" for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("sbiwb.")}
    return found


def test_every_room_has_a_floor():
    assert {room(path) for path in FILES} <= set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    here = room(path)
    if path == ROOT / "__init__.py":
        return  # the front door: it hands out what the floors above made
    for other in imported_rooms(path) - {here}:
        assert FLOOR[other] < FLOOR[here] or (FLOOR[here] == FLOOR[other] == 0), f"{path}: {here} imports {other}"
        if here == "cli":
            assert other in CLI_MAY, f"{path}: the command line imports {other}"


@pytest.mark.parametrize("path", [path for path in FILES if room(path) not in ("cli",)], ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
