"""What `verify` says of trained networks: the run's own, and its learned likelihoods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sbiwb.contracts import Reporter
from sbiwb.errors import CorruptFile, DiskError
from sbiwb.rundir import CHECKPOINTS, RunDir
from sbiwb.steps.pairs.verified import Verified


def check_networks(run: RunDir, result: Verified, reporter: Reporter) -> None:
    """Whether every checkpoint is whole, and its checksum that of its bytes.

    Args:
        run: The run that was asked about.
        result: Where troubles are noted.
        reporter: Where progress goes.
    """
    paths = list(_checkpoints(run))
    if not paths:
        return
    from sbiwb.training.checkpoint import read_checkpoint

    with reporter.task("verify networks", len(paths), unit="checkpoints") as ticker:
        for path in paths:
            try:
                read_checkpoint(path)
                result.checkpoints += 1
            except (CorruptFile, DiskError) as error:
                result.trouble(path, error.what, f"Run `sbiwb train {run.path}`: {_remedy(path)}.")
            ticker.advance(wrong=len(result.troubles))


def _checkpoints(run: RunDir) -> Iterator[Path]:
    """Best weights and states to go on from, of all networks of a run."""
    likelihoods = sorted(path.parent for path in run.likelihood.glob("*/config.yaml"))
    for network in (run, *map(RunDir, likelihoods)):
        if network.best.is_file():
            yield network.best
        yield from sorted(network.train.glob(CHECKPOINTS))


def _remedy(path: Path) -> str:
    """What it does about a damaged checkpoint."""
    if path.name == "best.pt":
        return "it writes the best weights again from the last checkpoint"
    return "it goes on from the newest whole checkpoint, or begins again"
