"""The simulator file: found, loaded, its functions by name, its code hashed without what cannot change a row."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from sbiwb.errors import DiskError, SimulatorError

NOT_HASHED = {"show", "derived", "test_quantities", "posterior", "log_likelihood"}
DENSITY = "log_density"  # what a file has that is no simulator
INJECTED = ("rng", "generator")
_MODULE = "sbiwb_simulator_"  # begins the name under which a file is imported


class SimulatorSource(Protocol):
    """Where simulations come from: a Python file, or an external program.

    Attributes:
        path: The file.
        code_hash: Of all code that decides a row, as it was when it was loaded.
    """

    @property
    def path(self) -> Path: ...
    @property
    def code_hash(self) -> str: ...
    @property
    def simulate(self) -> Callable[..., Any]: ...
    def optional(self, name: str) -> Callable[..., Any] | None: ...
    def line(self) -> str: ...
    def injected(
        self, parameters: list[str], context: list[str], constants: list[str]
    ) -> list[str]: ...


@dataclass(frozen=True)
class SourceFile:
    """A loaded simulator file; it crosses process borders by its name and is loaded anew beyond.

    Args:
        path: The Python file.
        module: It, imported.
        function: Name of the simulating function.
        code_hash: Of the file and of its neighbours, as they were when it was loaded.
    """

    path: Path
    module: ModuleType
    function: str
    code_hash: str

    @property
    def simulate(self) -> Callable[..., Any]:
        """The simulating function.

        Raises:
            SimulatorError: The file has a density and nothing to simulate.
        """
        found = getattr(self.module, self.function, None)
        if found is None:
            raise SimulatorError(
                f"has a log_density, and no function '{self.function}' to simulate with",
                where=self.path,
                todo="Run `sbiwb reference` on its config, which needs no simulations.",
            )
        return found

    def optional(self, name: str) -> Callable[..., Any] | None:
        """A function the file may have: prior, derived, show, posterior, ..."""
        return getattr(self.module, name, None)

    def line(self) -> str:
        """`file:line` of the simulating function."""
        code = getattr(
            inspect.unwrap(self.simulate), "__code__", None
        )  # partials and compiled functions have none
        return f"{self.path}:{code.co_firstlineno}" if code else str(self.path)

    def injected(
        self, parameters: list[str], context: list[str], constants: list[str]
    ) -> list[str]:
        """Which of `rng` and `generator` the function asks for; see `check_arguments`."""
        return check_arguments(self, parameters, context, constants)

    def __reduce__(self) -> tuple[Any, ...]:
        name = str(self.path) if self.module.__name__.startswith(_MODULE) else self.module.__name__
        return _load_again, (f"{name}:{self.function}", self.code_hash)


def is_density(source: SimulatorSource) -> bool:
    """Whether the file has a `log_density` and nothing to simulate with."""
    return (
        isinstance(source, SourceFile)
        and source.optional(source.function) is None
        and source.optional(DENSITY) is not None
    )


def code_hash(text: str) -> str:
    """sha256 of the syntax tree without comments, docstrings and functions that cannot change a row."""
    tree = ast.parse(text)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.FunctionDef) and node.name in NOT_HASHED)
    ]
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return hashlib.sha256(
        ast.unparse(tree).encode()
    ).hexdigest()  # `ast.dump` differs between versions of Python


def load_source(reference: str, folder: Path) -> SourceFile:
    """Loads `path.py`, `path.py:function`, `package.module` or `package.module:function`.

    Args:
        reference: What the YAML says.
        folder: The folder that a path is relative to.

    Raises:
        SimulatorError: No such file or function, or the file cannot be imported (with its line).
    """
    name, _, function = reference.partition(":")
    function = function or "simulate"
    is_file = name.endswith(".py")
    path, module = _from_file(folder / name) if is_file else _from_package(name)
    density_alone = not hasattr(module, function) and hasattr(module, DENSITY)
    if not callable(getattr(module, function, None)) and not density_alone:
        found = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise SimulatorError(
            f"has no function '{function}'",
            where=path,
            todo=f"Write simulator: {name}:NAME with one of: {', '.join(found) or '(none)'}.",
        )
    files = (path, *(neighbours(path) if is_file else ()))
    return SourceFile(
        path, module, function, code_hash("\n".join(_read(file).decode() for file in files))
    )


def _load_again(reference: str, expected: str) -> SourceFile:
    """The same file in another process.

    Raises:
        SimulatorError: It is not the same any more.
    """
    source = load_source(reference, Path())
    if source.code_hash != expected:
        raise SimulatorError(
            "was changed while it was in use", where=source.path, todo="Run the same command again."
        )
    return source


def neighbours(path: Path) -> tuple[Path, ...]:
    """Files beside a simulator that it imports by name, directly or through each other, in order of their names."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        for name in _imported(waiting.pop()):
            stem = path.parent.joinpath(*name.split("."))
            near = (
                {file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()}
                - found
                - {path}
            )
            found |= near
            waiting += near
    return tuple(sorted(found))


def _imported(path: Path) -> set[str]:
    """Dotted names that a file imports, each with its parents."""
    names = set()
    for node in ast.walk(ast.parse(_read(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {
        ".".join(name.split(".")[:depth])
        for name in names
        for depth in range(1, name.count(".") + 2)
    }


def _from_file(path: Path) -> tuple[Path, ModuleType]:
    if not path.is_file():
        near = [found.name for found in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise SimulatorError(
            "no such simulator file",
            where=path,
            todo=f"Beside it lie: {', '.join(near) or 'no Python files'}.",
        )
    path = path.resolve()
    identity = bytes(path) + b"\0" + _read(path)
    name = f"{_MODULE}{path.stem}_{hashlib.sha256(identity).hexdigest()[:12]}"
    if name in sys.modules:
        return path, sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SimulatorError(
            "is not a Python file", where=path, todo="Name a file that ends in .py."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last, so that a neighbour hides no installed package
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script may end itself
        del sys.modules[name]
        raise SimulatorError(
            f"cannot be imported: {type(error).__name__}: {error}",
            where=blame(error, path),
            todo="Mend it.",
        ) from error
    return path, module


def _read(path: Path) -> bytes:
    """The bytes of a source file.

    Raises:
        DiskError: They cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DiskError.of(error, path) from error


def _from_package(name: str) -> tuple[Path, ModuleType]:
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise SimulatorError(
            f"cannot import '{name}': {type(error).__name__}: {error}",
            where="problem.simulator",
            todo="Install it, or name a file such as simulators/sir.py.",
        ) from error
    return Path(str(module.__file__)), module


def blame(error: BaseException, path: Path) -> str:
    """`file:line` of the deepest frame of a traceback that lies in the simulator file."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path
    ]
    return f"{path}:{lines[-1]}" if lines else str(path)


def check_arguments(
    source: SourceFile, parameters: list[str], context: list[str], constants: list[str]
) -> list[str]:
    """The injected arguments that the function asks for, after comparing all its names with the YAML's.

    Raises:
        SimulatorError: A name on one side only, with both lists.
    """
    signature = inspect.signature(source.simulate)
    named = [
        name
        for name, argument in signature.parameters.items()
        if argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL)
    ]
    takes_any = any(
        argument.kind is argument.VAR_KEYWORD for argument in signature.parameters.values()
    )
    required = [
        name for name in named if signature.parameters[name].default is inspect.Parameter.empty
    ]
    given = [*parameters, *context, *constants]
    missing = [name for name in required if name not in (*given, *INJECTED)]
    surplus = [] if takes_any else [name for name in given if name not in named]
    if missing or surplus:
        told = [f"{', '.join(missing)} not in the YAML"] * bool(missing) + [
            f"{', '.join(surplus)} not in the function"
        ] * bool(surplus)
        raise SimulatorError(
            f"{source.function}({', '.join(named)}) does not match the YAML's ({', '.join(given)}): {'; '.join(told)}",
            where=source.line(),
            todo="Give arguments and parameters, context or constants the same names; `rng` or `generator` is passed in by us.",
        )
    return [name for name in INJECTED if name in named]
