"""`python -m tests.style [FOLDER ...]`: how the code reads, in numbers; by default zuko and sbiwb.


Nodes: of the syntax tree of a function's body without its docstring. Lines: not the blank ones.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 100
LIMITS = {
    "nodes a function, median": 36,
    "nodes a function, p90": 140,
    "lines over 100 columns, %": 0,
    "conditional expressions in 1,000 lines": 10,
    "comprehensions in 1,000 lines": 25,
    "annotations with Any, %": 1.5,
    "lines of the largest file": 350,
}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class SourceText:
    """One file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]

    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)

    def functions(self) -> list[Function]:
        return [node for node in self.nodes() if isinstance(node, Function)]


def read(folder: Path) -> list[SourceText]:
    texts = [(path, path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py"))]
    return [SourceText(path, text, ast.parse(text)) for path, text in texts]


def size(function: Function) -> int:
    """Nodes of the body."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return sum(1 for statement in body for _ in ast.walk(statement))


def annotations(files: list[SourceText]) -> Iterator[ast.expr]:
    """Of arguments, results and fields."""
    for node in (node for file in files for node in file.nodes()):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        if isinstance(node, Function) and node.returns is not None:
            yield node.returns


def holds_any(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))


def used_once(files: list[SourceText]) -> float:
    """Share of private functions whose name stands at one place besides its definition, in %."""
    words = Counter(word for file in files for word in re.findall(r"\w+", file.text))
    private = [one.name for file in files for one in file.functions() if is_private(one.name)]
    return percent(sum(words[name] == 2 for name in private), len(private))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def percent(part: int, whole: int) -> float:
    return 100 * part / max(1, whole)


def measures(folder: Path) -> dict[str, float]:
    """The numbers of a folder, by name."""
    files = read(folder)
    sizes = sorted(size(function) for file in files for function in file.functions())
    lines = [line for file in files for line in file.lines]
    nodes = [node for file in files for node in file.nodes()]
    said = list(annotations(files))
    thousands = len(lines) / 1000
    return {
        "nodes a function, median": statistics.median(sizes),
        "nodes a function, p90": sizes[int(0.9 * len(sizes))],
        "lines over 100 columns, %": percent(
            sum(len(line) > COLUMNS for line in lines), len(lines)
        ),
        "conditional expressions in 1,000 lines": count(nodes, ast.IfExp) / thousands,
        "comprehensions in 1,000 lines": count(nodes, COMPREHENSIONS) / thousands,
        "annotations with Any, %": percent(sum(map(holds_any, said)), len(said)),
        "private functions used once, %": used_once(files),
        "lines of the largest file": max(file.text.count("\n") for file in files),
        "functions": len(sizes),
        "lines": len(lines),
    }


def count(nodes: list[ast.AST], kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> int:
    return sum(isinstance(node, kind) for node in nodes)


def beyond(found: dict[str, float]) -> list[str]:
    """Names of the numbers beyond their limit."""
    return [name for name, limit in LIMITS.items() if found[name] > limit]


def main() -> None:
    import zuko

    import sbiwb

    folders = [Path(path) for path in sys.argv[1:]]
    folders = folders or [Path(str(module.__file__)).parent for module in (zuko, sbiwb)]
    columns = [measures(folder) for folder in folders]
    print("".ljust(40), *(folder.name.rjust(12) for folder in folders), "limit".rjust(8))
    for name in columns[0]:
        numbers = [f"{column[name]:12.1f}" for column in columns]
        print(name.ljust(40), *numbers, f"{LIMITS.get(name, ''):>8}")
    for folder, column in zip(folders, columns, strict=True):
        print(f"{folder.name}: beyond its limit: {', '.join(beyond(column)) or 'nothing'}")


if __name__ == "__main__":
    main()
