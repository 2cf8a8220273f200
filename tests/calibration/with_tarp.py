"""The tarp package's curve for given draws and references: argv[1] is the .npz of `peers.py`, the
last line of stdout is JSON."""

from __future__ import annotations

import json
import sys

import numpy as np
from tarp import get_tarp_coverage

if __name__ == "__main__":
    with np.load(sys.argv[1]) as data:
        draws, theta, references = (
            data[name].astype(float) for name in ("draws", "theta", "references")
        )
    ecp, alpha = get_tarp_coverage(draws.swapaxes(0, 1), theta, references=references, norm=False)
    print(
        "\n"
        + json.dumps(
            {
                "numbers": {"tarp_ecp": ecp.tolist(), "tarp_alpha": alpha.tolist()},
                "false_alarms": {},
            }
        )
    )
