"""A YAML with the problem alone, from its simulations to its posterior."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from sbiwb.errors import CorruptFile, RunError
from sbiwb.project.choices import is_complete, read_choices
from sbiwb.project.opening import open_project
from sbiwb.project.trained import load_posterior
from sbiwb.steps.choose import choose, halving, sizes
from sbiwb.workflow import train_choices
from sbiwb.workflow.check import check
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import SIMULATOR, Recorder, Tiny

WAVES = """
import numpy as np


def simulate(mu, *, rng, n):
    waves = np.sin(np.arange(n) * np.exp(0.3 * mu[:, None]) + rng.uniform(0, 6, (len(mu), 1)))
    return {"y": waves + 0.1 * rng.standard_normal((len(mu), n))}
"""


def alone(folder, steps, pairs, n=4, simulator=SIMULATOR, effort="quick"):
    tiny = Tiny.write(folder, {}, simulator)
    document = yaml.safe_load(tiny.yaml.read_text())
    del document["model"], document["problem"]["observations"]
    document["train"] = {"steps": steps}
    document["effort"] = effort
    document["problem"]["constants"] = {"n": n}
    document["simulate"] = {"train": pairs, "validation": 256, "test": 64, "seed": 3}
    tiny.yaml.write_text(yaml.safe_dump(document))
    return tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    tiny, recorder = alone(tmp_path_factory.mktemp("alone"), 400, 4_096), Recorder()
    simulate(tiny.open(), recorder)
    train(tiny.open(), recorder)
    return tiny


def test_the_posterior_is_the_exact_one(trained):
    y = np.array([[1.0, 0.5, 1.5, 1.0], [-2.0, 0.0, 1.0, -1.0]])
    draws = load_posterior(trained.run).sample({"y": y}, 2_000)[..., 0]
    assert draws.mean(axis=1) == pytest.approx(y.sum(axis=1) / 5, abs=0.08)
    assert draws.std(axis=1) == pytest.approx(np.sqrt([0.2, 0.2]), rel=0.1)


def test_the_runs_config_holds_every_key_and_gives_the_same_run(trained):
    own, again = open_project(trained.run), trained.open()
    assert is_complete(own.config) and is_complete(again.config)
    assert own.model_hash == again.model_hash
    assert own.config.train.steps == 400
    result = train(own, Recorder())
    assert result.facts.best_step <= 400 and result.seconds > 0


def test_a_key_that_is_written_later_is_another_model(trained):
    project = trained.open("train.batch_size=99")
    assert not is_complete(project.config)
    with pytest.raises(RunError, match="another model"):
        train(project, Recorder())
    # the choices now are those of the other, and are made again
    train(trained.open(), Recorder())


@pytest.mark.parametrize(
    ("section", "change"),
    [("train", {"ema": {}}), ("train", {"pace": 1}), ("model", {"inference": {"kind": "none"}})],
)
def test_choices_that_no_yaml_could_hold_are_a_damaged_file(trained, section, change):
    path = trained.run / "choices.json"
    intact = path.read_text()
    document = json.loads(intact)
    document[section] |= change
    path.write_text(json.dumps(document))
    try:
        with pytest.raises(CorruptFile, match=r"no YAML could hold.*Delete it"):
            trained.open()
    finally:
        path.write_text(intact)


def test_check_shows_what_would_be_chosen_and_writes_nothing(tmp_path):
    tiny = alone(tmp_path, 60, 256)
    found = check(tiny.open())
    told = {choice.key: choice.value for choice in found.choices}
    assert told["model.inputs.y.summary"] == "{kind: identity}"
    assert told["model.inputs.y.transforms"] == "[standardize]"
    assert "train.steps" not in told and told["train.batch_size"] == "256"
    assert not tiny.run.exists()


def test_a_trial_is_made_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "MIN_TRIAL_PAIRS", 100)
    monkeypatch.setattr(halving, "MIN_STEPS", 4)
    monkeypatch.setattr(sizes, "MAX_DECAY_PAIRS", 0)
    tiny = alone(tmp_path, 100, 512, n=12, simulator=WAVES, effort="standard")
    steps = {"model": {"uncertainty": "none"}}
    document = yaml.safe_load(tiny.yaml.read_text()) | steps
    tiny.yaml.write_text(yaml.safe_dump(document))
    simulate(tiny.open(), Recorder())
    complete = train_choices.complete(tiny.open(), Recorder())
    kept = read_choices(complete.run)
    names = {"identity", "mlp", "lstnet", "transformer", "true", "false"}
    assert {one.candidate for one in kept.trials} == names
    losses = {one.candidate: one.loss for one in kept.trials}
    assert np.isfinite(list(losses.values())).all() and len(kept.trials) >= 5
    monkeypatch.setattr(train_choices, "_chosen", None)
    assert train_choices.complete(tiny.open(), Recorder()).config == complete.config
