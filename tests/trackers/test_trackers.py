"""Trackers: TensorBoard for real; wandb and MLflow against fakes with the signatures of the real
packages (tried for real by hand)."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest

from sbiwb.errors import ConfigError
from sbiwb.trackers import family

CONFIG = {"train": {"steps": 5, "learning_rate": 1e-3}, "machine": {"tracking": ["wandb"]}}


def built(folder, kind, **options):
    return family.parse({"kind": kind, **options}).build(folder, "tiny")


def logged(tracker, steps, *, after=0, finished=True):
    where = tracker.start(CONFIG, step=after)
    for step in steps:
        tracker.log(step, {"validation_loss": 1 / step})
    tracker.close(finished=finished)
    return where


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_told_with_its_command(tmp_path, monkeypatch, kind):
    monkeypatch.setitem(sys.modules, kind, None)
    if kind == "tensorboard":
        monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(
        ConfigError,
        match=rf'machine.tracking: {kind}  needs a package: .*  pip install "sbiwb\[{kind}\]"',
    ):
        built(tmp_path, kind)


class TestTensorBoard:
    def curve(self, folder):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        read = EventAccumulator(str(folder / "tensorboard"))
        read.Reload()
        assert read.Tags()["tensors"] == ["config/text_summary"]
        return {one.step: one.value for one in read.Scalars("validation_loss")}, read

    def test_what_is_logged_is_in_the_event_file(self, tmp_path):
        where = logged(built(tmp_path, "tensorboard"), [10, 20])
        curve, read = self.curve(tmp_path)
        assert (
            curve == pytest.approx({10: 0.1, 20: 0.05})
            and where == f"tensorboard --logdir {tmp_path / 'tensorboard'}"
        )
        text = read.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
        assert json.loads(text.strip("`\n")) == CONFIG

    def test_steps_after_a_kill_count_once(self, tmp_path):
        logged(built(tmp_path, "tensorboard"), [10, 20, 30], finished=False)
        logged(built(tmp_path, "tensorboard"), [30, 40], after=20)
        read = self.curve(tmp_path)[1]
        assert [one.step for one in read.Scalars("validation_loss")] == [10, 20, 30, 40]


@dataclass
class FakeWandb:
    """What of wandb 0.31 is used; each call must fit the real signature."""

    mode: str = "online"
    key: bool = True
    calls: list = field(default_factory=list)

    def module(self):
        package = ModuleType("wandb")
        package.init, package.login, package.Settings = self.init, self.login, SimpleNamespace
        package.setup = lambda settings=None: SimpleNamespace(
            settings=SimpleNamespace(mode=self.mode)
        )
        return package

    def login(
        self,
        key=None,
        relogin=None,
        host=None,
        force=None,
        timeout=None,
        verify=False,
        referrer=None,
        prompt=True,
    ):
        assert not prompt
        return self.key

    def init(self, entity=None, project=None, dir=None, id=None, name=None, notes=None, tags=None, config=None, group=None, job_type=None,
             mode=None, force=None, reinit=None, resume=None, allow_val_change=None, save_code=None, settings=None):  # fmt: skip
        self.calls.append(
            (
                "init",
                {
                    name: value
                    for name, value in locals().items()
                    if value is not None and name != "self"
                },
            )
        )
        return self

    offline, dir, url = False, "there/run/files", "https://wandb.ai/me/sbiwb/runs/1"

    def log(self, data, step=None, commit=None):
        self.calls.append(("log", step, data))

    def finish(self, exit_code=None):
        self.calls.append(("finish", exit_code))


class TestWandb:
    @pytest.fixture
    def fake(self, monkeypatch):
        fake = FakeWandb()
        monkeypatch.setitem(sys.modules, "wandb", fake.module())
        return fake

    def test_calls(self, tmp_path, fake):
        assert logged(built(tmp_path, "wandb", project="p", tags=["a"]), [10]) == fake.url
        (_, init), *rest = fake.calls
        assert (init["project"], init["tags"], init["name"], init["resume"], init["config"]) == (
            "p",
            ["a"],
            "tiny",
            "allow",
            CONFIG,
        )
        assert init["dir"] == str(tmp_path) and "mode" not in init  # WANDB_MODE stays in force
        assert init["settings"].console == "off" and init["settings"].disable_git
        assert rest == [("log", 10, {"validation_loss": 0.1}), ("finish", 0)]

    def test_a_resumed_training_goes_on_in_the_same_run(self, tmp_path, fake):
        logged(built(tmp_path, "wandb"), [10], finished=False)
        logged(built(tmp_path, "wandb"), [20], after=10)
        first, second = [call[1]["id"] for call in fake.calls if call[0] == "init"]
        assert first == second == (tmp_path / "wandb.id").read_text()
        assert [call for call in fake.calls if call[0] == "finish"] == [
            ("finish", 1),
            ("finish", 0),
        ]

    def test_without_a_key_it_does_not_ask_the_terminal(self, tmp_path, fake):
        fake.key = False
        with pytest.raises(ConfigError, match="no API key  Run `wandb login`"):
            logged(built(tmp_path, "wandb"), [10])
        assert fake.calls == []
        fake.mode = "offline"
        logged(built(tmp_path, "wandb"), [10])

    def test_offline_says_how_to_send_it(self, tmp_path, fake):
        fake.mode, fake.offline = "offline", True
        assert logged(built(tmp_path, "wandb"), [10]) == "wandb sync there/run"


class FakeMlflow:
    """What of mlflow 3.17 is used, one store in memory; each call must fit the real signature."""

    class MlflowException(Exception):
        pass

    def __init__(self):
        self.runs, self.experiments, self.uris = {}, {}, []

    def module(self):
        package = ModuleType("mlflow")
        package.MlflowClient, package.get_tracking_uri = (
            self.client,
            lambda: "https://me:secret@there/mlflow",
        )
        package.exceptions = SimpleNamespace(MlflowException=self.MlflowException)
        package.entities = SimpleNamespace(
            Metric=lambda key, value, timestamp, step, model_id=None: SimpleNamespace(
                key=key, value=value, step=step
            ),
            Param=lambda key, value: (key, value),
        )
        return package

    def client(self, tracking_uri=None, registry_uri=None):
        self.uris.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name):
        return (
            SimpleNamespace(experiment_id=self.experiments[name])
            if name in self.experiments
            else None
        )

    def create_experiment(self, name, artifact_location=None, tags=None):
        return self.experiments.setdefault(name, str(len(self.experiments)))

    def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
        run_id = f"run{len(self.runs)}"
        self.runs[run_id] = {"name": run_name, "status": "RUNNING", "params": {}, "metrics": []}
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def get_run(self, run_id):
        if run_id not in self.runs:
            raise self.MlflowException("no such run")
        return SimpleNamespace(
            data=SimpleNamespace(
                metrics={one.key: one.value for one in self.runs[run_id]["metrics"]}
            )
        )

    def get_metric_history(self, run_id, key):
        return [one for one in self.runs[run_id]["metrics"] if one.key == key]

    def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
        assert len(params) <= 100
        self.runs[run_id]["metrics"] += metrics
        self.runs[run_id]["params"] |= dict(params)

    def update_run(self, run_id, status=None, name=None):
        self.runs[run_id]["status"] = status

    def set_terminated(self, run_id, status=None, end_time=None):
        self.runs[run_id]["status"] = status


class TestMlflow:
    @pytest.fixture
    def fake(self, monkeypatch):
        fake = FakeMlflow()
        monkeypatch.setitem(sys.modules, "mlflow", fake.module())
        return fake

    def test_calls(self, tmp_path, fake):
        where = logged(built(tmp_path, "mlflow", experiment="e"), [10])
        run = fake.runs["run0"]
        assert where == "experiment e, run tiny in https://there/mlflow" and fake.uris == [None]
        assert run["params"] == {
            "train.steps": "5",
            "train.learning_rate": "0.001",
            "machine.tracking": "['wandb']",
        }
        assert (
            run["name"] == "tiny"
            and run["status"] == "FINISHED"
            and [(m.step, m.value) for m in run["metrics"]] == [(10, 0.1)]
        )

    def test_a_resumed_training_goes_on_in_the_same_run_and_repeats_nothing(self, tmp_path, fake):
        logged(built(tmp_path, "mlflow"), [10, 20, 30], finished=False)
        assert fake.runs["run0"]["status"] == "KILLED"
        logged(built(tmp_path, "mlflow"), [30, 40], after=20)
        assert [one.step for one in fake.runs["run0"]["metrics"]] == [10, 20, 30, 40] and len(
            fake.runs
        ) == 1

    def test_another_store_gets_a_run_of_its_own(self, tmp_path, fake):
        (tmp_path / "mlflow.id").write_text("elsewhere")
        logged(built(tmp_path, "mlflow"), [10])
        assert (tmp_path / "mlflow.id").read_text() == "run0"

    @pytest.mark.parametrize(
        "uri",
        [
            "https://me:secret@there/mlflow",
            "https://token@there",
            "postgresql://me:secret@there/db",
        ],
    )
    def test_a_secret_in_the_yaml_is_refused(self, uri):
        with pytest.raises(ValueError, match="holds a user or a password; set MLFLOW_TRACKING_URI"):
            family.parse({"kind": "mlflow", "uri": uri})


def test_the_contract_is_kept():
    for kind in family.names():
        build = inspect.signature(family.config(kind).build)
        assert list(build.parameters) == ["self", "folder", "name"]
