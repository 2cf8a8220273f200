"""The verb `run`: its steps as events, and what it finds before anything is simulated."""

from __future__ import annotations

import pytest

from sbiwb.errors import DataError, GateFailed
from sbiwb.workflow import run, train_likelihoods
from sbiwb.workflow.diagnose import Diagnosis
from sbiwb.workflow.run import ObservationsSampled, PairsSimulated, ReportWritten, StepBegun


@pytest.fixture
def steps(monkeypatch):
    """Every step done in no time; the names of those that were called."""
    called: list[str] = []

    def stand_in(module, name: str, result: object) -> None:
        def step(*arguments: object, **options: object) -> object:
            called.append(name)
            return result

        monkeypatch.setattr(module, name, step)

    stand_in(run.simulate, "simulate", {"train": {"rows": 256}})
    stand_in(train_likelihoods, "train", "trained")
    stand_in(run.diagnose, "diagnose", FAILED)
    stand_in(run.sample, "sample", ["posterior"])
    stand_in(run.report, "report", "report.html")
    return called


FAILED = Diagnosis("fail", "one number fails", (), (), ())


def test_it_gives_each_step_and_its_result_in_order(tiny, recorder, steps):
    assert list(run.run(tiny().open(), recorder)) == [
        StepBegun(1, "simulate"),
        PairsSimulated({"train": {"rows": 256}}),
        StepBegun(2, "train"),
        "trained",
        StepBegun(3, "diagnose"),
        FAILED,
        StepBegun(4, "sample"),
        ObservationsSampled(["posterior"]),
        ReportWritten("report.html"),
    ]
    assert steps == ["simulate", "train", "diagnose", "sample", "report"]


def test_a_gate_stops_it_after_the_report(tiny, recorder, steps):
    with pytest.raises(GateFailed, match="one number fails"):
        list(run.run(tiny().open(), recorder, gate=True))
    assert steps == ["simulate", "train", "diagnose", "report"]


def test_without_observations_nothing_is_sampled(tiny, recorder, steps):
    events = list(run.run(tiny().open("problem.observations={}"), recorder))
    assert events[-2:] == [ObservationsSampled(()), ReportWritten("report.html")]
    assert "sample" not in steps


def test_a_wrong_column_is_found_before_anything_is_simulated(tiny, recorder):
    observation = {"file": "seen.csv", "columns": {"y": "z"}}
    project = tiny(problem={"observations": {"seen": observation}})
    events = run.run(project.open(), recorder)
    assert next(events) == StepBegun(1, "simulate")
    with pytest.raises(DataError, match="has no column 'z'"):
        next(events)
    assert project.shards() == {}
