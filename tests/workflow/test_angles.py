"""An angle through the whole of it: its posterior lies across the seam, and the table takes it as
one piece."""

import numpy as np
import yaml

from sbiwb.project.observation_choice import named_observations
from sbiwb.project.trained import load_posterior
from sbiwb.workflow.sample import sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import Recorder, Tiny

SIMULATOR = '''"""A point on the circle, seen with noise; phase in degrees."""
import numpy as np


def simulate(phase, *, rng):
    angle = np.deg2rad(phase)
    return {"y": np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * rng.standard_normal((len(phase), 2))}
'''


def test_an_angle_at_the_seam_is_summarised_as_one_piece(tmp_path):
    changes = {
        "simulate": {"train": 4096, "validation": 256},
        "model": {
            "theta": {"phase": "circular"},
            "inference": {"kind": "ncsf", "transforms": 1, "hidden": [32]},
        },
        "train": {"steps": 600, "learning_rate": 5e-3},
    }
    tiny = Tiny.write(tmp_path / "p", changes, SIMULATOR)
    data = yaml.safe_load(tiny.yaml.read_text())
    data["problem"]["constants"] = {}
    data["problem"]["parameters"] = {"phase": {"kind": "uniform", "low": 0, "high": 360}}
    tiny.yaml.write_text(yaml.safe_dump(data, sort_keys=False))
    (tiny.folder / "seen.csv").write_text("y\n1.0\n0.0\n")
    project = tiny.open()
    simulate(project, Recorder())
    train(project, Recorder())
    row = sample(project, named_observations(project, None), Recorder(), draws=2000, seed=0)[
        0
    ].rows[0]
    assert (
        abs((row.mean + 180) % 360 - 180) < 3 and 3 < row.sd < 30
    )  # 5.7 degrees of noise, and a network trained for seconds
    draws = load_posterior(tiny.run).sample({"y": np.array([[1.0, 0.0]])}, 2000, 0)
    assert draws.min() >= 0 and draws.max() <= 360 and (draws < 90).any() and (draws > 270).any()
