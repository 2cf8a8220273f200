"""C2ST against scikit-learn's, on 10,000 draws a side: seconds, their ratios, and how far the
numbers are apart.

    python -m tests.bench.c2st

Ours: `sbiwb.distances.c2st`, its networks in C on all cores. Theirs: `tests.c2st`, on as many cores
as its BLAS takes. Both in turn, so that a busy machine hits both; `of cpu` is the ratio of the
processors' seconds, which other work on the machine moves less. `--sides N` takes other sizes,
`--dimensions D ...` other dimensions, `--seeds N` more than one pair each.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.stats import norm

from sbiwb.distances import c2st, c2st_many
from tests import c2st as theirs

SHIFTS = (0.0, 0.5)  # best accuracies 0.5 and 0.599


def pair(dimension: int, shift: float, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two normals whose means are `shift` apart: no classifier does better than Phi(shift / 2)."""
    rng = np.random.default_rng([dimension, seed])
    return rng.normal(size=(size, dimension)), rng.normal(
        shift / np.sqrt(dimension), 1, (size, dimension)
    )


def timed(distance, both: tuple[np.ndarray, np.ndarray], seed: int) -> tuple[float, float, float]:
    """The distance, seconds, and those of the processors."""
    start, busy = time.perf_counter(), time.process_time()
    found = distance(*both, seed=seed)
    return found, time.perf_counter() - start, time.process_time() - busy


def compare(dimension: int, shift: float, size: int, seeds: int) -> np.ndarray:
    """Ours, then theirs, each with its seconds, for each seed: (6, seeds)."""
    runs = []
    for seed in range(1, seeds + 1):
        both = pair(dimension, shift, size, seed)
        runs.append([*timed(c2st, both, seed), *timed(theirs.c2st, both, seed)])
    return np.array(runs).T


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 5, 10])
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args()
    c2st_many([pair(2, 0.0, 100, 0)])  # compiles
    print("  D  shift   best    ours  theirs   apart  ours, s theirs, s  ratio of cpu")
    for dimension in chosen.dimensions:
        for shift in SHIFTS:
            ours, seconds, busy, other, their_seconds, their_busy = compare(
                dimension, shift, chosen.sides, chosen.seeds
            )
            found = f"{ours.mean():7.4f} {other.mean():7.4f} {np.abs(ours - other).max():7.4f}"
            spent = f"{np.median(seconds):8.2f} {np.median(their_seconds):9.2f}"
            ratios = (
                f"{np.median(their_seconds / seconds):6.1f} {np.median(their_busy / busy):6.1f}"
            )
            print(
                f"{dimension:3} {shift:6} {norm.cdf(shift / 2):6.3f} {found} {spent} {ratios}",
                flush=True,
            )


if __name__ == "__main__":
    main()
