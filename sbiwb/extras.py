"""Packages that only some need: imported where they are used, and if missing told with the command
that installs them.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from sbiwb.errors import ConfigError


def check_installed(*modules: str, extra: str, where: str) -> None:
    """Looks for packages without loading them, before hours are spent.

    Args:
        modules: Names of packages.
        extra: The extra of pyproject.toml that brings them.
        where: Key or command that asks for them.

    Raises:
        ConfigError: One is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            todo = f'pip install "sbiwb[{extra}]"'
            raise ConfigError(f"needs the package {module}", where=where, todo=todo)


def imported(module: str, *, extra: str, where: str) -> ModuleType:
    """The module, which comes with `pip install "sbiwb[EXTRA]"`.

    Args:
        module: Dotted name.
        extra: The extra of pyproject.toml that brings it.
        where: Key or command that asks for it.

    Raises:
        ConfigError: It is not installed, or does not load.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"needs a package: {error}", where=where, todo=f'pip install "sbiwb[{extra}]"'
        ) from error
