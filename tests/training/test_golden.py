"""A run that loads for ever: checkpoints of every format there was give what they gave."""

import json
from pathlib import Path

import numpy as np
import pytest

from sbiwb.errors import CorruptFile
from sbiwb.files import FORMAT
from sbiwb.project.trained import load_posterior
from sbiwb.training import checkpoint
from sbiwb.training.checkpoint import put_checkpoint, read_checkpoint

DATA = Path(__file__).parents[1] / "data"
WRITTEN = sorted(DATA.glob("golden-*.pt"))


def test_every_format_has_its_golden_run():
    """A new format needs a file of its own, written by it, and an upgrade of the one before."""
    numbers = [int(path.stem.partition("-")[2]) for path in WRITTEN]
    assert numbers == list(range(1, FORMAT + 1))
    assert set(checkpoint.UPGRADES) == set(range(1, FORMAT))


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_a_golden_run_gives_its_golden_draws(path):
    golden = json.loads(path.with_suffix(".json").read_text())
    posterior = load_posterior(path)
    draws = posterior.sample(golden["x"], len(golden["draws"][0]), golden["seed"])
    assert draws == pytest.approx(np.array(golden["draws"]), rel=1e-4, abs=1e-5)
    log_q = posterior.log_prob(np.array(golden["draws"]), golden["x"])
    assert log_q == pytest.approx(np.array(golden["log_prob"]), rel=1e-4, abs=1e-4)
    features = posterior.features(golden["x"])[:, :4]
    assert features == pytest.approx(np.array(golden["features"]), rel=1e-4, abs=1e-5)


def test_an_older_checkpoint_is_upgraded_step_by_step(tmp_path, monkeypatch):
    path = tmp_path / "best.pt"
    put_checkpoint(path, {"rate": 1})
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    upgrades = {1: lambda old: {"speed": old["rate"]}, 2: lambda old: {"speed": old["speed"] + 1}}
    monkeypatch.setattr(checkpoint, "UPGRADES", upgrades)
    assert read_checkpoint(path) == {"speed": 2}


def test_a_checkpoint_of_the_future_asks_for_the_sbiwb_that_wrote_it(tmp_path, monkeypatch):
    path = tmp_path / "best.pt"
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    put_checkpoint(path, {"rate": 1})
    monkeypatch.undo()
    with pytest.raises(CorruptFile, match="has format 2, this version reads formats up to 1"):
        read_checkpoint(path)
