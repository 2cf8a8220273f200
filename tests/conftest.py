"""Fixtures that every room's tests share; one thread a process, for the machine is shared too."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.tiny import Recorder, Tiny


@pytest.fixture
def tiny(tmp_path):
    """Writes a tiny project to a fresh folder: `tiny(train={"steps": 5})` changes single keys."""

    def make(**changes) -> Tiny:
        return Tiny.write(tmp_path, changes)

    return make


@pytest.fixture
def recorder():
    return Recorder()
