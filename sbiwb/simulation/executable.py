"""The program of a command and the files it names: found, and hashed."""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sbiwb.errors import SimulatorError
from sbiwb.files import sha256
from sbiwb.simulation.command import ProgramCommand

COMMAND_KEY = "problem.simulator.command"


@dataclass(frozen=True)
class Executable:
    """A program and its arguments.

    Args:
        path: The program.
        arguments: Its arguments with their places, files by their full path.
        code_hash: Of the words, the program, and the files they name.
    """

    path: Path
    arguments: tuple[str, ...]
    code_hash: str


def find_executable(options: ProgramCommand, folder: Path) -> Executable:
    """Finds a program and the files its command names; see `program.load_program`."""
    name, *words = options.command
    path = _program(name, folder)
    identity = hashlib.sha256(f"{options.input} {options.output}".encode())
    identity.update(_identity(name, path))
    arguments: list[str] = []
    for word in words:
        file = _file(word, folder)
        identity.update(_identity(word, file))
        arguments.append(str(file or word))
    return Executable(path, tuple(arguments), identity.hexdigest())


def _identity(word: str, file: Path | None) -> bytes:
    """A word of the command, or the name and content of the file that it means."""
    if file is not None:
        word = f"{file.name} {sha256(file.read_bytes())}"
    return b"\0" + word.encode()


def relocated(options: ProgramCommand, base: Path, folder: Path) -> ProgramCommand:
    """The same command with paths relative to `folder` that were relative to `base`.

    Links stay, for they may mean another environment.
    """
    name, *words = options.command
    if os.sep in name:
        name = _moved(name, base, folder)
    command = [name]
    for word in words:
        if _file(word, base):
            word = _moved(word, base, folder)
        command.append(word)
    return options.model_copy(update={"command": command})


def _moved(word: str, base: Path, folder: Path) -> str:
    if os.path.isabs(word):
        return word
    there = os.path.abspath(base / word)
    return os.path.join(os.curdir, os.path.relpath(there, folder.resolve()))


def _program(name: str, folder: Path) -> Path:
    if os.sep not in name:
        return _on_path(name)
    path = (folder / name).absolute()
    if not path.is_file():
        todo = f"Compile or install it first, or mend {COMMAND_KEY}."
        names = [file.name for file in path.parent.glob("*")]
        for near in difflib.get_close_matches(path.name, names, 1):
            todo = f"Compile or install it first, or mend {COMMAND_KEY}; did you mean {near}?"
        raise SimulatorError("no such program", where=path, todo=todo)
    if not os.access(path, os.X_OK):
        raise SimulatorError(
            "may not be executed",
            where=path,
            todo=f"Run `chmod +x {path}`, or name its interpreter first: [python, ...].",
        )
    return path


def _on_path(name: str) -> Path:
    path = shutil.which(name)
    if path is None:
        raise _not_installed(name)
    return Path(path)


def _not_installed(name: str) -> SimulatorError:
    return SimulatorError(
        f"no program '{name}' on PATH",
        where=COMMAND_KEY,
        todo=f"Install it, or write ./{name} for one beside the config.",
    )


def _file(word: str, folder: Path) -> Path | None:
    """The file that a word of the command names, if it does."""
    path = folder / word
    if word and "{" not in word and path.is_file():
        return path.resolve()
    return None
