"""Draws larger than memory: N = 10,000, S = 1,000, D = 50 within 2 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, resource, sys, time
import numpy as np
from sbiwb.diagnostics import family
from sbiwb.evidence import Draws, Quantity

N, S, D = 10_000, 1_000, 50


class Made:
    '''Rows that are made when they are read: centre[row] + 0.5 * noise, the same each time.'''

    def __init__(self, centre, shape):
        self.centre, self.shape, self.dtype = centre, shape, np.dtype(np.float32)

    def __getitem__(self, rows):
        wanted = np.arange(self.shape[0])[rows]
        found = np.empty((len(wanted), *self.shape[1:]), np.float32)
        for at, row in enumerate(wanted):
            noise = np.random.Generator(np.random.SFC64(int(row))).standard_normal(self.shape[1:], dtype=np.float32)
            found[at] = self.centre[row] + 0.5 * noise
        return found


rng = np.random.default_rng(0)
centre = rng.standard_normal((N, D))
theta = centre + 0.5 * rng.standard_normal((N, D))
draws = Draws(
    tuple(f"theta_{j}" for j in range(D)), theta, Made(centre, (N, S, D)), np.full(D, 1.25),
    log_prob_theta=theta[:, 0], log_prob_draws=Made(centre[:, 0], (N, S)),
    quantities={"first": Quantity(theta[:, 0], Made(centre[:, 0], (N, S)))},
    prior_draws=np.sqrt(1.25) * rng.standard_normal((N, D)), unconstrain=lambda rows: rows / np.sqrt(1.25), ridge_prediction=centre / np.sqrt(1.25),
)
told = {}
for kind in sys.argv[1:]:
    module, config, start = family.module(kind), family.parse(kind), time.perf_counter()
    result = module.compute(draws, config)
    seconds = time.perf_counter() - start
    told[kind] = {
        "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "seconds": seconds,
        "missing": [value.reason for value in result.values if value.value is None],
        "rejected": sum(value.p is not None and value.p < 1e-4 for value in result.values),
    }
print(json.dumps(told))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_draws_larger_than_memory(capsys):
    from tests.diagnostics.test_contract import ON_DRAWS

    root = Path(__file__).parents[2]
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, *ON_DRAWS],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
    )
    found = json.loads(told.stdout)
    with capsys.disabled():
        print(
            "",
            *(
                f"{kind:20s} {one['seconds']:7.1f} s   peak so far {one['gb']:.2f} GB"
                for kind, one in found.items()
            ),
            sep="\n",
        )
    assert not [kind for kind, one in found.items() if one["missing"] or one["rejected"]]
    assert max(one["gb"] for one in found.values()) < 2
