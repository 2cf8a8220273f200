"""The tree of errors a user can meet: what was wrong, where, and what to do.

SbiwbError                exit code 2 unless it says otherwise
├── ConfigError           the YAML, an override, or a part named in it
├── SimulatorError        the simulator file: loading, arguments, results
│   └── FailureRateError  more simulations fail than `simulate.failures.max_rate` allows
├── DataError             observations, shards, and other files that are read
│   └── CorruptFile       a checksum or a format does not hold
├── RunError              the run folder: another problem, nothing there yet
├── DiskError             full disk, no permission, input/output error
├── TrainingError         the loss became NaN or infinite
├── GateFailed            a diagnostic failed under --gate              (exit 3)
└── Stopped               a signal or the time limit; run again         (exit 75)
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class SbiwbError(Exception):
    """One failure that a user can mend.

    Args:
        what: What was wrong, with the offending value.
        where: File, line, key, shard or seed it concerns.
        todo: What to do about it: allowed values, nearest name, or the command to run.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: object = "", todo: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.todo = what, str(where), todo

    def __str__(self) -> str:
        return "  ".join(part for part in (self.where, self.what, self.todo) if part)

    def __reduce__(self):  # crosses process borders with its three parts
        return _rebuild, (type(self), self.what, self.where, self.todo)

    def to_json(self) -> dict[str, object]:
        """Its parts, from which `from_json` makes it again: for failures that cross by a file."""
        kinds = (kind.__name__ for kind in type(self).__mro__ if kind.__module__ == __name__)
        return {"kind": next(kinds), "what": self.what, "where": self.where, "todo": self.todo}


def _rebuild(cls: type[SbiwbError], what: str, where: str, todo: str) -> SbiwbError:
    return cls(what, where=where, todo=todo)


class ConfigError(SbiwbError):
    """The YAML, an override, or a part named in it."""


class ConfigErrors(ConfigError):
    """All problems of one config at once."""

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "problems": [problem.to_json() for problem in self.problems]}

    def __reduce__(self):
        return ConfigErrors, (self.problems,)


class SimulatorError(SbiwbError):
    """The simulator file: loading, arguments, results."""


class FailureRateError(SimulatorError):
    """More simulations fail than `simulate.failures.max_rate` allows."""


class DataError(SbiwbError):
    """Observations, shards and other files that are read."""


class CorruptFile(DataError):
    """A checksum or a format does not hold."""


class RunError(SbiwbError):
    """The run folder: another problem, or a step that has not been done yet."""


class DiskError(SbiwbError):
    """Full disk, missing permission, input/output error."""

    @classmethod
    def of(cls, error: OSError, path: Path | str) -> DiskError:
        """Names the remedy for an `OSError` met at `path`."""
        todo = _DISK_REMEDIES.get(
            error.errno or 0, "Check the disk and run the same command again."
        )
        return cls(error.strerror or str(error), where=path, todo=todo)


_FREE_SPACE = "free some space and run the same command again; nothing already written is lost."
_OTHER_FOLDER = "choose another folder with --runs DIR"
_FILE_IN_THE_WAY = (
    "A file stands where a folder should be: move it away or choose another --runs DIR."
)
_DISK_REMEDIES = {
    errno.ENOSPC: f"The disk is full: {_FREE_SPACE}",
    errno.EDQUOT: f"Your quota is used up: {_FREE_SPACE}",
    errno.EACCES: f"No permission: {_OTHER_FOLDER}, or change the permissions.",
    errno.EPERM: f"No permission: {_OTHER_FOLDER}, or change the permissions.",
    errno.EROFS: f"The file system is read-only: {_OTHER_FOLDER}.",
    errno.ENOTDIR: _FILE_IN_THE_WAY,
    errno.EEXIST: _FILE_IN_THE_WAY,
    errno.EISDIR: "A folder stands where a file should be: move it away.",
}


class TrainingError(SbiwbError):
    """The loss became NaN or infinite."""


class GateFailed(SbiwbError):
    """A diagnostic failed and `--gate` was asked for."""

    exit_code = 3


class Stopped(SbiwbError):
    """Stopped early by a signal or the time limit; the same command continues."""

    exit_code = 75


def from_json(failure: Mapping[str, object]) -> SbiwbError:
    """The failure that `to_json` wrote; one of an unknown kind comes back as the general one."""
    problems = failure.get("problems")
    if isinstance(problems, list):
        read = [from_json(problem) for problem in problems]
        return ConfigErrors([problem for problem in read if isinstance(problem, ConfigError)])
    kinds = {kind.__name__: kind for kind in _kinds(SbiwbError)}
    kind = kinds.get(str(failure.get("kind")), SbiwbError)
    where, todo = failure.get("where", ""), str(failure.get("todo", ""))
    return kind(str(failure.get("what", "failed")), where=where, todo=todo)


def _kinds(kind: type[SbiwbError]) -> Iterator[type[SbiwbError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)
