"""The simulator file: found, loaded, and its functions by name."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from sbiwb.errors import SimulatorError
from sbiwb.simulation.syntax import code_hash, neighbours, read_code

DENSITY = "log_density"  # what a file has that is no simulator
INJECTED = ("rng", "generator")
_MODULE = "sbiwb_simulator_"  # begins the name under which a file is imported


class SimulatorSource(Protocol):
    """Where simulations come from: a Python file, or an external program.

    Attributes:
        path: The file.
        code_hash: Of all code that decides a row, as it was when it was loaded.
        is_halved: Whether a failed batch is done again by halves and not row by row.
        seed_advice: What to do about a simulator that does not repeat itself.
        simulate: The simulating function.
    """

    @property
    def path(self) -> Path: ...
    @property
    def code_hash(self) -> str: ...
    @property
    def is_halved(self) -> bool: ...
    @property
    def seed_advice(self) -> str: ...
    @property
    def simulate(self) -> Callable[..., object]: ...
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

    is_halved = False
    seed_advice = (
        "Take an argument `rng` (numpy.random.Generator) or `generator` (torch.Generator) "
        "and draw from that."
    )

    @property
    def simulate(self) -> Callable[..., object]:
        """The simulating function.

        Raises:
            SimulatorError: The file has a density and nothing to simulate.
        """
        function = self.optional(self.function)
        if function is None:
            raise SimulatorError(
                f"has a log_density, and no function '{self.function}' to simulate with",
                where=self.path,
                todo="Run `sbiwb reference` on its config, which needs no simulations.",
            )
        return function

    def optional(self, name: str) -> Callable[..., Any] | None:
        """A function the file may have: prior, derived, show, posterior, ..."""
        return vars(self.module).get(name)

    def line(self) -> str:
        """`file:line` of the simulating function; the file alone where the function has no code."""
        function = inspect.unwrap(self.simulate)
        if inspect.isfunction(function):
            return f"{self.path}:{function.__code__.co_firstlineno}"
        return str(self.path)

    def injected(
        self, parameters: list[str], context: list[str], constants: list[str]
    ) -> list[str]:
        """Which of `rng` and `generator` the function asks for; see `check_arguments`."""
        return check_arguments(self, parameters, context, constants)

    def __reduce__(self) -> tuple[Callable[[str, str], SourceFile], tuple[str, str]]:
        name = self.module.__name__
        if name.startswith(_MODULE):
            name = str(self.path)
        return _load_again, (f"{name}:{self.function}", self.code_hash)


def is_density(source: SimulatorSource) -> bool:
    """Whether the file has a `log_density` and nothing to simulate with."""
    return isinstance(source, SourceFile) and _is_density(source.module, source.function)


def _is_density(module: ModuleType, function: str) -> bool:
    return function not in vars(module) and DENSITY in vars(module)


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
    files: list[Path] = []
    if name.endswith(".py"):
        path, module = _from_file(folder / name)
        files += neighbours(path)
    else:
        path, module = _from_package(name)
    _check_function(module, function, name, path)
    text = "\n".join(read_code(file).decode() for file in (path, *files))
    return SourceFile(path, module, function, code_hash(text))


def _check_function(module: ModuleType, function: str, name: str, path: Path) -> None:
    if callable(vars(module).get(function)) or _is_density(module, function):
        return
    own = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    raise SimulatorError(
        f"has no function '{function}'",
        where=path,
        todo=f"Write simulator: {name}:NAME with one of: {', '.join(own) or '(none)'}.",
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


def _from_file(path: Path) -> tuple[Path, ModuleType]:
    if not path.is_file():
        near = sorted(file.name for file in path.parent.glob("*.py"))
        raise SimulatorError(
            "no such simulator file",
            where=path,
            todo=f"Beside it lie: {', '.join(near) or 'no Python files'}.",
        )
    path = path.resolve()
    identity = bytes(path) + b"\0" + read_code(path)
    name = f"{_MODULE}{path.stem}_{hashlib.sha256(identity).hexdigest()[:12]}"
    if name not in sys.modules:
        _import_file(path, name)
    return path, sys.modules[name]


def _import_file(path: Path, name: str) -> None:
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
            f"cannot be imported: {_named(error)}", where=blame(error, path), todo="Mend it."
        ) from error


def _from_package(name: str) -> tuple[Path, ModuleType]:
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise SimulatorError(
            f"cannot import '{name}': {_named(error)}",
            where="problem.simulator",
            todo="Install it, or name a file such as simulators/sir.py.",
        ) from error
    return Path(str(module.__file__)), module


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def blame(error: BaseException, path: Path) -> str:
    """`file:line` of the deepest frame of a traceback that lies in the simulator file."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path
    ]
    if lines:
        return f"{path}:{lines[-1]}"
    return str(path)


def check_arguments(
    source: SourceFile, parameters: list[str], context: list[str], constants: list[str]
) -> list[str]:
    """The injected arguments that the function asks for, after comparing all names with the YAML's.

    Raises:
        SimulatorError: A name on one side only, with both lists.
    """
    names, required, takes_any = _signature(source.simulate)
    given = [*parameters, *context, *constants]
    missing = _not_in((*given, *INJECTED), required)
    surplus = _not_in(names, given)
    problems = []
    if missing:
        problems.append(f"{', '.join(missing)} not in the YAML")
    if surplus and not takes_any:
        problems.append(f"{', '.join(surplus)} not in the function")
    if problems:
        raise SimulatorError(
            f"{source.function}({', '.join(names)}) does not match the YAML's "
            f"({', '.join(given)}): {'; '.join(problems)}",
            where=source.line(),
            todo="Give arguments and parameters, context or constants the same names; `rng` or "
            "`generator` is passed in by us.",
        )
    return [name for name in INJECTED if name in names]


def _signature(function: Callable[..., object]) -> tuple[list[str], list[str], bool]:
    """Names of its arguments, of those without a default, and whether it takes any others."""
    names, required, takes_any = list[str](), list[str](), False
    for name, argument in inspect.signature(function).parameters.items():
        if argument.kind == argument.VAR_KEYWORD:
            takes_any = True
        elif argument.kind != argument.VAR_POSITIONAL:
            names.append(name)
            if argument.default is argument.empty:
                required.append(name)
    return names, required, takes_any


def _not_in(accepted: Collection[str], names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in accepted]
