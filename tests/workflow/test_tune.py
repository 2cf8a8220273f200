"""`tune`: finds the better settings, whoever is killed and however many work at it."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
import yaml

from sbiwb import claims
from sbiwb.errors import ConfigError, CorruptFile, RunError, Stopped, TrainingError
from sbiwb.project.opening import open_project
from sbiwb.steps.tune import journal as search_module
from sbiwb.steps.tune import search_results
from sbiwb.steps.tune.space import Choice, Range, parse_space, varied
from sbiwb.training.checkpoint import checkpoints
from sbiwb.workflow import tune as module
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.tune import tune
from tests.tiny import Child, Recorder, Tiny, until

TWO = "train.learning_rate=1e-7 | 1e-2"
SMALL = {"train": {"steps": 40}}
SLOW = {"train": {"steps": 240, "validate_every": 20, "checkpoint_every_s": 0.05}}


@pytest.fixture
def tiny(tmp_path):
    def make(**changes) -> Tiny:
        made = Tiny.write(tmp_path / "p", changes)
        simulate(made.open(), Recorder())
        return made

    return make


def found(tiny, **options):
    return tune(tiny.open(), Recorder(), **options)


def background(tiny, tmp_path, **options) -> Child:
    """The search in a fork of this process."""

    def work() -> int:
        try:
            found(tiny, **options)
        except Stopped as end:
            return end.exit_code
        return 0

    return Child.start(work, tmp_path / f"log-{time.monotonic_ns()}.txt")


class TestSearch:
    def test_it_finds_the_better_of_two(self, tiny):
        project = tiny(**SMALL)
        told = found(project, vary=[TWO], trials=4)
        assert [one.state for one in told.trials] == ["done"] * 4
        assert told.best.settings == {"train.learning_rate": "1e-2"} and told.best == told.ranked[0]
        assert {one.settings["train.learning_rate"] for one in told.trials} == {"1e-7", "1e-2"}
        assert yaml.safe_load((told.folder / "best.yaml").read_text()) == {
            "train": {"learning_rate": 0.01}
        }
        assert "--set train.learning_rate=1e-2" in told.lines
        assert (told.folder / "history.png").stat().st_size > 5000

    def test_trials_are_runs_on_the_simulations_of_the_parent(self, tiny):
        project = tiny(**SMALL)
        told = found(
            project,
            vary=["model.inference.hidden=[8] | [12, 12]", "train.batch_size=32..64"],
            trials=2,
        )
        assert sorted(path.name for path in project.run.glob("tune/trial-*")) == [
            "trial-0000",
            "trial-0001",
        ]
        for one in told.trials:
            run = open_project(one.run)
            assert not run.run.data.exists() and run.data_run.path.samefile(project.run)
            assert run.config.train.batch_size == int(one.settings["train.batch_size"])
            assert (
                str(run.config.model.inference.hidden).replace("(", "[")
                == one.settings["model.inference.hidden"]
            )
        assert told.importance == {}

    def test_the_usual_settings_without_vary(self, tiny):
        told = found(tiny(**SMALL), trials=1)
        settings = told.trials[0].settings
        assert list(settings) == [
            "train.learning_rate",
            "train.weight_decay",
            "model.inference.transforms",
        ]
        assert (
            3e-4 <= float(settings["train.learning_rate"]) <= 1e-2
            and 3 <= int(settings["model.inference.transforms"]) <= 8
        )

    def test_more_trials_go_on_with_the_space_it_had(self, tiny):
        project = tiny(**SMALL)
        first = found(project, vary=[TWO], trials=1)
        second = found(project, trials=2)
        assert second.trials[0] == first.trials[0] and len(second.trials) == 2
        assert found(project, trials=2) == second

    def test_bad_trials_end_early(self, tiny):
        recorder = Recorder()
        told = tune(
            tiny(train={"steps": 60}).open(),
            recorder,
            vary=["train.learning_rate=1e-7..2e-2 log"],
            trials=12,
        )
        pruned = [one for one in told.trials if one.state == "pruned"]
        assert pruned and all(one.loss >= told.best.loss for one in pruned)
        assert recorder.advanced["tune"] == 12

    def test_a_loss_that_leaves_the_numbers_ends_its_trial_alone(self, tiny, monkeypatch, recorder):
        plain = module.train

        def train(project, *rest, **options):
            if project.config.train.learning_rate == 1e-2:
                raise TrainingError("the loss was nan 20 times in a row")
            return plain(project, *rest, **options)

        project = tiny(**SMALL)
        monkeypatch.setattr(module, "train", train)
        told = tune(project.open(), recorder, vary=[TWO], trials=4)
        assert {
            one.state for one in told.trials if one.settings["train.learning_rate"] == "1e-2"
        } == {"failed"}
        assert told.best.settings["train.learning_rate"] == "1e-7"
        assert "trial-0" in recorder.warned[0] and "20 times in a row" in recorder.warned[0]

    def test_what_mattered_is_told_where_there_are_enough_trials(self, tiny, monkeypatch):
        monkeypatch.setattr(search_results, "MIN_TRIALS_FOR_IMPORTANCE", 5)
        told = found(tiny(**SMALL), vary=[TWO, "train.clip_norm=4.0 | 5.0"], trials=8)
        assert set(told.importance) == {"train.learning_rate", "train.clip_norm"}
        assert told.importance["train.learning_rate"] > 0.6 and sum(
            told.importance.values()
        ) == pytest.approx(1)

    def test_no_time_no_trial(self, tiny):
        told = found(tiny(**SMALL), vary=[TWO], minutes=0)
        assert told.trials == () and told.best is None and told.lines == ""

    def test_a_trial_out_of_time_is_left_to_the_next_call(self, tiny, monkeypatch):
        project, clock = tiny(**SMALL), iter([0.0, 1.0, 61.0])
        monkeypatch.setattr(
            module, "time", type("clock", (), {"monotonic": lambda: next(clock, 61.0)})
        )
        assert [one.state for one in found(project, vary=[TWO], trials=1, minutes=1).trials] == [
            "running"
        ]
        assert (
            checkpoints(project.run / "tune/trial-0000/train")[-1].name == "checkpoint-000000010.pt"
        )  # at its first validation
        monkeypatch.undo()
        assert [one.state for one in found(project, trials=1).trials] == ["done"]

    def test_without_optuna_the_command_to_install_it(self, tiny, monkeypatch):
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(
            ConfigError, match=r'sbiwb tune  needs a package: .*  pip install "sbiwb\[tune\]"'
        ):
            found(tiny(**SMALL))


class TestStopped:
    @pytest.mark.parametrize(
        "number, code", [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 75)]
    )
    def test_a_search_stopped_ends_as_one_left_alone(self, tmp_path, number, code):
        results = []
        for folder in ("alone", "stopped"):
            project = Tiny.write(tmp_path / folder, SLOW)
            simulate(project.open(), Recorder())
            if folder == "stopped":
                child = background(
                    project, tmp_path, vary=["train.learning_rate=1e-4..1e-2 log"], trials=3
                )
                until(lambda run=project.run: checkpoints(run / "tune/trial-0001/train"))
                assert child.kill_after(0, number) == code
                assert not (project.run / "tune/trial-0002").exists()
            results.append(found(project, vary=["train.learning_rate=1e-4..1e-2 log"], trials=3))
        alone, stopped = (
            [(one.run.name, one.state, one.settings, one.loss) for one in told.trials]
            for told in results
        )
        assert alone == stopped and [one[0] for one in alone] == [
            "trial-0000",
            "trial-0001",
            "trial-0002",
        ]

    def test_a_line_cut_by_a_kill_is_dropped(self, tiny):
        project = tiny(**SMALL)
        first = found(project, vary=[TWO], trials=1)
        journal = project.run / "tune/journal.log"
        with open(journal, "a") as file:
            file.write('{"op_code":4,"wor')
        assert (
            len(found(project, trials=2).trials) == 2
            and first.trials[0] == found(project, trials=2).trials[0]
        )

    def test_a_damaged_journal_is_told(self, tiny):
        project = tiny(**SMALL)
        found(project, vary=[TWO], trials=1)
        journal = project.run / "tune/journal.log"
        journal.write_text("nonsense\n" + journal.read_text())
        with pytest.raises(CorruptFile, match=r"journal.log  is damaged .* Move .*tune away"):
            found(project, trials=2)

    def test_a_silent_process_of_another_machine_loses_its_trial(self, tiny, monkeypatch):
        project = tiny(**SMALL)
        there = background(tiny(**SLOW), project.folder, vary=[TWO], trials=1)
        until(lambda: (project.run / "tune/trial-0000/train/best.pt").is_file())
        there.kill_after(0)
        monkeypatch.setattr(claims, "machine", lambda: "elsewhere")
        assert [
            one.state for one in tune(Tiny(project.folder).open(), Recorder(), trials=1).trials
        ] == ["running"]
        monkeypatch.setattr(search_module, "STALE_S", 0.0)
        monkeypatch.setattr(claims, "STALE_S", 0.0)
        assert [
            one.state for one in tune(Tiny(project.folder).open(), Recorder(), trials=1).trials
        ] == ["done"]


class TestTogether:
    def test_two_processes_share_the_trials(self, tiny, tmp_path):
        import optuna

        project = tiny(train={"steps": 150})
        children = [
            background(project, tmp_path, vary=["train.learning_rate=1e-4..1e-2 log"], trials=4)
            for _ in range(2)
        ]
        assert [child.wait() for child in children] == [0, 0], [child.output for child in children]
        told = found(project, trials=4)
        assert [one.state for one in told.trials] == ["done"] * 4
        assert len({one.settings["train.learning_rate"] for one in told.trials}) == 4
        with search_module.quiet(optuna):
            study = search_module.open_study(
                optuna, project.open().config.name, project.run / "tune"
            )
        assert {one.user_attrs["owner"]["pid"] for one in study.trials if one.params} == {
            child.pid for child in children
        }

    def test_under_srun_each_process_trains_alone(self, tiny, monkeypatch):
        for name, value in {
            "SLURM_NTASKS": "2",
            "SLURM_PROCID": "1",
            "RANK": "1",
            "WORLD_SIZE": "2",
        }.items():
            monkeypatch.setenv(name, value)
        assert [one.state for one in found(tiny(**SMALL), vary=[TWO], trials=1).trials] == ["done"]
        assert os.environ["SLURM_PROCID"] == "1"

    def test_one_simulates_and_the_others_wait_for_it(self, tmp_path):
        project = Tiny.write(tmp_path / "p", SMALL)
        children = [background(project, tmp_path, vary=[TWO], trials=2) for _ in range(2)]
        assert [child.wait() for child in children] == [0, 0], [child.output for child in children]
        assert not (project.run / "tune/simulating").exists()

    def test_another_space_is_refused(self, tiny):
        project = tiny(**SMALL)
        found(project, vary=[TWO], trials=1)
        with pytest.raises(
            RunError,
            match=r"holds another search: space.train.learning_rate: 1e-7 \| 1e-2 -> 0.1..0.2",
        ):
            found(project, vary=["train.learning_rate=0.1..0.2"], trials=2)
        with pytest.raises(RunError, match=r"holds another search: config.train.steps: 40 -> 50"):
            tune(project.open("train.steps=50"), Recorder(), trials=2)


class TestVary:
    @pytest.mark.parametrize(
        "text, axis",
        [
            ("3..8", Range(3, 8)),
            ("16 .. 256 log", Range(16, 256, log=True)),
            ("1e-4..1e-2 log", Range(1e-4, 1e-2, log=True)),
            ("0..0.5", Range(0, 0.5)),
            ("-1..1", Range(-1, 1)),
            ("[64, 64] | [128, 128]", Choice(("[64, 64]", "[128, 128]"))),
            ("null|5.0", Choice(("null", "5.0"))),
        ],
    )
    def test_what_can_be_said(self, text, axis):
        assert parse_space([f"train.x={text}"]) == {"train.x": axis}
        assert parse_space([f"train.x={axis.text}"]) == {"train.x": axis}

    def test_numbers_are_short_and_inside(self):
        assert Range(1e-4, 1e-2).setting(0.0032114567) == "0.00321"
        assert Range(0.12345, 1.0).setting(0.1234501) == "0.12345"
        assert Range(1, 8).setting(3) == "3" and Range(1, 8.5).setting(3) == "3.0"

    @pytest.mark.parametrize(
        "setting, message",
        [
            ("train.learning_rate", "is not KEY=RANGE or KEY=CHOICES"),
            (
                "train.learning_rate=1e-3",
                "leaves nothing to choose .* a single value goes to --set",
            ),
            (
                "train.learning_rate=a..b",
                "'a..b' is no range of numbers  Write 3..8, or 1e-4..1e-2 log",
            ),
            ("train.learning_rate=1e-2..1e-4", "goes from 0.01 down to 0.0001  Write 1e-4..1e-2"),
            ("train.learning_rate=0..1 log", "a range from 0 has no logarithm"),
            ("train.learning_rate=1 | 1", "empty or given twice"),
            (
                "simulate.train=100..200",
                "simulate.train cannot vary  Only keys of train and model can",
            ),
            ("model.theta=prior | standardize", "losses could not be compared"),
            (
                "train.learning_rte=1e-4..1e-2",
                "--vary train.learning_rte=0.0001  train.learning_rte  unknown key  did you mean "
                "'learning_rate'",
            ),
            (
                "train.learning_rate=-1..1",
                "--vary train.learning_rate=-1  train.learning_rate  must be greater than 0",
            ),
            ("train.batch_size=1e0..1e1", "train.batch_size  must be a whole number, not 6.56"),
            ("model.inference=nsf | nfs", "unknown inference network 'nfs', did you mean 'nsf'"),
            ("model.inference.hidden=[8] | [8", "not YAML"),
        ],
    )
    def test_mistakes_are_told_before_anything_runs(self, tmp_path, setting, message):
        project = Tiny.write(tmp_path, {})
        with pytest.raises(ConfigError, match=message):
            found(project, vary=[setting])
        assert not project.run.exists()

    def test_all_mistakes_at_once(self, tmp_path):
        with pytest.raises(ConfigError, match=r"(?s)unknown key.*must be greater"):
            found(Tiny.write(tmp_path, {}), vary=["train.stepz=1..2", "train.ema=-1..0.5"])

    def test_all_else_stays(self, tmp_path):
        project = Tiny.write(tmp_path, {}).open()
        config = varied(project.config, {"train.steps": "7"}, project.base)
        assert (
            config.train.steps == 7
            and varied(config, {"train.steps": "60"}, project.base) == project.config
        )
