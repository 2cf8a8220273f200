"""The tree of errors a user can meet: what was wrong, where, and what to do.

SbiwbError                exit code 2 unless it says otherwise
├── ConfigError           the YAML, an override, or a part named in it
├── SimulatorError        the simulator file: loading, arguments, results
│   └── FailureRateError  more simulations fail than `simulate.failures.max_rate` allows
├── DataError             observations, shards, and other files that are read
│   └── CorruptFile       a checksum or a format does not hold
├── RunError              the run folder: another problem, nothing there yet
├── DiskError             full disk, no permission, input/output error
├── TrainingError         the loss left the numbers
├── GateFailed            a diagnostic failed under --gate              (exit 3)
└── Stopped               a signal or the time limit; run again         (exit 75)
"""

from __future__ import annotations

import errno
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


def _rebuild(cls: type[SbiwbError], what: str, where: str, todo: str) -> SbiwbError:
    return cls(what, where=where, todo=todo)


class ConfigError(SbiwbError):
    """The YAML, an override, or a part named in it."""


class ConfigErrors(ConfigError):
    """All problems of one config at once."""

    def __init__(self, problems: list[ConfigError]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

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
        todo = {
            errno.ENOSPC: "The disk is full: free some space and run the same command again; nothing already written is lost.",
            errno.EDQUOT: "Your quota is used up: free some space and run the same command again; nothing already written is lost.",
            errno.EACCES: "No permission: choose another folder with --runs DIR, or change the permissions.",
            errno.EPERM: "No permission: choose another folder with --runs DIR, or change the permissions.",
            errno.EROFS: "The file system is read-only: choose another folder with --runs DIR.",
            errno.ENOTDIR: "A file stands where a folder should be: move it away or choose another --runs DIR.",
            errno.EEXIST: "A file stands where a folder should be: move it away or choose another --runs DIR.",
            errno.EISDIR: "A folder stands where a file should be: move it away.",
        }.get(error.errno or 0, "Check the disk and run the same command again.")
        return cls(error.strerror or str(error), where=path, todo=todo)


class TrainingError(SbiwbError):
    """The loss left the numbers."""


class GateFailed(SbiwbError):
    """A diagnostic failed and `--gate` was asked for."""

    exit_code = 3


class Stopped(SbiwbError):
    """Stopped early by a signal or the time limit; the same command continues."""

    exit_code = 75
