"""The verb `benchmark`: a small grid on two closed-form tasks; what is scored is not done again,
and what changed is."""

from __future__ import annotations

import bz2
import csv
import json
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from sbiwb.cli.app import app
from sbiwb.errors import (
    ConfigError,
    ConfigErrors,
    CorruptFile,
    DataError,
    RunError,
    SimulatorError,
    Stopped,
)
from sbiwb.report.published import published_c2st, published_scores
from sbiwb.report.scoreboard import (
    BUDGETS,
    Score,
    Spread,
    published_tables,
    scoreboard,
    scoreboard_csv,
    scoreboard_markdown,
    scoreboard_picture,
)
from sbiwb.steps.exact import job_scores
from sbiwb.steps.exact.reference_posteriors import reference_sets
from sbiwb.workflow import benchmark as module
from sbiwb.workflow import benchmark_run
from sbiwb.workflow.benchmark import Selection, benchmark, open_benchmark, share, write_scoreboard
from sbiwb.workflow.worker import worker
from tests.tiny import Recorder

NORMAL = '''"""x = theta + noise."""


def simulate(theta, noise, *, rng):
    return {"x": theta + noise * rng.standard_normal(theta.shape)}
'''
TASK = {
    "problem": {
        "simulator": "normal.py",
        "parameters": {"theta": {"kind": "normal", "shape": [2]}},
    },
    "simulate": {"seed": 1},
    "model": {
        "inputs": {"x": {"as": "vector", "summary": {"kind": "mlp", "hidden": [8]}}},
        "inference": {"kind": "nsf", "transforms": 1, "hidden": [8], "bins": 4},
    },
    "train": {"steps": 20, "batch_size": 32, "validate_every": 10, "patience": None},
}
NOISE = {"wide": 1.0, "narrow": 0.5}
GRID = {
    "name": "small",
    "tasks": {name: f"{name}.yaml" for name in NOISE},
    "references": "exact",
    "budgets": [100, 200],
    "methods": {"plain": {}},
    "seeds": [0, 1],
    "draws": 100,
    "scores": ["c2st_marginals", "pqmass"],
    "observations": 2,
    "test": 20,
}


@dataclass(frozen=True)
class Small:
    """A benchmark's folder."""

    folder: Path

    @classmethod
    def write(cls, folder: Path, **changes) -> Small:
        folder.mkdir(exist_ok=True)
        (folder / "normal.py").write_text(NORMAL)
        for name, noise in NOISE.items():
            task = {
                **TASK,
                "name": name,
                "problem": {**TASK["problem"], "constants": {"noise": noise}},
            }
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
            exact(folder / "exact" / f"{name}.h5", noise)
        small = cls(folder)
        small.change(**changes)
        return small

    def change(self, **changes) -> None:
        (self.folder / "small.yaml").write_text(
            yaml.safe_dump({**GRID, **changes}, sort_keys=False)
        )

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "small"

    def open(self):
        return open_benchmark(self.folder / "small.yaml", runs=self.folder / "runs")

    def compete(self, reporter=None, **chosen):
        return benchmark(self.open(), reporter or Recorder(), Selection(**chosen))

    def stamps(self) -> dict[str, int]:
        """When each job was scored and trained."""
        files = [*self.run.glob("jobs/*/score.json"), *self.run.glob("jobs/*/train/best.pt")]
        return {str(path.relative_to(self.run / "jobs")): path.stat().st_mtime_ns for path in files}

    def record(self, task: str, seed: int) -> dict:
        return json.loads((self.run / f"jobs/{task}-100-plain-{seed}/score.json").read_text())

    def scores(self) -> dict[str, list[float]]:
        return {
            path.parent.name: json.loads(path.read_text())["c2st"]
            for path in self.run.glob("jobs/*/score.json")
        }


def exact(
    path: Path, noise: float, *, size: int = 2, draws: int = 100, observations: int = 3
) -> None:
    """Exact posteriors in the format of the field's: theta ~ N(0, 1), x ~ N(theta, noise²)."""
    path.parent.mkdir(exist_ok=True)
    rng, shrink = np.random.default_rng(0), 1 / (1 + noise**2)
    with h5py.File(path, "w") as file:
        for number in range(1, observations + 1):
            theta = rng.standard_normal(size)
            x = theta + noise * rng.standard_normal(size)
            found = shrink * x + noise * math.sqrt(shrink) * rng.standard_normal((draws, size))
            for name, values in {
                "x": x[None],
                "theta_true": theta[None],
                "reference_posterior": found,
            }.items():
                file[f"observation_{number}/{name}"] = values


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The whole grid, done once; tests that change it take a copy."""
    small = Small.write(tmp_path_factory.mktemp("benchmark"), budgets=[100])
    small.compete()
    return small


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "copy")
    return Small(tmp_path / "copy")


def test_every_job_has_a_score(finished):
    jobs = {f"{task}-100-plain-{seed}" for task in NOISE for seed in (0, 1)}
    assert set(finished.scores()) == jobs
    told = json.loads((finished.run / "jobs" / "wide-100-plain-1" / "score.json").read_text())
    assert (
        told["observations"] == [1, 2]
        and all(0.3 < one <= 1 for one in told["c2st"])
        and 1 < told["nlpd"] < 6
    )
    assert (
        set(told["seconds"]) == {"train", "draws", "c2st", "c2st_marginals", "pqmass", "simulate"}
        and min(told["seconds"].values()) > 0
    )
    assert {path.name for path in (finished.run / "simulations").iterdir()} == {
        "wide-100",
        "narrow-100",
    }


def test_numbers_of_the_scoreboard_are_means_of_the_scores(finished):
    scores = finished.scores()
    rows = {
        row["task"]: row
        for row in csv.DictReader((finished.run / "scoreboard.csv").read_text().splitlines())
    }
    markdown = (finished.run / "scoreboard.md").read_text()
    for task in NOISE:
        means = [np.mean(scores[f"{task}-100-plain-{seed}"]) for seed in (0, 1)]
        assert (
            float(rows[task]["c2st"]) == pytest.approx(np.mean(means))
            and int(rows[task]["seeds"]) == 2
        )
        assert float(rows[task]["sd"]) == pytest.approx(abs(means[0] - means[1]) / math.sqrt(2))
        assert (
            f"| {task} | plain | {np.mean(means):.3f} ± {float(rows[task]['sd']):.3f} |" in markdown
        )
        of_seeds = [np.mean(finished.record(task, seed)["further"]["pqmass"]) for seed in (0, 1)]
        assert float(rows[task]["pqmass"]) == pytest.approx(np.mean(of_seeds))
        assert float(rows[task]["pqmass_sd"]) == pytest.approx(np.std(of_seeds, ddof=1))
    assert (finished.run / "scoreboard.png").stat().st_size > 5000
    assert len(json.loads((finished.run / "scores.json").read_text())["scores"]) == 4


def test_a_second_call_does_nothing(copied, monkeypatch):
    before = copied.stamps()
    monkeypatch.setattr(benchmark_run.train, "train", None)
    monkeypatch.setattr(module.simulate, "simulate", None)
    board = copied.compete()
    assert copied.stamps() == before and (board.done, board.jobs) == (4, 4)


def test_the_run_opens_by_its_folder_and_is_the_same(finished):
    again = open_benchmark(finished.run)
    assert again.folder == finished.run
    assert write_scoreboard(again).lines == write_scoreboard(finished.open()).lines


def test_a_new_seed_adds_only_itself(copied):
    before = copied.stamps()
    copied.change(budgets=[100], seeds=[0, 1, 5])
    board = copied.compete(tasks=("wide",))
    after = copied.stamps()
    assert {name: after[name] for name in before} == before
    assert {name.partition("/")[0] for name in set(after) - set(before)} == {"wide-100-plain-5"}
    assert (board.done, board.jobs) == (5, 6)


def test_a_changed_method_redoes_only_its_own_jobs(copied):
    copied.change(budgets=[100], seeds=[0], methods={"plain": {}, "longer": {"train.steps": 30}})
    copied.compete(tasks=("wide",))
    before = copied.stamps()
    copied.change(budgets=[100], seeds=[0], methods={"plain": {}, "longer": {"train.steps": 40}})
    copied.compete(tasks=("wide",))
    after = copied.stamps()
    assert {name for name in after if after[name] != before.get(name)} == {
        "wide-100-longer-0/score.json",
        "wide-100-longer-0/train/best.pt",
    }
    assert (copied.run / "jobs/wide-100-longer-0/train.before-1").is_dir()


def test_other_references_or_more_observations_are_scored_anew_without_training(copied):
    before = copied.stamps()
    exact(copied.folder / "exact" / "wide.h5", 0.9)
    copied.compete()
    changed = {name for name, stamp in copied.stamps().items() if stamp != before[name]}
    assert changed == {f"wide-100-plain-{seed}/score.json" for seed in (0, 1)}
    copied.change(budgets=[100], observations=3)
    copied.compete(tasks=("narrow",), seeds=(0,))
    assert len(copied.scores()["narrow-100-plain-0"]) == 3


def test_scores_of_before_are_read_and_lacking_ones_added_without_training(copied, monkeypatch):
    path = copied.run / "jobs/wide-100-plain-0/score.json"
    old = json.loads(path.read_text())
    further = old.pop("further")
    path.write_text(json.dumps({**old, "c2st": [0.25, 0.5]}))
    board = write_scoreboard(copied.open())
    assert board.done == 4 and "pqmass" not in board.lines[0].further
    before, recorder = copied.stamps(), Recorder()
    copied.compete(recorder, tasks=("wide",))
    changed = {name for name, stamp in copied.stamps().items() if stamp != before[name]}
    assert changed == {"wide-100-plain-0/score.json"}
    assert recorder.said[1:] == [
        "To trainings that were scored before without, scores are added: "
        "c2st_marginals to 1, pqmass to 1."
    ]
    new = copied.record("wide", 0)
    assert new["c2st"] == [0.25, 0.5] and new["further"] == further


def test_the_forest_is_left_out_with_a_sentence_where_it_is_missing(copied, monkeypatch):
    monkeypatch.setitem(job_scores.SCORERS, "c2st_forest", lambda pairs: [0.5 + len(pairs)] * 2)
    find = job_scores.importlib.util.find_spec
    copied.change(budgets=[100], scores=["c2st_marginals", "pqmass", "c2st_forest"])
    missing, there = Recorder(), Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(
            job_scores.importlib.util,
            "find_spec",
            lambda name, *package: None if name == "sklearn" else find(name, *package),
        )
        copied.compete(missing, tasks=("wide",), seeds=(0,))
    assert 'needs pip install "sbiwb[benchmark]"' in missing.said[1]
    assert "c2st_forest" not in copied.record("wide", 0)["further"]
    copied.compete(there, tasks=("wide",), seeds=(0,))
    assert there.said[1:] == [
        "To trainings that were scored before without, scores are added: c2st_forest to 1."
    ]
    assert copied.record("wide", 0)["further"]["c2st_forest"] == [2.5, 2.5]


def test_more_test_pairs_are_simulated(copied):
    copied.change(budgets=[100], test=40)
    copied.compete(tasks=("wide",), seeds=(0,))
    assert (
        sum(
            one.stat().st_size > 0
            for one in (copied.run / "simulations/wide-100/data/test").glob("*.h5")
        )
        >= 1
    )
    board = write_scoreboard(copied.open())
    assert board.done == 1  # of the others, -log q was the mean over fewer


def test_a_job_that_fails_is_told_and_the_others_are_done(tmp_path, monkeypatch):
    small, recorder = Small.write(tmp_path, budgets=[100], seeds=[0]), Recorder()
    real = benchmark_run.train.train

    def failing(project, reporter, **options):
        if "narrow-100-plain-0" in str(project.run.path):
            raise SimulatorError("broke", where="here", todo="Mend it.")
        return real(project, reporter, **options)

    monkeypatch.setattr(benchmark_run.train, "train", failing)
    with pytest.raises(SimulatorError, match="broke"):
        small.compete(recorder)
    assert set(small.scores()) == {"wide-100-plain-0"} and any(
        "narrow-100-plain-0: here  broke" in one for one in recorder.warned
    )
    before = small.stamps()
    monkeypatch.setattr(benchmark_run.train, "train", real)
    assert small.compete().done == 2
    assert {name: stamp for name, stamp in small.stamps().items() if name in before} == before


def test_a_task_that_cannot_be_simulated_does_not_keep_the_others_from_their_scores(tmp_path):
    small = Small.write(tmp_path, budgets=[100], seeds=[0])
    bad = yaml.safe_load((tmp_path / "wide.yaml").read_text())
    bad["problem"]["simulator"] = "broken.py"
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(bad))
    (tmp_path / "broken.py").write_text(
        "def simulate(theta, noise, *, rng):\n    return {'x': theta + missing}\n"
    )
    with pytest.raises(SimulatorError, match="simulations failed"):
        small.compete()
    assert set(small.scores()) == {"narrow-100-plain-0"}


def test_a_stop_ends_all_at_once(tmp_path, monkeypatch):
    small, begun = Small.write(tmp_path, budgets=[100]), []

    def stopped(project, reporter, **options):
        begun.append(project.run.name)
        raise Stopped("by a signal", where="train", todo="Run it again.")

    monkeypatch.setattr(benchmark_run.train, "train", stopped)
    with pytest.raises(Stopped):
        small.compete()
    assert len(begun) == 1


def test_workers_share_the_jobs(tmp_path):
    """Simulations first; then the trainings, each done by exactly one."""
    small = Small.write(tmp_path, budgets=[100], seeds=[0])
    opened = small.open()
    module.grid.write_plan(opened, Selection())
    assert [share(opened.folder, Recorder(), index=i, count=2) for i in (0, 1)] == [1, 1]
    assert not small.scores()
    assert [worker(opened.folder, Recorder(), index=i, count=2) for i in (0, 1)] == [1, 1]
    assert set(small.scores()) == {"wide-100-plain-0", "narrow-100-plain-0"}
    assert share(opened.folder, Recorder(), index=0, count=1) == 0


def test_workers_do_what_was_chosen_and_note_what_failed(tmp_path, monkeypatch):
    small = Small.write(tmp_path, budgets=[100], seeds=[0])
    opened = small.open()
    module.grid.write_plan(opened, Selection(tasks=("narrow",)))
    assert share(opened.folder, Recorder(), index=0, count=1) == 1
    assert [path.name for path in (opened.folder / "simulations").iterdir()] == ["narrow-100"]

    def failing(*arguments, **options):
        raise RunError("no memory", where="here", todo="Ask for more.")

    monkeypatch.setattr(benchmark_run.train, "train", failing)
    with pytest.raises(RunError, match="no memory"):
        share(opened.folder, Recorder(), index=0, count=1)
    assert (
        json.loads((opened.folder / "jobs/element-0-of-1.json").read_text())["failure"]["what"]
        == "no memory"
    )


@pytest.mark.slow
def test_a_pool_gives_the_same_scores(finished, tmp_path):
    small = Small.write(tmp_path / "pool", budgets=[100], executor={"kind": "pool", "workers": 2})
    small.compete()
    assert small.scores() == finished.scores()


# what is refused


def test_what_does_not_fit_is_told_before_anything_is_simulated(tmp_path):
    small = Small.write(tmp_path, budgets=[100])
    exact(tmp_path / "exact" / "narrow.h5", 0.5, size=3)
    with pytest.raises(
        DataError, match=r"narrow\.yaml  has 2 parameters, its reference posteriors 3"
    ):
        small.compete()
    (tmp_path / "exact" / "narrow.h5").unlink()
    with pytest.raises(
        DataError, match=r"narrow\.h5  no reference posteriors of this task  The folder has: wide"
    ):
        small.compete()
    with pytest.raises(RunError, match=r"small  no tasks wides  There are: wide, narrow"):
        small.compete(tasks=("wides",))
    with pytest.raises(RunError, match="no budgets 7  There are: 100"):
        small.compete(budgets=(7,))
    small.change(methods={"plain": {"train.stepz": 3}})
    with pytest.raises(ConfigErrors, match=r"train\.stepz  unknown key  did you mean 'steps'"):
        small.compete(tasks=("wide",))
    small.change(tasks={"wide": "nowhere.yaml"})
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        small.compete()
    assert not (small.run / "simulations").exists()


def test_an_observation_of_another_size_is_told_before_it_is_trained_on(tmp_path):
    small = Small.write(tmp_path, budgets=[100], seeds=[0])
    with h5py.File(tmp_path / "exact" / "wide.h5", "a") as file:
        del file["observation_2/x"]
        file["observation_2/x"] = np.zeros((1, 5))
    with pytest.raises(
        DataError, match="takes 2 numbers for 2 parameters; references have 5 for 2"
    ):
        small.compete(tasks=("wide",))
    assert not small.scores() and not list(small.run.glob("jobs/*/train"))


def test_a_wrong_reference_file_is_told(tmp_path):
    exact(tmp_path / "wide.h5", 1.0)
    with h5py.File(tmp_path / "wide.h5", "a") as file:
        del file["observation_2/x"]
    with pytest.raises(CorruptFile, match=r"wide\.h5  observation_2 has no x"):
        reference_sets("wide", tmp_path, 10)
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["theta"] = np.zeros(3)
    with pytest.raises(CorruptFile, match="holds no group observation_1"):
        reference_sets("empty", tmp_path, 10)
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(CorruptFile, match=r"text\.h5"):
        reference_sets("text", tmp_path, 10)
    with h5py.File(tmp_path / "nan.h5", "w") as file:
        for name, values in {
            "x": [1.0],
            "theta_true": [1.0],
            "reference_posterior": [[np.nan], [1.0]],
        }.items():
            file[f"observation_1/{name}"] = values
    with pytest.raises(DataError, match="or some not finite"):
        reference_sets("nan", tmp_path, 10)


def test_observations_come_in_the_order_of_their_numbers(tmp_path):
    exact(tmp_path / "wide.h5", 1.0, observations=11)
    found, first = reference_sets("wide", tmp_path, 11)
    assert [one.number for one in found] == list(range(1, 12)) and found[0].draws.shape == (100, 2)
    assert (
        reference_sets("wide", tmp_path, 2)[1] == first
        and len(reference_sets("wide", tmp_path, 2)[0]) == 2
    )


def test_references_of_an_installed_package(tmp_path, monkeypatch):
    files = tmp_path / "sbibm" / "tasks" / "slcp" / "files"
    tables = {
        "observation.csv": "data_1,data_2\n1.0,2.0\n",
        "observation_distractors.csv": "data_1,data_2,data_3\n1,2,3\n",
    }
    for number in (1, 2):
        folder = files / f"num_observation_{number}"
        folder.mkdir(parents=True)
        for name, text in {**tables, "true_parameters.csv": f"parameter_1\n{number}\n"}.items():
            (folder / name).write_text(text)
        (folder / "reference_posterior_samples.csv.bz2").write_bytes(
            bz2.compress(b"parameter_1\n0.5\n0.25\n0.75\n")
        )
    (tmp_path / "sbibm" / "__init__.py").write_text(
        "raise RuntimeError('it is not to be imported')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found, _ = reference_sets("slcp", None, 10)
    assert [one.number for one in found] == [1, 2] and found[1].theta_true.tolist() == [2.0]
    assert found[0].x.tolist() == [1.0, 2.0] and found[0].draws[:, 0].tolist() == [0.5, 0.25, 0.75]
    assert reference_sets("slcp_distractors", None, 1)[0][0].x.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(DataError, match="the package sbibm has no task 'mine'"):
        reference_sets("mine", None, 10)
    (files / "num_observation_2" / "true_parameters.csv").unlink()
    with pytest.raises(
        CorruptFile, match=r"num_observation_2/true_parameters\.csv  cannot be read"
    ):
        reference_sets("slcp", None, 3)
    monkeypatch.setattr(
        module.reference_sets.__globals__["importlib"].util, "find_spec", lambda name: None
    )
    with pytest.raises(DataError, match="sbibm, which ships them, is not installed"):
        reference_sets("slcp", None, 4)
    assert "sbibm" not in sys.modules


def test_the_yaml_is_checked(tmp_path):
    small = Small.write(tmp_path)
    small.change(budgets=[5], seeds=[], tasks={"two moons": "x.yaml"})
    with pytest.raises(ConfigErrors) as told:
        small.open()
    assert len(told.value.problems) == 3 and "budgets.0  must be at least 20" in str(told.value)


# the scoreboard alone


TASKS = list(dict.fromkeys(row.task for row in published_scores()))


def made_up() -> list[Score]:
    """Not results: numbers for looking at the picture."""
    rng = np.random.default_rng(0)

    def ten(mean: float) -> tuple[float, ...]:
        return tuple(np.clip(mean + 0.02 * rng.standard_normal(10), 0.5, 1))

    return [
        Score(
            task,
            budget,
            method,
            seed,
            ten(published_c2st(task, budget, "NPE") - 0.05 * better),
            1.0,
            {"train": 9.0},
            {"c2st_forest": ten(0.6)},
        )
        for task in TASKS
        for budget in BUDGETS
        for better, method in enumerate(("default", "ensemble"))
        for seed in (0, 1)
    ]


def test_published_numbers_stand_beside_ours():
    lines = {(line.task, line.budget, line.method): line for line in scoreboard(made_up())}
    assert len(lines) == 60
    one = lines["slcp", 10_000, "default"]
    assert (one.npe, one.snpe, one.seeds, one.train_seconds) == (0.901, 0.845, 2, 9.0)
    assert (lines["slcp", 1_000, "default"].npe, lines["slcp", 1_000, "default"].snpe) == (
        0.975,
        0.965,
    )
    other = scoreboard(
        [
            Score("mine", 10_000, "a", 0, (0.6, 0.8), None, {}),
            Score("mine", 10_000, "a", 1, (0.8, 0.9), 2.0, {}),
        ]
    )[0]
    assert (other.npe, other.snpe, other.nlpd) == (None, None, None) and math.isnan(
        other.train_seconds
    )
    assert (
        other.c2st == pytest.approx(0.775)
        and other.worst == pytest.approx(0.85)
        and other.sd == pytest.approx(0.15 / math.sqrt(2))
    )
    markdown = scoreboard_markdown(list(lines.values()))
    assert (
        markdown.splitlines()[0] == "| task | method | 1,000 | 10,000 | 100,000 |"
        and "(NPE 0.901, SNPE 0.845)" in markdown
    )
    rows = list(csv.DictReader(scoreboard_csv([*lines.values(), other]).splitlines()))
    assert [float(row["c2st"]) for row in rows] == [*(one.c2st for one in lines.values()), 0.775]
    assert rows[0]["snpe"] == "0.643" and rows[-1]["snpe"] == rows[-1]["c2st_forest"] == ""


def test_published_numbers_are_those_of_the_papers():
    assert len(TASKS) == 10 and len(published_scores()) == 395
    assert all(0.49 < row.c2st <= 1 and row.source for row in published_scores())
    mixture = [
        [published_c2st("gaussian_mixture", budget, method) for budget in BUDGETS]
        for method in ("NPE", "SNPE")
    ]
    assert mixture == [[0.716, 0.615, 0.548], [0.669, 0.551, 0.536]]  # of the corrected task
    assert published_c2st("sir", 1_000, "TSNPE-PFN", "forest") == 0.525
    assert published_c2st("sir", 7, "NPE") is None


def test_published_tables_are_by_classifier_with_sources():
    perceptron, forest = published_tables(scoreboard(made_up()))
    assert "perceptron" in perceptron.title and "random forest" in forest.title
    assert perceptron.headings == (
        "task", "simulations", "ours: default", "ours: ensemble", "NPE (a)", "NLE (a)", "NRE (a)",
        "CNRE (b)", "SNPE* (a)", "SNLE* (a)", "SNRE* (a)",
    )  # fmt: skip
    assert {name.partition("*")[0].partition(" (")[0] for name in forest.headings[4:]} == {
        "NPE", "NPE ensemble of 5", "NLE", "NPSE", "NPE-PFN", "Simformer dense", "Simformer graph",
        "GenSBI", "TSNPE", "SNLE", "TSNPE-PFN",
    }  # fmt: skip
    assert len(perceptron.rows) == 30 and len(forest.rows) == 21  # seven tasks
    row = next(row for row in forest.rows if row[:2] == ("gaussian_linear", "10,000"))
    assert row[forest.headings.index("GenSBI (c)")] == "0.509" and "–" in row
    assert "2101.04653" in perceptron.notes[0] and perceptron.notes[-1].startswith("* sequential")
    assert any("2504.17660" in note for note in forest.notes)
    markdown = scoreboard_markdown(scoreboard(made_up()))
    assert all(note in markdown for note in (*perceptron.notes, *forest.notes))
    own = Score("mine", 10_000, "a", 0, (0.6,), None, {})
    assert published_tables(scoreboard([own])) == ()


def test_a_score_that_some_seed_lacks_has_no_mean():
    scores = [
        Score("mine", 100, "a", seed, (0.6, 0.8), None, {}, further)
        for seed, further in enumerate(
            [{"pqmass": (0.1, 0.3), "c2st_forest": (0.5, 0.6)}, {"pqmass": (0.2, 0.6)}]
        )
    ]
    (line,) = scoreboard(scores)
    assert set(line.further) == {"pqmass"}
    assert line.further["pqmass"] == pytest.approx(Spread(0.3, 0.2 / math.sqrt(2)))


def test_the_picture_has_a_panel_a_task_and_the_published_lines():
    figure = scoreboard_picture(made_up())
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == [task.replace("_", " ") for task in TASKS]
    for axes, task in zip(panels, TASKS, strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        for label, method in {"NPE": "NPE", "sequential NPE": "SNPE"}.items():
            assert list(lines[f"{label} (published)"].get_ydata()) == [
                published_c2st(task, budget, method) for budget in BUDGETS
            ]
        assert len(lines["default"].get_xdata()) == 3
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "NPE (published)", "sequential NPE (published)", "default", "ensemble",
    }  # fmt: skip


def test_the_command_line(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    done = CliRunner().invoke(app, ["benchmark", "small.yaml", "wide", "--seed", "0"])
    assert done.exit_code == 0, done.output
    assert "4 of 4 trainings scored" in done.stdout and "wide" in done.stdout
    assert "marginals" in done.stdout and "forest" not in done.stdout
    assert "Scoring one training took c2st 1 s, c2st_marginals 1 s, pqmass 1 s." in done.stdout
    assert (
        CliRunner().invoke(app, ["benchmark", "small.yaml", "wide", "--seed", "9"]).exit_code == 2
    )


def test_a_likelihood_beside_the_posterior_is_another_score(finished, tmp_path):
    """Draws of both together; another structure is another score, the posterior stays trained."""
    shutil.copytree(finished.folder, tmp_path / "joint")
    small = Small(tmp_path / "joint")
    likelihood = {
        "inference": {"kind": "nsf", "transforms": 1, "hidden": [8], "bins": 4, "linear": True},
        "uncertainty": {"kind": "none"},
        "train": {"steps": 400, "batch_size": 64, "learning_rate": 1e-2, "patience": None},
    }
    structure = {"problem.structure": {"x": "independent"}, "model.likelihood": likelihood}

    def compete(**changes):
        methods = {"joint": {**structure, **changes}}
        small.change(budgets=[100], methods=methods, seeds=[0], draws=400, observations=1)
        return small.compete(tasks=("narrow",))

    job = small.run / "jobs" / "narrow-100-joint-0"
    (line,) = compete().lines
    first = json.loads((job / "score.json").read_text())
    assert first["seconds"]["likelihood"] > 0
    assert line.c2st == pytest.approx(first["c2st"][0])
    agreement = json.loads((job / "likelihood" / "agreement.json").read_text())
    assert agreement["gain"] > 0 and agreement["share"] > 0.5  # 20 steps make a poor posterior
    trained = (job / "train" / "best.pt").stat().st_mtime_ns
    compete(**{"problem.structure": {"x": "joint"}})
    second = json.loads((job / "score.json").read_text())
    assert second["identity"] != first["identity"]
    assert (job / "train" / "best.pt").stat().st_mtime_ns == trained
