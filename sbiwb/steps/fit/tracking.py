"""Trackers beside a training: each on a thread of its own, so that neither its failure nor its waiting reaches the training."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any

from sbiwb.contracts import Reporter, Tracker
from sbiwb.project.project import Project

CLOSE_S = 45.0  # for all trackers together to send what is left


@contextmanager
def trackers(project: Project, reporter: Reporter, *, step: int = 0) -> Iterator[Tracking]:
    """The trackers of `machine.tracking`, as one; they end with the block, however it ends.

    Args:
        project: Its training folder keeps their ids and files, so that a resumed training goes on in the same places.
        reporter: Hears once where to look, and once of a tracker's first failure, which ends that tracker.
        step: The last step this training has done; later ones come again.

    Raises:
        ConfigError: A tracker's package is not installed.
    """
    folder, name, config = (
        project.run.train,
        project.config.name,
        project.config.model_dump(mode="json"),
    )
    built = [(part.kind, part.build(folder, name)) for part in project.config.machine.tracking]
    tracking = Tracking([_Lane(kind, tracker, config, step) for kind, tracker in built], reporter)
    try:
        yield tracking
    except BaseException:
        tracking.close(finished=False)
        raise
    tracking.close(finished=True)


class Tracking:
    """Several trackers as one that never fails."""

    def __init__(self, lanes: list[_Lane], reporter: Reporter) -> None:
        self._lanes, self._reporter = lanes, reporter

    def log(self, step: int, facts: Mapping[str, float]) -> None:
        """Numbers at a step, to every tracker that still works."""
        for lane in self._lanes:
            lane.put((step, dict(facts)))
            lane.tell(self._reporter)

    def close(self, *, finished: bool) -> None:
        """Waits for what is under way, but not for ever."""
        for lane in self._lanes:
            lane.finished = finished
            lane.put(None)
        deadline = time.monotonic() + CLOSE_S
        for lane in self._lanes:
            lane.thread.join(max(0.0, deadline - time.monotonic()))
            lane.tell(self._reporter)
            if lane.thread.is_alive():
                self._reporter.warn(
                    f"tracking by {lane.kind} did not answer within {CLOSE_S:g} s and was left behind."
                )


class _Lane:
    """One tracker on its thread; what it has to say waits for the thread that may report."""

    def __init__(self, kind: str, tracker: Tracker, config: Mapping[str, Any], step: int) -> None:
        self.kind, self.finished = kind, False
        self._jobs: SimpleQueue[tuple[int, dict[str, float]] | None] = SimpleQueue()
        self._told: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self.thread = Thread(
            target=self._work, args=(tracker, config, step), name=f"tracking by {kind}", daemon=True
        )
        self.thread.start()

    def put(self, job: tuple[int, dict[str, float]] | None) -> None:
        if self.thread.is_alive():
            self._jobs.put(job)

    def tell(self, reporter: Reporter) -> None:
        while not self._told.empty():
            channel, text = self._told.get()
            getattr(reporter, channel)(text)

    def _work(self, tracker: Tracker, config: Mapping[str, Any], step: int) -> None:
        try:
            self._told.put(("say", f"Tracked by {self.kind}: {tracker.start(config, step=step)}"))
            while (job := self._jobs.get()) is not None:
                tracker.log(*job)
            tracker.close(finished=self.finished)
        except (Exception, SystemExit) as error:  # whatever a tracker does, training goes on
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._told.put(
                ("warn", f"tracking by {self.kind} failed and has ended, training goes on: {what}")
            )
