"""`import`: every format gives the same rows, splits are disjoint and whole, and what cannot be
used is told."""

from __future__ import annotations

import csv
import json

import h5py
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from sbiwb.cli.app import app
from sbiwb.errors import ConfigError, DataError, FailureRateError, RunError, SimulatorError
from sbiwb.files import read_json
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.splits import load_split
from sbiwb.records import Ragged
from sbiwb.seeds import generator
from sbiwb.store import foreign_file, manifest
from sbiwb.store.shard_record import record_path
from sbiwb.store.shards import read_failures
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.import_ import import_files
from sbiwb.workflow.sample import sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.simulate_plan import Planner
from sbiwb.workflow.status import status
from sbiwb.workflow.train import train
from sbiwb.workflow.verify import verify
from tests.tiny import CONFIG, Tiny

N = 300
SPLITS = ("train", "validation", "test")


def simulations(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mu = rng.standard_normal(n)
    return mu, mu[:, None] + rng.standard_normal((n, 4))


@pytest.fixture
def project(tmp_path):
    """A project whose pairs are imported: `project(problem={...})` changes single keys."""

    def make(**changes) -> Tiny:
        tiny = Tiny.write(tmp_path, {})
        base = {name: value for name, value in CONFIG.items() if name != "simulate"}
        problem = {
            **base["problem"],
            "simulator": "imported",
            "constants": {},
            **changes.pop("problem", {}),
        }
        tiny.yaml.write_text(
            yaml.safe_dump(
                {**base, "simulate": {"seed": 3, "shard_size": 50}, **changes, "problem": problem}
            )
        )
        return tiny

    return make


def save_csv(path, columns: dict) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(
            zip(*(map(repr, map(float, values)) for values in columns.values()), strict=True)
        )


def save_h5(path, arrays: dict) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def files(folder, mu, y) -> dict:
    """The same simulations in every way they may lie in a file: path and options."""
    np.savez(folder / "plain.npz", mu=mu, y=y)
    np.savez_compressed(folder / "matrix.npz", theta=mu[:, None], x=y)
    np.savez(folder / "renamed.npz", m=mu, signal=y)
    save_h5(folder / "plain.h5", {"mu": mu, "y": y})
    save_h5(folder / "groups.hdf5", {"theta/mu": mu, "x/y": y})
    save_csv(folder / "wide.csv", {"mu": mu, **{f"y_{i}": y[:, i] for i in range(4)}})
    save_csv(
        folder / "brackets.csv",
        {"other": mu * 0, **{f"y[{i}]": y[:, i] for i in range(4)}, "mu": mu},
    )
    save_csv(
        folder / "letters.csv", {"a": y[:, 0], "b": y[:, 1], "c": y[:, 2], "mu": mu, "d": y[:, 3]}
    )
    n = len(mu)
    save_csv(
        folder / "long.csv",
        {"id": np.repeat(np.arange(n), 4), "mu": np.repeat(mu, 4), "y": y.ravel()},
    )
    return {
        "plain.npz": {},
        "matrix.npz": {},
        "renamed.npz": {"columns": ["mu=m", "y=signal"]},
        "plain.h5": {},
        "groups.hdf5": {},
        "wide.csv": {},
        "brackets.csv": {},
        "letters.csv": {"columns": ["y=a,b,c,d"]},
        "long.csv": {"by": "id"},
    }


NAMES = [
    "plain.npz",
    "matrix.npz",
    "renamed.npz",
    "plain.h5",
    "groups.hdf5",
    "wide.csv",
    "brackets.csv",
    "letters.csv",
    "long.csv",
]


@pytest.fixture(params=NAMES)
def every(request, tmp_path):
    mu, y = simulations()
    return tmp_path / request.param, files(tmp_path, mu, y)[request.param], mu, y


def all_rows(tiny: Tiny) -> dict[str, np.ndarray]:
    found = {}
    for split in SPLITS:
        pairs = load_split(tiny.open(), split)
        found[split] = np.column_stack([pairs.theta["mu"], pairs.x["y"]])
    return found


def test_every_row_of_every_format_is_in_one_split(project, recorder, every, monkeypatch):
    monkeypatch.setattr(foreign_file, "MAX_ROWS", 37)  # many chunks
    path, options, mu, y = every
    tiny = project()
    told = import_files(tiny.open(), [path], recorder, **options)
    assert {split: one.rows for split, one in told.items()} == {
        "train": 240,
        "validation": 30,
        "test": 30,
    }
    found = all_rows(tiny)
    order = generator(3, "train", 0).permutation(N)
    np.testing.assert_array_equal(
        np.concatenate([found[split] for split in SPLITS]), np.column_stack([mu, y])[order]
    )
    assert told["train"].shards == 5
    assert verify(tiny.run, recorder).is_whole and not recorder.warned


def test_the_chunk_changes_no_byte_and_twice_changes_nothing(
    project, recorder, tmp_path, monkeypatch
):
    mu, y = simulations()
    files(tmp_path, mu, y)
    tiny = project()
    import_files(tiny.open(), [tmp_path / "plain.npz"], recorder)
    before, times = (
        tiny.shards(),
        {path: path.stat().st_mtime_ns for path in tiny.run.glob("data/*/*")},
    )
    import_files(tiny.open(), [tmp_path / "plain.npz"], recorder)
    assert "imported already" in recorder.said[-1] and times == {
        path: path.stat().st_mtime_ns for path in tiny.run.glob("data/*/*")
    }
    (tiny.run / "data/train/shard-000050.h5").unlink()
    monkeypatch.setattr(foreign_file, "MAX_ROWS", 7)
    import_files(tiny.open(), [tmp_path / "plain.npz"], recorder)
    assert tiny.shards() == before and not (tiny.run / "data/.import").exists()


def test_later_steps_work_and_say_what_they_leave_out(project, recorder, tmp_path):
    mu, y = simulations()
    np.savez(tmp_path / "sims.npz", mu=mu, y=y)
    tiny = project(
        problem={"parameters": {"mu": {"kind": "unknown"}}},
        train={"steps": 20, "batch_size": 32, "validate_every": 10, "patience": None},
        diagnose={
            "draws": 19,
            "checks": [
                "sbc",
                "coverage",
                "recovery",
                "zscore_contraction",
                "prior_predictive",
                "predictive",
            ],
        },
    )
    import_files(tiny.open(), [tmp_path / "sims.npz"], recorder)
    told = simulate(tiny.open(), recorder)
    assert (
        told["train"].rows == 240
        and "The pairs of this run are imported: nothing is simulated." in recorder.said
    )
    train(tiny.open(), recorder)
    judged = diagnose(tiny.open(), recorder)
    assert {one.check for one in judged.judgments} >= {
        "sbc",
        "zscore_contraction",
        "prior_predictive",
    }
    assert (
        "predictive is left out: it simulates from the posterior, and these pairs are imported."
        in recorder.said
    )
    (found,) = sample(
        tiny.open(), named_observations(tiny.open(), None), recorder, draws=50, seed=0
    )
    assert [row.name for row in found.rows] == ["mu"]
    assert any(
        "nothing could be simulated from the posterior" in one and "no simulator" in one
        for one in [*recorder.warned, *found.warnings]
    )
    assert (
        status(tiny.run).imported == (str(tmp_path / "sims.npz"),) and status(tiny.run).todo == ""
    )


def test_nothing_is_imported_yet(project, recorder):
    with pytest.raises(SimulatorError, match="there is no simulator to call") as caught:
        simulate(project().open(), recorder)
    assert "sbiwb import FILE... --config" in caught.value.todo


def test_a_lost_shard_is_not_simulated(project, recorder, tmp_path):
    mu, y = simulations()
    np.savez(tmp_path / "sims.npz", mu=mu, y=y)
    tiny = project()
    import_files(tiny.open(), [tmp_path / "sims.npz"], recorder)
    (tiny.run / "data/train/shard-000050.h5").unlink()
    with pytest.raises(SimulatorError, match=r"imported from .*sims\.npz"):
        simulate(tiny.open(), recorder)
    troubles = verify(tiny.run, recorder).troubles
    assert troubles and all("sbiwb import" in one.todo for one in troubles)


def test_other_files_and_other_priors_are_other_problems(project, recorder, tmp_path):
    mu, y = simulations()
    np.savez(tmp_path / "sims.npz", mu=mu, y=y)
    tiny = project()
    import_files(tiny.open(), [tmp_path / "sims.npz"], recorder)
    np.savez(tmp_path / "other.npz", mu=mu, y=y + 1)
    with pytest.raises(RunError, match="holds other pairs: the files, columns or shares changed"):
        import_files(tiny.open(), [tmp_path / "other.npz"], recorder)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sims.npz").rename(tmp_path / "elsewhere/same.npz")
    import_files(tiny.open(), [tmp_path / "elsewhere/same.npz"], recorder)
    assert "imported already" in recorder.said[-1]
    with pytest.raises(RunError, match=r"problem\.parameters\.mu\.scale: 1\.0 -> 2\.0"):
        simulate(
            project(problem={"parameters": {"mu": {"kind": "normal", "scale": 2.0}}}).open(),
            recorder,
        )
    with pytest.raises(RunError, match="holds imported pairs"):
        Planner(project().open(), recorder).extended("5")


def test_deep_tells_a_changed_file(project, recorder, tmp_path):
    mu, y = simulations()
    np.savez(tmp_path / "sims.npz", mu=mu, y=y)
    tiny = project()
    import_files(tiny.open(), [tmp_path / "sims.npz"], recorder)
    assert verify(tiny.run, recorder, deep=True).is_whole
    np.savez(tmp_path / "sims.npz", mu=mu, y=-y)
    assert [one.what for one in verify(tiny.run, recorder, deep=True).troubles] == [
        "has changed since it was imported"
    ]


def test_copies_are_left_out_and_told(project, recorder, tmp_path):
    mu, y = simulations(100)
    np.savez(tmp_path / "a.npz", mu=mu, y=y)
    np.savez(tmp_path / "b.npz", mu=np.append(mu[:7], 9.0), y=np.vstack([y[:7], y[:1]]))
    tiny = project()
    told = import_files(tiny.open(), [tmp_path / "a.npz", tmp_path / "b.npz"], recorder)
    assert (
        sum(one.rows for one in told.values()) == 101 and "7 rows are copies" in recorder.warned[0]
    )
    every = np.concatenate(list(all_rows(tiny).values()))
    assert len(np.unique(every, axis=0)) == 101


def test_equal_rows_of_whole_numbers_are_no_copies(project, recorder, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "sims.npz", mu=rng.integers(0, 3, 200), y=rng.integers(0, 2, (200, 1)))
    told = import_files(
        project(
            problem={"parameters": {"mu": {"kind": "uniform_integer", "low": 0, "high": 2}}}
        ).open(),
        [tmp_path / "sims.npz"],
        recorder,
    )
    assert sum(one.rows for one in told.values()) == 200 and not recorder.warned


def test_rows_that_are_not_finite_are_failed_simulations(project, recorder, tmp_path):
    mu, y = simulations()
    y[[5, 17], 2] = np.nan, np.inf
    np.savez(tmp_path / "sims.npz", mu=mu, y=y)
    tiny = project()
    told = import_files(tiny.open(), [tmp_path / "sims.npz"], recorder)
    assert sum(one.rows for one in told.values()) == 298 and told["train"].failed == 2
    assert (
        "2 of 300 rows are left out as failed simulations, the first in row 5: 'y' is not finite"
        in recorder.warned[0]
    )
    (first, *_) = manifest.shards(tiny.run / "data/train")
    np.testing.assert_array_equal(read_failures(first.path, first.record)["theta/mu"], mu[[5, 17]])
    assert status(tiny.run).valid.reasons == {"not finite": 2}
    assert verify(tiny.run, recorder).is_whole


def test_too_many_of_them_stop(project, recorder, tmp_path):
    mu, y = simulations()
    y[::5] = np.nan
    np.savez(tmp_path / "sims.npz", mu=mu, y=y)
    tiny = project()
    with pytest.raises(
        FailureRateError, match=r"60 of 300 simulations failed .*'y' is not finite in row 0"
    ):
        import_files(tiny.open(), [tmp_path / "sims.npz"], recorder)
    assert not tiny.run.exists()


def test_missing_values_are_values_where_the_yaml_says_so(project, recorder, tmp_path):
    mu, y = simulations()
    y[::5, 0] = np.nan
    np.savez(tmp_path / "sims.npz", mu=mu, y=y)
    inputs = {
        "inputs": {"y": {"as": "vector", "transforms": ["nan_to_mask"]}},
        "inference": CONFIG["model"]["inference"],
    }
    told = import_files(
        project(problem={"missing": ["y"]}, model=inputs).open(), [tmp_path / "sims.npz"], recorder
    )
    assert sum(one.rows for one in told.values()) == 300


def as_set(**more):
    return {"inputs": {"y": {"as": "set"}}, "inference": CONFIG["model"]["inference"], **more}


@pytest.mark.parametrize("how", ["padded", "offsets", "long"])
def test_lists_of_varying_length(project, recorder, tmp_path, monkeypatch, how):
    monkeypatch.setattr(foreign_file, "MAX_ROWS", 23)
    rng = np.random.default_rng(1)
    mu, lengths = rng.standard_normal(60), rng.integers(1, 6, 60)
    y = Ragged.of([rng.standard_normal(n) for n in lengths])
    path = tmp_path / {"padded": "p.npz", "offsets": "o.h5", "long": "l.csv"}[how]
    if how == "padded":
        np.savez(path, mu=mu, y=y.padded()[0], y_lengths=lengths)
    elif how == "offsets":
        save_h5(path, {"mu": mu, "y/values": y.values, "y/offsets": y.offsets})
    else:
        save_csv(
            path,
            {
                "id": np.repeat(np.arange(60) + 7, lengths),
                "mu": np.repeat(mu, lengths),
                "y": y.values,
            },
        )
    tiny = project(model=as_set())
    import_files(tiny.open(), [path], recorder, by="id" if how == "long" else "")
    expected = y.take(generator(3, "train", 0).permutation(60))
    found = [load_split(tiny.open(), split).x["y"] for split in SPLITS]
    assert [one.tolist() for part in found for one in (part[i] for i in range(len(part)))] == [
        expected[i].tolist() for i in range(60)
    ]
    assert verify(tiny.run, recorder).is_whole


def test_vector_parameters_context_and_unused_columns(project, recorder, tmp_path):
    rng = np.random.default_rng(0)
    w, k, y = rng.random((80, 3)), rng.integers(1, 9, 80), rng.standard_normal(80)
    save_csv(
        tmp_path / "sims.csv",
        {"k": k, "y": y, "note": k * 0, **{f"w{i + 1}": w[:, i] for i in range(3)}},
    )
    problem = {
        "parameters": {"w": {"kind": "uniform", "shape": [3]}},
        "context": {"k": {"kind": "uniform_integer", "low": 1, "high": 9}},
    }
    tiny = project(
        problem=problem,
        model={
            "inputs": {"y": {"as": "vector"}, "k": {"as": "vector"}},
            "inference": CONFIG["model"]["inference"],
        },
    )
    import_files(tiny.open(), [tmp_path / "sims.csv"], recorder)
    pairs, order = load_split(tiny.open(), "train"), generator(3, "train", 0).permutation(80)[:64]
    np.testing.assert_array_equal(pairs.theta["w"], w[order])
    np.testing.assert_array_equal(pairs.context["k"], k[order])
    assert pairs.context["k"].dtype == np.int64 and pairs.x["y"].shape == (64,)


def bad(folder) -> None:
    mu, y = simulations(20)
    np.savez(folder / "ok.npz", mu=mu, y=y)
    np.savez(folder / "names.npz", m=mu, y=y)
    np.savez(folder / "lengths.npz", mu=mu[:5], y=y)
    np.savez(folder / "outside.npz", mu=mu - 100, y=y)
    np.savez(folder / "nan.npz", mu=np.where(mu == mu[3], np.nan, mu), y=y)
    np.savez(folder / "few.npz", mu=mu[:2], y=y[:2])
    np.savez(folder / "wide.npz", mu=np.stack([mu, mu], 1), y=y)
    np.savez(folder / "text.npz", mu=mu, y=np.array(["a"] * 20))
    np.savez(folder / "fortran.npz", mu=mu, y=np.asfortranarray(y))
    (folder / "nothing.npz").write_bytes(b"PK")
    (folder / "a.xlsx").write_bytes(b"")
    (folder / "semi.csv").write_text("mu;y\n1;2\n")
    (folder / "word.csv").write_text("mu,y\n1,2\n1,two\n")
    (folder / "short.csv").write_text("mu,y\n1,2\n1\n")
    (folder / "apart.csv").write_text("id,mu,y\n1,2,3\n2,1,1\n1,2,4\n")
    (folder / "changes.csv").write_text("id,mu,y\n1,2,3\n1,3,1\n2,2,4\n")


BAD = [
    (
        "names.npz",
        {},
        DataError,
        "has no column for mu",
        "It has: m, y. Say which: --column mu=COLUMN",
    ),
    ("lengths.npz", {}, DataError, "arrays differ in length: mu 5, y 20", "one row a simulation"),
    (
        "outside.npz",
        {},
        DataError,
        r"'mu' is -\d.* in row 0, outside \[0, inf\] of its prior",
        "kind: unknown",
    ),
    ("nan.npz", {}, DataError, "'mu' is nan in row 3", "Mend the file"),
    ("few.npz", {}, DataError, "2 good rows are too few for three splits", "--shares"),
    ("wide.npz", {}, DataError, r"'mu' has \(2,\) a row, the YAML says one number", "shape"),
    ("text.npz", {}, DataError, "has type <U1", "numbers"),
    ("fortran.npz", {}, DataError, "is stored column by column", "ascontiguousarray"),
    ("nothing.npz", {}, DataError, "cannot be read as NPZ", "numpy.savez"),
    ("a.xlsx", {}, DataError, "is no file of simulations", ".parquet"),
    ("none.csv", {}, DataError, "no such file", "path"),
    ("semi.csv", {}, DataError, "the separator seems to be ';'", "commas"),
    ("word.csv", {}, DataError, "'two' is no number", "field"),
    ("short.csv", {}, DataError, "line 3 has 1 values for 2 columns", "Mend"),
    ("apart.csv", {"by": "id"}, DataError, "rows of one 'id' stand apart", "Sort the file"),
    ("changes.csv", {"by": "id"}, DataError, "'mu' changes within id = 1", "one number"),
    ("ok.npz", {"by": "id"}, DataError, "has no column 'id'", "CSV or Parquet"),
    (
        "ok.npz",
        {"columns": ["z=y"]},
        ConfigError,
        "z is no variable of the YAML",
        "There are: mu, y",
    ),
    ("ok.npz", {"columns": ["y"]}, ConfigError, "cannot read 'y'", "--column"),
    ("ok.npz", {"shares": "0.5,0.6,0.1"}, ConfigError, "cannot read '0.5,0.6,0.1'", "0.8,0.1,0.1"),
]


@pytest.mark.parametrize(
    ("name", "options", "kind", "what", "todo"),
    BAD,
    ids=[f"{one[0]}-{i}" for i, one in enumerate(BAD)],
)
def test_what_cannot_be_used_is_told_and_nothing_is_written(
    project, recorder, tmp_path, name, options, kind, what, todo
):
    bad(tmp_path)
    bounds = {"low": 0} if name == "outside.npz" else {}
    tiny = project(problem={"parameters": {"mu": {"kind": "unknown", **bounds}}})
    with pytest.raises(kind, match=what) as caught:
        import_files(tiny.open(), [tmp_path / name], recorder, **options)
    assert todo in caught.value.todo and not tiny.run.exists()


def test_counts_of_the_yaml_that_are_too_large(project, recorder, tmp_path):
    mu, y = simulations()
    np.savez(tmp_path / "sims.npz", mu=mu, y=y)
    with pytest.raises(ConfigError, match=r"simulate\.train is 5,000, and 240 rows fall to it"):
        import_files(project(simulate={"train": 5000}).open(), [tmp_path / "sims.npz"], recorder)
    import_files(project(simulate={"train": 100}).open(), [tmp_path / "sims.npz"], recorder)
    assert len(load_split(project(simulate={"train": 100}).open(), "train")) == 100


def test_a_simulator_file_and_an_unknown_prior_do_not_go_together(project, recorder, tmp_path):
    with pytest.raises(ConfigError, match="of kind 'unknown'"):
        project(problem={"simulator": "tiny.py", "parameters": {"mu": {"kind": "unknown"}}}).open()
    with pytest.raises(ConfigError, match=r"problem\.simulator is 'tiny\.py'"):
        import_files(
            project(problem={"simulator": "tiny.py", "constants": {"n": 4}}).open(),
            [tmp_path / "a.npz"],
            recorder,
        )


def test_a_hostile_hdf5_is_refused(project, recorder, tmp_path):
    with h5py.File(tmp_path / "evil.h5", "w") as file:
        file["mu"] = np.zeros(3)
        file["y"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(DataError, match="is a link"):
        import_files(project().open(), [tmp_path / "evil.h5"], recorder)


def test_parquet(project, recorder, tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    monkeypatch.setattr(foreign_file, "MAX_ROWS", 37)
    mu, y = simulations()
    parquet.write_table(arrow.table({"mu": mu, "y": list(y)}), tmp_path / "lists.parquet")
    tiny = project()
    import_files(tiny.open(), [tmp_path / "lists.parquet"], recorder)
    order = generator(3, "train", 0).permutation(N)
    np.testing.assert_array_equal(
        np.concatenate(list(all_rows(tiny).values())), np.column_stack([mu, y])[order]
    )


def test_parquet_without_its_package_is_told(project, recorder, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="needs a package") as caught:
        import_files(project().open(), [tmp_path / "a.parquet"], recorder)
    assert caught.value.todo == 'pip install "sbiwb[parquet]"'


def test_the_plan_tells_where_pairs_come_from(project, recorder, tmp_path):
    mu, y = simulations()
    np.savez(tmp_path / "sims.npz", mu=mu, y=y)
    tiny = project()
    import_files(tiny.open(), [tmp_path / "sims.npz"], recorder)
    told = read_json(tiny.run / "data/plan.json")["imported"]
    assert list(told["files"]) == [str(tmp_path / "sims.npz")] and told["rows"] == {
        "train": 240,
        "validation": 30,
        "test": 30,
    }
    assert json.loads((tiny.run / "data/provenance.json").read_text())["files"] == told["files"]
    assert read_json(record_path(tiny.run / "data/train/shard-000000.h5"))["blocks"] == 50


def test_the_command(project, tmp_path):
    mu, y = simulations()
    np.savez(tmp_path / "sims.npz", m=mu, y=y)
    tiny = project()
    told = CliRunner().invoke(
        app,
        [
            "import",
            str(tmp_path / "sims.npz"),
            "--column",
            "mu=m",
            "--config",
            str(tiny.yaml),
            "--runs",
            str(tmp_path / "runs"),
        ],
    )
    assert (
        told.exit_code == 0
        and "240" in told.stdout
        and f"sbiwb train {tiny.run}" in told.stdout.replace("\n", "")
    )


def test_an_empty_set_is_a_set(tmp_path, recorder, project):
    """A file may hold data sets without members; they are pairs like others."""
    rng = np.random.default_rng(0)
    lengths = rng.poisson(1.0, 60)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.random(offsets[-1])
    with h5py.File(tmp_path / "sets.h5", "w") as file:
        file["mu"] = lengths + rng.random(60)
        file["y/values"], file["y/offsets"] = values, offsets
    tiny = project(
        model={"inputs": {"y": {"as": "set", "summary": {"kind": "deepset", "hidden": 8}}}}
    )
    import_files(tiny.open(), [tmp_path / "sets.h5"], recorder)
    pairs = [load_split(tiny.open(), split) for split in SPLITS]
    found = np.concatenate([part.x["y"].lengths for part in pairs])
    mu = np.concatenate([part.theta["mu"] for part in pairs])
    assert (lengths == 0).sum() > 10
    np.testing.assert_array_equal(found, np.floor(mu))
