"""Control of processes: death with the parent, groups, and exit codes in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sbiwb import processes

IN_CHILD = """
import os, sys, time
from sbiwb import processes
{body}
"""


def python(body: str, **options) -> subprocess.Popen[str]:
    code = IN_CHILD.format(body=body)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("code", [0, 1, 255])
def test_an_exit_code_is_told_as_such(code):
    assert processes.describe_exit(code) == f"exit code {code}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_signal_is_told_by_its_name(number):
    with python("time.sleep(60)") as child:
        child.send_signal(number)
    assert processes.describe_exit(child.returncode) == f"killed by {number.name}"


def test_a_signal_without_a_name_is_told_by_its_number():
    assert processes.describe_exit(-200) == "killed by signal 200"


def test_a_process_is_alive_until_it_was_waited_for():
    with python("pass") as child:
        assert processes.is_alive(child.pid)
    assert not processes.is_alive(child.pid)


def test_the_process_of_another_user_is_alive(monkeypatch):
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert processes.is_alive(1)


def test_a_group_outlives_its_leader_and_is_ended():
    litter = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
    with python(litter, start_new_session=True) as leader:
        left = int(leader.stdout.readline())
        leader.wait()
        assert processes.is_alive(left)
        processes.end_group(leader.pid)
        assert leader.stdout.read() == "", "the pipe ends when the last process that holds it does"


def test_ending_a_group_that_is_gone_does_nothing():
    with python("pass", start_new_session=True) as child:
        child.wait()
    processes.end_group(child.pid)


FORKING = """
pid = os.fork()
if pid == 0:
    processes.die_with_parent()
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_child_dies_with_its_parent():
    with python(FORKING) as parent:
        assert int(parent.stdout.readline()) != parent.pid
        parent.kill()
        assert parent.stdout.read() == "", "the pipe ends when the child does"


def test_a_child_whose_parent_is_gone_already_ends_at_once():
    with python(f"processes.die_with_parent({os.getpid() + 1})\nprint('still here')") as child:
        assert child.stdout.read() == ""
    assert child.returncode == 1
