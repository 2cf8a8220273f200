"""The verb `compare`: trained runs by their test pairs, or draws of one posterior by their
distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sbiwb.contracts import Reporter
from sbiwb.errors import SbiwbError
from sbiwb.workflow import compare_draws, compare_runs
from sbiwb.workflow.compare_draws import Overlay
from sbiwb.workflow.compare_runs import Comparison


def compare(
    paths: Sequence[Path],
    reporter: Reporter,
    *,
    test: Path | None = None,
    output: Path | None = None,
    runs: Path = Path("runs"),
) -> Comparison | Overlay:
    """Ranks runs, or holds draws against those of a reference method where a path holds draws.

    Args:
        paths: Run folders or YAMLs; or folders of draws.
        reporter: Where progress goes.
        test: The run whose test pairs are used; the first one without it.
        output: Folder to write to; None: beside what is compared.
        runs: Folder that holds the run of a YAML.

    Raises:
        SbiwbError: `test` for draws, or whatever cannot be compared.
    """
    if not any(compare_draws.holds_draws(path) for path in paths):
        return compare_runs.compare(paths, reporter, test=test, output=output, runs=runs)
    if test is not None:
        raise SbiwbError("draws have no test pairs", where=f"--test {test}", todo="Leave it out.")
    return compare_draws.overlay(paths, reporter, output=output)
