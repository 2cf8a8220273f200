"""One task after the other, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from sbiwb.contracts import ExecutorPart
from sbiwb.errors import SbiwbError
from sbiwb.executors._batch import Cluster
from sbiwb.executors._tasks import R, Results, Task, Work


class Config(ExecutorPart):
    """No options."""

    kind: Literal["serial"] = Field(
        "serial", description="One task after the other, in this process."
    )

    def build(self, cluster: Cluster) -> SerialExecutor:
        return SerialExecutor()


class SerialExecutor:
    """Runs every task here."""

    workers = 1

    def run(self, work: Work[R], tasks: Sequence[Task]) -> Results[R]:
        """(task, result) in order; a failure a user can mend comes back as the result."""
        for task in tasks:
            result: R | SbiwbError
            try:
                result = work(task)
            except SbiwbError as error:
                result = error
            yield task, result
