"""The floors of the architecture: imports go down only, a room never imports another, and a name
stands for one thing."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

import sbiwb

ROOT = Path(sbiwb.__file__).parent
GROUND = {
    "errors",
    "records",
    "evidence",
    "row_arrays",
    "families",
    "seeds",
    "files",
    "rundir",
    "start_counter",
    "numbers",
    "submitted_jobs",
    "stopping",
    "claims",
    "environment",
    "words",
    "naming",
    "document",
    "extras",
    "intervals",
    "pareto",
    "ridge",
    "processes",
    "chunks",
    "pictures",
    "kernels",
    "__init__",
}
ROOMS = {
    "priors", "simulation", "store", "executors", "adapters", "networks", "training", "posterior", "diagnostics", "distances", "references",
    "report", "trackers",
}  # fmt: skip
STEPS = {
    "pairs", "intake", "fit", "tune", "judge", "infer", "exact", "compare", "choose", "joint",
    "trust",
}  # fmt: skip
FLOOR = {
    **dict.fromkeys(GROUND, 0),
    "contracts": 1,
    **dict.fromkeys(ROOMS, 2),
    "config": 3,
    "project": 4,
    **{f"steps.{step}": 5 for step in STEPS},
    "workflow": 6,
    "cli": 7,
    "__main__": 8,
}
CLI_MAY = {"workflow", "project", "config", "cli"} | GROUND
FAMILIES = {
    "priors",
    "executors",
    "adapters",
    "diagnostics",
    "references",
    "trackers",
    "networks/summary",
    "networks/inference",
    "networks/uncertainty",
}
OF_EVERY_PART = {"Config", "Result"}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "steps" / "__init__.py")
FLOORS = [
    path for path in FILES if path != ROOT / "__init__.py"
]  # the front door hands out what the floors above made


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a dotted name below `sbiwb`."""
    return ".".join(parts[:2]) if parts[0] == "steps" else parts[0]


def room(path: Path) -> str:
    return room_of(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path, *, typing_too: bool = False) -> list[tuple[str, ...]]:
    """Dotted names below `sbiwb` that a file imports, anywhere in it, by default not those for type
    checkers alone."""
    tree = ast.parse(path.read_text())
    skipped = (
        set()
        if typing_too
        else {
            id(inner) for node in ast.walk(tree) if is_for_typing(node) for inner in ast.walk(node)
        }
    )
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "sbiwb"
        ):
            inside = tuple(node.module.split(".")[1:])
            found += [(*inside, alias.name) for alias in node.names]
        if isinstance(node, ast.Import):
            found += [
                tuple(alias.name.split(".")[1:])
                for alias in node.names
                if alias.name.startswith("sbiwb.")
            ]
    return found


def is_for_typing(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def target(parts: tuple[str, ...]) -> str:
    """The room that an imported name is in; what `sbiwb` itself defines, such as its version, is of
    the ground."""
    return room_of(parts) if room_of(parts) in FLOOR else "__init__"


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in FILES
    }


def test_every_room_has_a_floor():
    assert {room(path) for path in FILES} <= set(FLOOR)


@pytest.mark.parametrize("path", FLOORS, ids=name_of)
def test_imports_go_down(path):
    here = room(path)
    for other in {target(parts) for parts in imports(path)} - {here}:
        assert FLOOR[other] < FLOOR[here] or (FLOOR[here] == FLOOR[other] == 0), (
            f"{path}: {here} imports {other}"
        )
        if here == "cli":
            assert other in CLI_MAY, f"{path}: the command line imports {other}"


@pytest.mark.parametrize("path", FLOORS, ids=name_of)
def test_no_private_file_of_another_room_is_imported(path):
    for parts in imports(path):
        private = [part for part in parts[:-1] if part.startswith("_")]
        assert not private or room_of(parts) == room(path), f"{path} imports {'.'.join(parts)}"


def test_no_module_imports_itself_by_way_of_others():
    known = modules()
    edges = {
        name: {to for parts in imports(path) if (to := module_of(parts, known)) and to != name}
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle of imports: {' -> '.join((*way, name))}"
        if name in done:
            return
        for other in edges.get(name, ()):
            visit(other, (*way, name))
        done.add(name)

    for name in known:
        visit(name, ())


def module_of(parts: tuple[str, ...], known: dict[str, Path]) -> str | None:
    """The module that an import loads: the name itself, or what holds it."""
    return next((name for name in (".".join(parts), ".".join(parts[:-1])) if name in known), None)


@pytest.mark.parametrize("path", [path for path in FILES if room(path) != "cli"], ids=name_of)
def test_only_the_command_line_prints(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [
        call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]


def is_part(path: Path) -> bool:
    """Whether this is a part of a family: its stem is its `kind` in the YAML, and two families may
    have one of the same kind."""
    return str(path.parent.relative_to(ROOT)) in FAMILIES and not path.stem.startswith("_")


def test_a_file_name_stands_once():
    stems = Counter(
        path.stem
        for path in FILES
        if path.stem not in ("__init__", "__main__") and not is_part(path)
    )
    stems.update({path.stem for path in FILES if is_part(path) and path.stem != "__init__"})
    assert not [stem for stem, times in stems.items() if times > 1]


def test_a_class_name_stands_once():
    names = Counter(
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name not in OF_EVERY_PART
    )
    assert not [name for name, times in names.items() if times > 1]
