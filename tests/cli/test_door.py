"""The door: streams that cannot be written and texts that are not UTF-8 end with a message and code
2.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys

import pytest

from sbiwb.cli import door
from sbiwb.errors import ConfigError

NOT_UTF8 = os.fsdecode(b"runs/\xff")


def sbiwb(*arguments: str, **streams: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sbiwb", *arguments]
    return subprocess.run(command, text=True, timeout=60, **streams)


def test_results_on_a_full_device():
    with open("/dev/full", "w") as full:
        result = sbiwb("--help", stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 2
    first, second = result.stderr.splitlines()
    assert first == "error  standard output  No space left on device"
    assert second.strip().startswith("The disk is full: free some space")


def test_errors_on_a_full_device():
    with open("/dev/full", "w") as full:
        result = sbiwb("status", "nowhere", stdout=subprocess.PIPE, stderr=full)
    assert result.returncode == 2
    assert result.stdout.startswith("error  nowhere  is no run folder")


@pytest.mark.parametrize("number", sorted(door.DISK_ERRORS))
def test_a_device_that_refuses_in_a_verb_is_no_bug(number, capsys):
    code = door.exit_code(OSError(number, os.strerror(number), "some.png"))
    assert code == 2 and f"error  some.png  {os.strerror(number)}" in capsys.readouterr().err


def test_another_error_of_the_system_is_our_bug(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert door.exit_code(OSError(errno.EBADF, "Bad file descriptor")) == 1
    assert capsys.readouterr().err.startswith("bug  OSError")


@pytest.mark.parametrize(
    ("arguments", "variable", "where"),
    [
        (["check", NOT_UTF8], "", "the command line"),
        (["status", "x", "--runs", NOT_UTF8], "", "the command line"),
        (["status", "x"], NOT_UTF8, "environment variable SBIWB_RUNS"),
    ],
)
def test_a_path_that_is_not_utf8_is_refused(monkeypatch, arguments, variable, where):
    monkeypatch.setattr(sys, "argv", ["sbiwb", *arguments])
    monkeypatch.setenv("SBIWB_RUNS", variable)
    with pytest.raises(ConfigError, match=r"'runs/\\udcff' is not UTF-8") as caught:
        door._check_texts()
    assert caught.value.where == where


def test_a_folder_that_is_not_utf8_or_gone_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sbiwb"])
    folder = tmp_path / NOT_UTF8
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match="is not UTF-8"):
        door._check_texts()
    folder.rmdir()
    with pytest.raises(ConfigError, match="does not exist any more"):
        door._check_texts()
    monkeypatch.chdir(tmp_path)
    door._check_texts()


def test_a_name_that_no_terminal_can_show_is_written_as_an_escape():
    result = sbiwb("status", b"a\xff", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 2
    assert result.stderr.startswith("error  the command line  'a\\udcff' is not UTF-8")


def test_pictures_are_drawn_whatever_backend_the_environment_names(tmp_path):
    code = """
from sbiwb.cli.door import serve
from sbiwb.pictures import new_figure
serve(lambda: new_figure(1, 2, dpi=50).savefig("it.png"))
"""
    environment = {**os.environ, "MPLBACKEND": "nonsense", "MPLCONFIGDIR": str(tmp_path)}
    (tmp_path / "matplotlibrc").write_text("backend: nonsense\n")
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, timeout=60, check=True
    )
    picture = (tmp_path / "it.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (50, 100)
