"""Claims: held by one living process; over when it dies, or is silent on another machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from sbiwb import claims
from sbiwb.claims import Claim, Owner, hold, in_turn
from sbiwb.errors import DiskError, RunError
from tests.tiny import Child


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run/training.claim"


@pytest.fixture
def ended(tmp_path):
    """A process of this machine that ended; its parent has taken note."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return replace(Owner.here(), pid=process.pid, started="12345")


def put(path, owner: Owner, silent_s: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(owner)))
    then = path.stat().st_mtime - silent_s
    os.utime(path, (then, then))


def far() -> Owner:
    return Owner("node7", 4711, "2026-11-30 12:00:00", "another boot", "1", "token")


def test_one_at_a_time(path):
    with hold(path, "trains this run"):
        owner = Owner.read(json.loads(path.read_text()))
        assert owner is not None and owner.pid == os.getpid()
        with (
            pytest.raises(RunError) as caught,
            hold(path, "trains this run"),
        ):
            pass
        message = str(caught.value)
        assert (
            f"process {os.getpid()} on {owner.host} since {owner.since} trains this run" in message
        )
        assert f"(kill {os.getpid()})" in message and str(path.parent) in message
    assert not path.exists()
    with hold(path, "trains this run"):
        pass


def test_a_dead_process_leaves_it_at_once(path, ended):
    put(path, ended)
    with hold(path, "trains"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_so_does_a_killed_one_that_nobody_waited_for(path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = claims._process_start(process.pid)
    put(path, replace(Owner.here(), pid=process.pid, started=start))
    with pytest.raises(RunError, match=f"process {process.pid} on"), hold(path, "trains"):
        pass
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with hold(path, "trains"):  # a zombie still
        pass
    process.communicate()


def test_a_number_used_again_is_no_sign_of_life(path):
    put(path, replace(Owner.here(), started="1"))
    with hold(path, "trains"):
        pass


def test_a_distant_one_is_refused_when_it_is_heard(path, monkeypatch):
    put(path, far())
    monkeypatch.setattr(claims.time, "sleep", lambda seconds: put(path, far(), silent_s=-1.0))
    said: list[str] = []
    with (
        pytest.raises(RunError, match="process 4711 on node7 since 2026-11-30 12:00:00 trains"),
        hold(path, "trains", said.append),
    ):
        pass
    assert said == [f"Waiting for a sign of life of {far()}, 300 s at most."]


def test_a_distant_one_that_stays_silent_has_lost_it(path, monkeypatch):
    put(path, far(), silent_s=claims.STALE_S - 5)
    monkeypatch.setattr(claims.time, "sleep", lambda seconds: put(path, far(), claims.STALE_S + 5))
    said: list[str] = []
    with hold(path, "trains", said.append):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert len(said) == 1


def test_a_claim_that_names_nobody_is_soon_over(path, monkeypatch):
    for text in ("", "[]", '{"host": 1}', "[" * 100_000):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, (1e9, 1e9))
        with hold(path, "trains"):
            assert json.loads(path.read_text())["pid"] == os.getpid()


def test_who_slept_too_long_is_told_and_touches_nothing(path):
    with hold(path, "trains") as claim:
        claim.check()
        put(path, far())
        with pytest.raises(RunError, match=r"is claimed by process 4711 on node7 .* now"):
            claim.check()
    assert Owner.read(json.loads(path.read_text())) == far()


def test_of_many_that_take_over_one_has_it(path, tmp_path, ended):
    put(path, ended)
    counter = tmp_path / "counter"
    counter.write_text("0")

    def add() -> int:
        for _ in range(5):
            with in_turn(path):
                counter.write_text(str(int(counter.read_text()) + 1))
        return 0

    children = [Child.start(add, tmp_path / f"{number}.txt") for number in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0], [child.output for child in children]
    assert counter.read_text() == "15"


def test_a_takeover_that_died_holds_up_nobody(path, ended):
    put(path, ended)
    marker = path.with_name("training.claim.taking")
    put(marker, ended, silent_s=claims.TAKING_S + 1)
    with hold(path, "trains"):
        assert not marker.exists()


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DiskError, match=r"training\.claim"),
        hold(tmp_path / "file/training.claim", ""),
    ):
        pass


def test_the_heart_beats_only_for_its_own(path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.01)
    with hold(path, "trains") as claim:
        os.utime(path, (1e9, 1e9))
        for _ in range(500):
            if path.stat().st_mtime > 1e9:
                break
            claims.time.sleep(0.01)
        assert path.stat().st_mtime > 1e9
        other = Claim(path, far())
        put(path, other.owner)
        os.utime(path, (1e9, 1e9))
        claims.time.sleep(0.05)
        assert path.stat().st_mtime == 1e9
        assert Owner.read(json.loads(path.read_text())) != claim.owner
