"""Simulator code by its syntax: hashed without what cannot change a row, and what it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

from sbiwb.errors import DiskError

NOT_HASHED = {"show", "derived", "test_quantities", "posterior", "log_likelihood"}
_DOCUMENTED = ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef


def code_hash(text: str) -> str:
    """sha256 of the code without comments, docstrings and functions that cannot change a row.

    Example:
        >>> code_hash("x = 1  # one") == code_hash("x=1") != code_hash("x = 2")
        True
    """
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if _can_change_a_row(node)]
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    plain = ast.unparse(tree)  # `ast.dump` differs between versions of Python
    return hashlib.sha256(plain.encode()).hexdigest()


def _can_change_a_row(node: ast.stmt) -> bool:
    return not (isinstance(node, ast.FunctionDef) and node.name in NOT_HASHED)


def neighbours(path: Path) -> tuple[Path, ...]:
    """Files beside a simulator that it imports by name, directly or through each other.

    Returns:
        Their paths in order.
    """
    files: set[Path] = set()
    waiting = [path]
    while waiting:
        for name in _imported(waiting.pop()):
            stem = path.parent.joinpath(*name.split("."))
            for file in (stem.with_suffix(".py"), stem / "__init__.py"):
                if file.is_file() and file not in files and file != path:
                    files.add(file)
                    waiting.append(file)
    return tuple(sorted(files))


def _imported(path: Path) -> set[str]:
    """Dotted names that a file imports, each with its parents."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(read_code(path))):
        for name in _names(node):
            parts = name.split(".")
            names |= {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return names


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        yield node.module
        for alias in node.names:
            yield f"{node.module}.{alias.name}"


def read_code(path: Path) -> bytes:
    """The bytes of a source file.

    Raises:
        DiskError: They cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DiskError.of(error, path) from error
