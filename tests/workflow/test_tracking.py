"""`trackers`: whatever they do, training goes on; it is told once."""

from __future__ import annotations

import threading
import time

import pytest

from sbiwb.contracts import TrackerPart
from sbiwb.steps.fit import tracking
from sbiwb.steps.fit.tracking import trackers


class Memory:
    """A tracker that remembers, and fails or hangs where it is told to."""

    def __init__(self, fails="", hangs=None):
        self.fails, self.hangs, self.calls = fails, hangs, []

    def _call(self, *what):
        self.calls.append(what)
        if self.fails == what[0]:
            raise OSError(28, "No space left on device\nand more")
        if self.hangs and what[0] == "log":
            self.hangs.wait()

    def start(self, config, *, step):
        self._call("start", config["name"], step)
        return "over there"

    def log(self, step, facts):
        self._call("log", step, facts)

    def close(self, *, finished):
        self._call("close", finished)


def tracked_by(folder, recorder, *those, step=0):
    class Config(TrackerPart):
        def build(self, folder, name):
            return those[int(self.kind)]

    parts = [Config(kind=str(i)) for i in range(len(those))]
    return trackers(parts, folder, "tiny", {"name": "tiny"}, recorder, step=step)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tracking, "CLOSE_S", 2.0)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
class TestTrackers:
    def test_all_get_everything_in_order(self, tmp_path, recorder):
        one, other = Memory(), Memory()
        with tracked_by(tmp_path, recorder, one, other, step=7) as tracked:
            tracked.log(8, {"loss": 1.0})
            tracked.log(9, {"loss": 0.5})
        assert one.calls == other.calls
        assert one.calls == [
            ("start", "tiny", 7),
            ("log", 8, {"loss": 1.0}),
            ("log", 9, {"loss": 0.5}),
            ("close", True),
        ]
        assert (
            recorder.said == ["Tracked by 0: over there", "Tracked by 1: over there"]
            and not recorder.warned
        )

    @pytest.mark.parametrize("fails", ["start", "log", "close"])
    def test_a_failure_is_told_once_and_ends_that_tracker_alone(self, tmp_path, recorder, fails):
        bad, good = Memory(fails), Memory()
        with tracked_by(tmp_path, recorder, bad, good) as tracked:
            for step in range(1, 6):
                tracked.log(step, {"loss": 1.0})
        assert len([call for call in bad.calls if call[0] == fails]) == 1
        assert [call[1] for call in good.calls if call[0] == "log"] == [1, 2, 3, 4, 5]
        assert recorder.warned == [
            "tracking by 0 failed and has ended, training goes on: [Errno 28] No space left on "
            "device"
        ]

    def test_one_that_hangs_holds_up_nothing(self, tmp_path, recorder, monkeypatch):
        monkeypatch.setattr(tracking, "CLOSE_S", 0.2)
        release, good = threading.Event(), Memory()
        start = time.monotonic()
        with tracked_by(tmp_path, recorder, Memory(hangs=release), good) as tracked:
            tracked.log(1, {})
            tracked.log(2, {})
        assert time.monotonic() - start < 1 and good.calls[-1] == ("close", True)
        assert recorder.warned == ["tracking by 0 did not answer within 0.2 s and was left behind."]
        release.set()

    def test_a_stopped_training_is_said_to_be_unfinished(self, tmp_path, recorder):
        one = Memory()
        with pytest.raises(KeyboardInterrupt), tracked_by(tmp_path, recorder, one):
            raise KeyboardInterrupt
        assert one.calls[-1] == ("close", False)

    def test_none_is_fine(self, tmp_path, recorder):
        with tracked_by(tmp_path, recorder) as tracked:
            tracked.log(1, {})
        assert not recorder.said
