"""The programs among the simulators, compiled once as `make simulators` does."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.simulators.loaded import ROOT

BUILD = ROOT / "simulators" / "build"


@pytest.fixture(scope="session", autouse=True)
def compiled():
    """The folder of the programs; without a compiler they stay as they are, and the tests that need
    one say so."""
    compiler = shutil.which("cc")
    for source in sorted((ROOT / "simulators").glob("*.c")):
        program = BUILD / source.stem
        if compiler and (not program.exists() or program.stat().st_mtime < source.stat().st_mtime):
            BUILD.mkdir(exist_ok=True)
            subprocess.run(
                [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source, "-lm"],
                check=True,
            )
    return BUILD
