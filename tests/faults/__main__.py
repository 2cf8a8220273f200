"""`make faults`: every fault of the simulation's matrix in one table; `--quick` for samples, words
to choose rows by number or name."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    """1 where a row is not as expected."""
    from tests.faults import cluster  # here, for spawned workers import this file too
    from tests.faults.table import FAULTS, HEAD, is_meant, line, summary, tried

    asked = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    asked.add_argument(
        "words", nargs="*", help="Only rows of this number, or with this word in their name."
    )
    asked.add_argument(
        "--quick",
        action="store_true",
        help="A sample of each fault, and none that has tests elsewhere.",
    )
    given = asked.parse_args()
    print(HEAD, flush=True)
    rows = []
    for fault in FAULTS if given.quick else [*FAULTS, *cluster.FAULTS]:
        if is_meant(fault, given.words):
            rows.append(tried(fault, full=not given.quick))
            print(line(rows[-1]), flush=True)
            if rows[-1].verdict:  # a busy machine can kill too early; a real fault comes again
                rows[-1] = tried(fault, full=not given.quick)
                print(f"again: {line(rows[-1])}", flush=True)
    print(summary(rows))
    return any(row.verdict for row in rows)


if __name__ == "__main__":
    sys.exit(main())
