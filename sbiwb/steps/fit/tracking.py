"""Trackers beside a training, each on a thread of its own: training never waits, nor fails."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from sbiwb.contracts import Reporter, Tracker, TrackerPart

CLOSE_S = 45.0  # for all trackers together to send what is left


@contextmanager
def trackers(
    parts: Iterable[TrackerPart],
    folder: Path,
    name: str,
    config: Mapping[str, object],
    reporter: Reporter,
    *,
    step: int = 0,
) -> Iterator[Tracking]:
    """Several trackers as one; they end with the block, however it ends.

    Args:
        parts: What `machine.tracking` names.
        folder: Keeps their ids and files, so that a resumed training goes on in the same places.
        name: Of the run.
        config: The whole YAML, as plain values.
        reporter: Hears once where to look, and once of a tracker's first failure, which ends that
            tracker.
        step: The last step this training has done; later ones come again.

    Raises:
        ConfigError: A tracker's package is not installed.
    """
    built = [(part.kind, part.build(folder, name)) for part in parts]
    lanes = [Lane(kind, tracker, config, step) for kind, tracker in built]
    tracking = Tracking(lanes, reporter)
    try:
        yield tracking
    except BaseException:
        tracking.close(finished=False)
        raise
    tracking.close(finished=True)


class Tracking:
    """Several trackers as one that never fails."""

    def __init__(self, lanes: list[Lane], reporter: Reporter) -> None:
        self._lanes, self._reporter = lanes, reporter

    def log(self, step: int, facts: Mapping[str, float]) -> None:
        """Numbers at a step, to every tracker that still works."""
        for lane in self._lanes:
            lane.put((step, dict(facts)))
            lane.report(self._reporter)

    def close(self, *, finished: bool) -> None:
        """Waits for what is under way, but not for ever."""
        for lane in self._lanes:
            lane.finished = finished
            lane.put(None)
        deadline = time.monotonic() + CLOSE_S
        for lane in self._lanes:
            lane.thread.join(max(0.0, deadline - time.monotonic()))
            lane.report(self._reporter)
            if lane.thread.is_alive():
                self._reporter.warn(
                    f"tracking by {lane.kind} did not answer within {CLOSE_S:g} s and was left "
                    "behind."
                )


class Lane:
    """One tracker on its thread; its messages wait for the thread that may report."""

    def __init__(
        self, kind: str, tracker: Tracker, config: Mapping[str, object], step: int
    ) -> None:
        self.kind, self.finished = kind, False
        self._jobs: SimpleQueue[tuple[int, dict[str, float]] | None] = SimpleQueue()
        self._places: SimpleQueue[str] = SimpleQueue()
        self._failures: SimpleQueue[str] = SimpleQueue()
        self.thread = Thread(
            target=self._work, args=(tracker, config, step), name=f"tracking by {kind}", daemon=True
        )
        self.thread.start()

    def put(self, job: tuple[int, dict[str, float]] | None) -> None:
        """Numbers at a step, or None for the end."""
        if self.thread.is_alive():
            self._jobs.put(job)

    def report(self, reporter: Reporter) -> None:
        """Says what the tracker said since the last time."""
        while not self._places.empty():
            reporter.say(f"Tracked by {self.kind}: {self._places.get()}")
        while not self._failures.empty():
            reporter.warn(
                f"tracking by {self.kind} failed and has ended, training goes on: "
                f"{self._failures.get()}"
            )

    def _work(self, tracker: Tracker, config: Mapping[str, object], step: int) -> None:
        try:
            self._places.put(tracker.start(config, step=step))
            while (job := self._jobs.get()) is not None:
                tracker.log(*job)
            tracker.close(finished=self.finished)
        except (Exception, SystemExit) as error:  # whatever a tracker does, training goes on
            lines = str(error).splitlines() or [type(error).__name__]
            self._failures.put(lines[0])
