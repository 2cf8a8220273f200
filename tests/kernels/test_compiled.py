"""C at first use: any compiler that CC can name, any damage to what is kept, and why there is
none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sbiwb.errors import Stopped
from sbiwb.kernels import compiled
from sbiwb.networks import compiled_flow
from sbiwb.stopping import Flag, raise_on_signal, watch_signals
from tests.tiny import Child, until

NUMBER = '#include "number.h"\nint number(void) { return NUMBER; }\n'
LOAD = (
    "from pathlib import Path; from sbiwb.kernels import compiled; "
    "compiled.FOLDER = Path({folder!r}); "
    "library = compiled.load('number.c'); "
    "print(library.functions and library.functions.number(), library.problem)"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """C sources of one function that gives 42, and an empty cache."""
    (tmp_path / "number.c").write_text(NUMBER)
    (tmp_path / "number.h").write_text("#define NUMBER 42\n")
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    monkeypatch.setenv("SBIWB_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def script(tmp_path):
    """Writes an executable script."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def number_in_another_process(folder) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(folder=str(folder))], capture_output=True, text=True
    )
    assert done.returncode == 0, done
    return done.stdout.strip()


def kept(folder):
    (library,) = (folder / "cache").glob("*.so")
    return library


@pytest.mark.parametrize("size", [0, 100, 4096, -1])
def test_a_library_cut_short_is_built_again(folder, size):
    assert compiled.load("number.c").functions.number() == 42
    whole = kept(folder).read_bytes()
    os.truncate(kept(folder), size if size >= 0 else len(whole) // 2)
    assert number_in_another_process(folder) == "42"
    assert kept(folder).read_bytes() == whole


def test_a_library_without_its_checksum_is_built_again(folder):
    compiled.load("number.c")
    kept(folder).write_bytes(b"nonsense")
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"\xff\x00")):
        damage(compiled._checksum(kept(folder)))
        assert number_in_another_process(folder) == "42"


def test_what_is_included_is_part_of_the_name(folder):
    assert compiled.load("number.c").functions.number() == 42
    (folder / "number.h").write_text("#define NUMBER 43\n")
    assert number_in_another_process(folder) == "43"


def test_nothing_is_left_besides_the_library_and_its_checksum(folder):
    compiled.load("number.c")
    assert sorted(path.suffix for path in (folder / "cache").iterdir()) == [".sha256", ".so"]


def test_the_words_of_CC_are_split(folder, script, monkeypatch):
    wrapper = script("my wrapper", 'echo "$@" > arguments.txt; exec "$@"')
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CC", f"'{wrapper}' cc -DUNUSED='a b'")
    assert compiled.load("number.c").functions.number() == 42
    assert (folder / "arguments.txt").read_text().startswith("cc -DUNUSED=a b -O3 ")


def test_CC_meets_no_shell(folder, monkeypatch):
    monkeypatch.setenv("CC", f"cc; touch {folder}/touched")
    assert compiled.load("number.c").problem == "there is no C compiler (cc;)"
    assert not (folder / "touched").exists()


@pytest.mark.parametrize(
    "cc, problem",
    [
        ("no-such-compiler -m64", "there is no C compiler (no-such-compiler)"),
        ("gcc 'open", "CC=gcc 'open cannot be read (No closing quotation)"),
    ],
)
def test_no_compiler_is_told(folder, monkeypatch, cc, problem):
    monkeypatch.setenv("CC", cc)
    library = compiled.load("number.c")
    assert library.functions is None and library.problem == problem


def test_a_failing_compiler_is_heard(folder, script, monkeypatch):
    monkeypatch.setenv("CC", script("broken", "echo 'licence has expired' >&2; exit 3") + " -m64")
    assert compiled.load("number.c").problem == (
        f"{folder}/broken -m64 failed: licence has expired"
    )


def test_a_silent_one_by_its_exit_code(folder, script, monkeypatch):
    monkeypatch.setenv("CC", script("broken", "exit 3"))
    assert compiled.load("number.c").problem.endswith("failed: exit code 3")


@pytest.mark.parametrize(
    "ending, raised",
    [
        ("kill -TERM $$", Stopped),
        ("exit 143", Stopped),
        ("kill -USR1 $$", Stopped),
        ("kill -INT $$", KeyboardInterrupt),
    ],
)
def test_a_compiler_ended_by_a_signal_is_no_failure_of_it(
    folder, script, monkeypatch, ending, raised
):
    monkeypatch.setenv("CC", script("killed", ending))
    for _ in range(2):  # nor remembered as one
        with pytest.raises(raised):
            compiled.load("number.c")


@pytest.mark.parametrize("guard", [raise_on_signal, lambda: watch_signals(Flag())])
def test_a_signal_to_the_whole_job_while_the_compiler_runs_is_no_bug(
    folder, script, monkeypatch, guard
):
    """As a scheduler sends it: to this process and to the compiler, which is one with a child."""
    monkeypatch.setenv("CC", script("slow", f"touch {folder}/begun; sleep 60; exec cc $@"))

    def work() -> int:
        os.setsid()
        with guard():
            try:
                compiled.load("number.c")
            except Stopped as error:
                return error.exit_code
        return 0

    child = Child.start(work, folder / "log.txt")
    until((folder / "begun").exists)
    os.killpg(child.pid, signal.SIGTERM)
    assert child.wait() == 75


def test_why_the_network_has_no_kernels(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert compiled_flow.unavailable_because() == "there is no C compiler (no-such-compiler)"
