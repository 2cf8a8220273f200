"""`simulate --more`: nothing that exists is touched, and the rows are those of asking for the
larger number at once."""

from __future__ import annotations

import numpy as np
import pytest

from sbiwb import config as yaml_config
from sbiwb.errors import ConfigError, RunError
from sbiwb.project.splits import load_split
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.simulate_plan import Planner
from sbiwb.workflow.status import status
from tests.tiny import Recorder, Tiny


def rows(project, split: str = "train") -> np.ndarray:
    pairs = load_split(project, split)
    return np.column_stack([pairs.theta["mu"], pairs.x["y"]])


def stamps(tiny: Tiny) -> dict:
    return {path: path.stat().st_mtime_ns for path in tiny.run.glob("data/*/shard-*")}


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("at_once"), {"simulate": {"train": 320, "test": 128}})
    simulate(tiny.open(), Recorder())
    return tiny


@pytest.mark.parametrize("start", [192, 256])  # whole shards
def test_growing_gives_the_same_shards_and_touches_none(tiny, recorder, at_once, start):
    project = tiny(simulate={"train": start})
    simulate(project.open(), recorder)
    before, times = project.shards(), stamps(project)
    simulate(Planner(project.open(), recorder).extended(f"train={320 - start},test=64"), recorder)
    assert project.shards() == at_once.shards()
    assert before.items() <= project.shards().items()
    assert times == {path: when for path, when in stamps(project).items() if path in times}


def test_growing_from_a_part_of_a_shard_gives_the_same_rows(tiny, recorder, at_once):
    project = tiny(simulate={"train": 90})  # three blocks: a shard and a half
    simulate(project.open(), recorder)
    before = project.shards()
    simulate(Planner(project.open(), recorder).extended("230"), recorder)
    assert before.items() <= project.shards().items()
    np.testing.assert_array_equal(rows(project.open("simulate.train=320")), rows(at_once.open()))


def test_the_run_remembers_and_grows_from_there(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    for expected in (288, 320):
        simulate(Planner(project.open(), recorder).extended("32"), recorder)
        assert yaml_config.load(project.run / "config.yaml").simulate.train == expected
    assert status(project.run).simulated["train"][:2] == (320, 320)


def test_a_yaml_that_says_less_is_told_and_takes_the_first_rows(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    first = rows(project.open())
    simulate(Planner(project.open(), recorder).extended("64"), recorder)
    told = [one for one in recorder.said if "this YAML says 256" in one]
    assert (
        len(told) == 1
        and f"sbiwb train {project.run}" in told[0]
        and "simulate.train: 320" in told[0]
    )
    np.testing.assert_array_equal(rows(project.open()), first)


def test_a_run_folder_needs_no_such_word(tiny, recorder):
    from sbiwb.project.opening import open_project

    project = tiny()
    simulate(project.open(), recorder)
    recorder.said.clear()
    simulate(Planner(open_project(project.run), recorder).extended("64"), recorder)
    assert not any("YAML" in one for one in recorder.said)
    assert len(load_split(open_project(project.run), "train")) == 320


@pytest.mark.parametrize("asked", ["-5", "0", "many", "trian=5", "train=5,7", "train=", "5,7"])
def test_what_cannot_be_read_is_refused(tiny, recorder, asked):
    project = tiny()
    with pytest.raises(ConfigError, match="cannot read"):
        Planner(project.open(), recorder).extended(asked)


def test_nothing_to_extend(tiny, recorder):
    with pytest.raises(RunError, match="has no simulations to extend"):
        Planner(tiny().open(), recorder).extended("5")


def test_another_runs_shards_are_extended_there(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    project.change({"name": "other", "simulate": {"from": "runs/tiny"}})
    with pytest.raises(RunError, match="uses the simulations of another run") as caught:
        Planner(project.open(), recorder).extended("5")
    assert str(project.run) in caught.value.todo
