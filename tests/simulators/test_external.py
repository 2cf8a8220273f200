"""External programs as simulators: every format and way of passing, what may go wrong, and the
Ricker map in C."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sbiwb.errors import ConfigErrors, FailureRateError, RunError, SimulatorError
from sbiwb.project.splits import load_split
from sbiwb.rundir import SPLITS
from sbiwb.simulation.blocks import FailureCounter, simulate_block
from sbiwb.simulation.failures import RowFailed
from sbiwb.simulation.formats import BadOutput, decode, encode
from sbiwb.store import manifest
from sbiwb.store.shards import read_failures
from sbiwb.workflow.simulate import simulate
from tests.simulators.loaded import ROOT, project
from tests.tiny import Tiny, until

# reads {"mu", "n"}, writes y = mu + 0, 1, ..., n - 1, in whatever format and by whatever way
MODEL = """
import json, sys
sys.path.insert(0, ROOT)
from sbiwb.simulation.formats import decode, encode

def read(kind, path):
    return decode(kind, open(path, "rb").read() if path else sys.stdin.buffer.read())

def write(kind, path, values):
    (open(path, "wb") if path else sys.stdout.buffer).write(encode(kind, values, batched=True))
""".replace("ROOT", repr(str(ROOT)))
BODY = """
import numpy as np
source, kind, target, out = sys.argv[1:5]
found = read(kind, "" if source == "-" else source)
mu, n = np.reshape(found["mu"], -1), int(np.reshape(found["n"], -1)[0])
y = mu[:, None] + np.arange(n)
write(out, "" if target == "-" else target, {"y": y if BATCHED else y[0]})
"""


def external(
    folder: Path,
    code: str,
    command: list[str],
    changes: dict[str, Any] | None = None,
    **options: Any,
) -> Tiny:
    """A tiny project whose simulator is a Python program."""
    problem = {
        "simulator": {"command": [sys.executable, "model.py", *command], **options},
        "batched": False,
        "observations": {},
    }
    tiny = Tiny.write(
        folder,
        {
            "problem": {**problem, **(changes or {})},
            "simulate": {"train": 4, "validation": 2, "test": 2, "block_size": 2},
        },
    )
    (folder / "model.py").write_text(code)
    return tiny


def rows(tiny: Tiny) -> tuple[np.ndarray, np.ndarray]:
    pairs = load_split(tiny.open(), "train")
    return pairs.theta["mu"], np.asarray(pairs.x["y"])


WAYS = [
    ("json", "json", "-", "-"),
    ("csv", "npz", "{theta}", "{out}"),
    ("npz", "hdf5", "{theta}", "{out}"),
    ("hdf5", "csv", "-", "-"),
]


@pytest.mark.parametrize(("given", "found", "source", "target"), WAYS)
@pytest.mark.parametrize("batched", [True, False])
def test_every_format_and_way(tmp_path, recorder, given, found, source, target, batched):
    code = MODEL + BODY.replace("BATCHED", str(batched))
    tiny = external(
        tmp_path,
        code,
        [source, given, target, found],
        {"batched": batched},
        input=given,
        output=found,
    )
    simulate(tiny.open(), recorder)
    mu, y = rows(tiny)
    np.testing.assert_array_equal(y, mu[:, None] + np.arange(4))


def test_values_come_back_to_the_last_digit():
    values = {
        "a": np.random.default_rng(0).normal(size=7) * 1e-9,
        "b": np.arange(14.0).reshape(7, 2) / 3,
    }
    for kind in ("csv", "json", "npz", "hdf5"):
        again = decode(kind, encode(kind, values, batched=True))
        for name, value in values.items():
            np.testing.assert_array_equal(again[name], value)


def test_one_row_with_a_vector_is_one_line():
    assert (
        encode("csv", {"a": np.array([1.0, 2.0]), "n": 3, "unit": "m"}, batched=False)
        == b"a[0],a[1],n,unit\n1.0,2.0,3,m\n"
    )
    assert (
        encode("csv", {"a": np.array([1.0, 2.0]), "n": 3}, batched=True) == b"a,n\n1.0,3\n2.0,3\n"
    )


def test_json_has_missing_values_and_sets_of_any_size():
    found = decode("json", b'{"y": [1, null], "z": [[1], [2, 3]]}')
    np.testing.assert_array_equal(found["y"], [1, np.nan])
    assert [one.tolist() for one in found["z"]] == [[1], [2, 3]]


BAD = [
    ("json", b"", "is empty"),
    ("json", b"{", "is not JSON"),
    ("json", b"{}", "holds no variable"),
    ("csv", b"a,b\n1\n", "has 1 fields in line 2, 2 in the first"),
    ("csv", b"a,b\n", "no line of numbers"),
    ("csv", b"a\nred\n", "is not CSV: could not convert"),
    ("npz", b"PK", "is not NPZ"),
    ("hdf5", b"no", "is not HDF5"),
]


@pytest.mark.parametrize(("kind", "data", "told"), BAD)
def test_bad_output_says_what_is_wrong(kind, data, told):
    with pytest.raises(BadOutput, match=told):
        decode(kind, data)


SEEDED = "import json, random, sys\nmu, seed = float(sys.argv[1]), int(sys.argv[2])\n"


def test_single_parameters_and_the_seed_fill_places(tmp_path, recorder):
    code = (
        SEEDED + "assert 0 <= seed < 2**63 and sys.argv[3] == '--n=4'\nprint(json.dumps({'y': [mu, "
        "random.Random(seed).gauss(0, 1)]}))\n"
    )
    tiny = external(tmp_path, code, ["{mu}", "{seed}", "--n={n}"])
    simulate(tiny.open(), recorder)
    mu, y = rows(tiny)
    np.testing.assert_array_equal(y[:, 0], mu)
    assert len(np.unique(y[:, 1])) == 4
    first = tiny.shards()
    for shard in tiny.run.rglob("shard-*"):
        shard.unlink()
    simulate(tiny.open(), recorder)
    assert tiny.shards() == first


# what the program does where mu > 0.8, the reason in the ledger, and the end of its message
WRONG = [
    ("sys.exit('no convergence')", "exit code 1", "exit code 1: no convergence"),
    ("open(sys.argv[3] + '/none')", "exit code 1", "No such file or directory: '{scratch}/none'"),
    ("os.kill(os.getpid(), 11)", "killed by SIGSEGV", "killed by SIGSEGV"),
    ("print('{'); sys.exit()", "bad output", "its output is not JSON: Expecting property name"),
    ("sys.exit()", "bad output", "its output is empty"),
    ("time.sleep(1000)", "timeout", "took longer than 1.5 s"),
]


def wrong(folder: Path, deed: str, **options: Any) -> Tiny:
    code = (
        "import os, time\n"
        + SEEDED
        + f"if mu > 0.8:\n    {deed}\nprint(json.dumps({{'y': [mu, mu]}}))\n"
    )
    return external(folder, code, ["{mu}", "{seed}", "{scratch}"], **options)


@pytest.mark.parametrize(("deed", "reason", "told"), WRONG)
def test_a_failed_call_is_a_failed_row(tmp_path, deed, reason, told):
    opened = wrong(tmp_path, deed).open("simulate.failures.timeout_s=1.5")
    pairs, failures = simulate_block(opened.problem, "train", 0, 6, FailureCounter(1.0))
    assert pairs.theta["mu"].max() <= 0.8 and len(pairs) == 6
    assert failures and min(one.theta["mu"] for one in failures) > 0.8
    assert {one.reason for one in failures} == {reason}
    assert all(told in one.message for one in failures)


def test_the_ledger_of_the_shards_has_it(tmp_path, recorder):
    tiny = wrong(tmp_path, "sys.exit('no convergence')")
    simulate(tiny.open("simulate.failures.max_rate=0.9"), recorder)
    shards = [
        one
        for split in SPLITS
        for one in manifest.shards(tiny.run / "data" / split)
        if one.record.failed
    ]
    assert shards
    for one in shards:
        ledger = read_failures(one.path, one.record)
        assert (ledger["theta/mu"] > 0.8).all() and {kind.decode() for kind in ledger["kind"]} == {
            "exit code 1"
        }
        assert all(
            message.decode().endswith("exit code 1: no convergence")
            for message in ledger["message"]
        )
        assert (
            one.record.reasons == {"exit code 1": one.record.failed}
            and len(one.record.failed_s) == one.record.failed
        )


def test_when_no_call_succeeds_the_error_has_three_parts(tmp_path, recorder):
    tiny = external(tmp_path, "", [])
    script = tmp_path / "model.sh"
    script.write_text("#!/bin/sh\necho licence expired >&2\nexit 1\n")
    script.chmod(0o755)
    tiny.change(
        {
            "problem": {
                "simulator": {"command": ["./model.sh"]},
                "batched": False,
                "observations": {},
            }
        }
    )
    with pytest.raises(FailureRateError) as caught:
        simulate(tiny.open(), recorder)
    assert (
        "exit code 1: licence expired (at mu=" in caught.value.what
        and caught.value.where == "simulate"
        and caught.value.todo
    )


def call(tiny: Tiny, *settings: str) -> dict[str, np.ndarray]:
    """One call of the program in this process."""
    return tiny.open(*settings).simulator.simulate_row(
        {"mu": np.zeros(1)}, {}, 0, np.random.default_rng(0)
    )


def test_a_time_limit_ends_all_its_processes(tmp_path):
    mark = f"{os.getpid()}98765"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep({mark})'])\n"
    with pytest.raises(RowFailed, match="took longer than 2 s"):
        call(external(tmp_path, code, []), "simulate.failures.timeout_s=2")
    until(
        lambda: (
            not [pid for pid in Path("/proc").glob("[0-9]*") if mark.encode() in _command_line(pid)]
        )
    )


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_what_it_leaves_running_is_not_waited_for(tmp_path):
    mark = f"{os.getpid()}98766"
    code = (
        SEEDED
        + f"import subprocess\nsubprocess.Popen(['sleep', '{mark}'])\nprint(json.dumps({{'y': [mu, mu]}}))\n"
    )
    assert call(external(tmp_path, code, ["{mu}", "{seed}"]))["y"].tolist() == [0, 0]
    until(
        lambda: (
            not [pid for pid in Path("/proc").glob("[0-9]*") if mark.encode() in _command_line(pid)]
        )
    )


def test_a_scratch_folder_is_kept_on_request(tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    for keep, left in ((False, []), (True, ["here"])):
        with pytest.raises(RowFailed, match=r"exit code 5; kept in" if keep else "exit code 5$"):
            call(
                external(
                    tmp_path,
                    "import sys\nopen('trace', 'w').write('here')\nsys.exit(5)\n",
                    [],
                    keep=keep,
                )
            )
        assert [
            path.read_text() for path in (tmp_path / "scratch").glob("sbiwb-call-*/trace")
        ] == left


def test_changed_programs_and_files_are_changed_code(tmp_path, recorder):
    code = SEEDED + "print(json.dumps({'y': [mu, mu]}))\n"
    tiny = external(tmp_path, code, ["{mu}", "{seed}"])
    simulate(tiny.open(), recorder)
    assert (
        tiny.open().data_hash == json.loads((tiny.run / "data/plan.json").read_text())["data_hash"]
    )
    (tiny.folder / "model.py").write_text(code + "# otherwise\n")
    with pytest.raises(RunError, match=r"problem\.simulator code changed"):
        simulate(tiny.open(), recorder)


def test_a_run_folder_knows_the_program(tmp_path, recorder):
    from sbiwb.project.opening import open_project

    tiny = external(tmp_path, SEEDED + "print(json.dumps({'y': [mu, mu]}))\n", ["{mu}", "{seed}"])
    simulate(tiny.open(), recorder)
    again = open_project(tiny.run)
    assert again.data_hash == tiny.open().data_hash
    assert simulate(again, recorder)["train"].rows == 4


REFUSED = [
    (["./modle.py"], "no such program", "did you mean model.py?"),
    (["no-such-program-here"], "no program 'no-such-program-here' on PATH", "Install it"),
    (["./model.py"], "may not be executed", "chmod +x"),
    ([sys.executable, "{thta}"], "nothing is called {thta}", "Did you mean {theta}?"),
]


@pytest.mark.parametrize(("command", "what", "todo"), REFUSED)
def test_a_command_that_cannot_be_is_refused(tmp_path, recorder, command, what, todo):
    tiny = external(tmp_path, "", [])
    tiny.change({"problem": {"simulator": {"command": command}, "observations": {}}})
    with pytest.raises(SimulatorError) as caught:
        simulate(tiny.open(), recorder)
    assert caught.value.what == what and todo in caught.value.todo and caught.value.where


def test_a_file_that_is_no_program_is_told(tmp_path, recorder):
    tiny = external(tmp_path, "", [])
    (tmp_path / "model").write_bytes(b"\x7fnot a program")
    (tmp_path / "model").chmod(0o755)
    tiny.change({"problem": {"simulator": {"command": ["./model"]}, "observations": {}}})
    with pytest.raises(SimulatorError, match="cannot be started: Exec format error") as caught:
        simulate(tiny.open(), recorder)
    assert "compiled for this machine" in caught.value.todo


def test_unknown_options_of_a_command_name_their_place(tmp_path):
    tiny = external(tmp_path, "", [])
    tiny.change({"problem": {"simulator": {"command": ["./model"], "inputs": "csv"}}})
    with pytest.raises(
        ConfigErrors, match=r"problem\.simulator\.inputs  unknown key  did you mean 'input'\?"
    ):
        tiny.open()


def ricker(
    rng: np.random.Generator,
    n: int,
    *,
    log_r: float,
    log_sigma: float,
    log_phi: float,
    steps: int,
    burn: int = 50,
) -> np.ndarray:
    """The map in numpy, (n, steps)."""
    size, found = np.ones(n), []
    for t in range(burn + steps):
        size = np.exp(log_r) * size * np.exp(-size + np.exp(log_sigma) * rng.standard_normal(n))
        found += [rng.poisson(np.exp(log_phi) * size)] * (t >= burn)
    return np.stack(found, axis=1)


def test_the_ricker_map_in_c_is_that_in_numpy(compiled, tmp_path):
    opened = project("ricker", tmp_path)
    n, values = 4000, {"log_r": 3.8, "log_sigma": -1.2, "log_phi": 2.3}
    theta = {name: np.full(n, value) for name, value in values.items()}
    ours = np.asarray(opened.simulator(theta, {}, np.random.default_rng(0))["y"])
    again = np.asarray(opened.simulator(theta, {}, np.random.default_rng(0))["y"])
    truth = ricker(np.random.default_rng(1), n, **values, steps=50)
    np.testing.assert_array_equal(ours, again)
    assert ours.shape == truth.shape and (ours == np.trunc(ours)).all()
    for summary in (
        np.mean,
        lambda y, axis: (y == 0).mean(axis),
        lambda y, axis: np.log1p(y).std(axis),
        _lag,
    ):
        one, other = summary(ours, axis=1), summary(truth, axis=1)
        assert abs(one.mean() - other.mean()) < 4.5 * np.hypot(one.std(), other.std()) / np.sqrt(n)


def _lag(y: np.ndarray, axis: int) -> np.ndarray:
    """Product of neighbours' logs, which the order of the steps decides."""
    logs = np.log1p(y)
    return (logs[:, 1:] * logs[:, :-1]).mean(axis)


def test_the_ricker_map_without_noise_stays_at_its_fixed_point(compiled, tmp_path):
    """N = log r is where the map stands still, and it is stable for log r < 2."""
    theta = {"log_r": np.array([1.5]), "log_sigma": np.array([-40.0]), "log_phi": np.array([8.0])}
    y = np.asarray(project("ricker", tmp_path).simulator(theta, {}, np.random.default_rng(0))["y"])
    mean = 1.5 * np.exp(8.0)
    assert abs(y.mean() - mean) < 4.5 * np.sqrt(mean / 50) and 0.5 < y.var() / mean < 2


def test_sbiwb_simulate_runs_the_compiled_program(compiled, tmp_path, recorder):
    settings = ("simulate.train=600", "simulate.validation=256", "simulate.test=256")
    told = simulate(project("ricker", tmp_path, *settings), recorder)
    assert told["train"].rows == 768 and told["train"].failed == 0
    y = np.asarray(load_split(project("ricker", tmp_path, *settings), "train").x["y"])
    assert y.shape == (600, 50) and len(np.unique(y, axis=0)) == 600


COUNTED = """
import csv, json, random, sys
theta, out, seed, log = sys.argv[1:5]
rows = list(csv.DictReader(open(theta)))
print(len(rows), file=open(log, "a"))
r = random.Random(int(seed))
if CRASH and any(float(row["mu"]) > 0.8 for row in rows):
    sys.exit("mean too large")
with open(out, "w") as f:
    print("y", file=f)
    for row in rows:
        y = float(row["mu"]) + r.gauss(0, 1)
        print("NA" if float(row["mu"]) > 0.8 else y, file=f)
"""


def batched_program(folder: Path, crash: bool, **changes: Any) -> tuple[Any, Path]:
    """A program for 16 rows that crashes, or writes NA, where mu > 0.8; and where it counts
    them."""
    log = folder / "calls.txt"
    command = ["{theta}", "{out}", "{seed}", str(log)]
    options = {"input": "csv", "output": "csv"}
    code = COUNTED.replace("CRASH", str(crash))
    tiny = external(folder, code, command, {"batched": True, **changes}, **options)
    return tiny.open(), log


def test_rows_that_a_program_marks_cost_no_further_call(tmp_path):
    opened, log = batched_program(tmp_path, crash=False)
    pairs, failures = simulate_block(opened.problem, "train", 0, 16, FailureCounter(1.0))
    assert failures and pairs.theta["mu"].max() <= 0.8 and not np.isnan(pairs.x["y"]).any()
    assert {(one.kind, one.message) for one in failures} == {("not finite", "'y' is not finite")}
    attempts = max(one.attempt for one in failures) + 2  # in the last one nothing failed
    assert len(log.read_text().split()) == attempts


def test_marks_are_missing_values_where_they_may_be(tmp_path):
    opened, log = batched_program(tmp_path, crash=False, missing=["y"])
    pairs, failures = simulate_block(opened.problem, "train", 0, 16, FailureCounter(1.0))
    assert failures == [] and log.read_text() == "16\n"
    np.testing.assert_array_equal(np.isnan(pairs.x["y"]), pairs.theta["mu"] > 0.8)


def test_a_program_that_fails_for_a_row_is_called_for_halves(tmp_path):
    opened, log = batched_program(tmp_path, crash=True)
    pairs, failures = simulate_block(opened.problem, "train", 0, 8, FailureCounter(1.0))
    sizes = list(map(int, log.read_text().split()))
    assert sizes[:2] == [8, 4] and 2 in sizes
    assert failures and pairs.theta["mu"].max() <= 0.8
    assert {one.message.rpartition(": ")[2] for one in failures} == {"mean too large"}
    isolated = replace(opened.problem, simulator=opened.isolated)
    try:
        again, _ = simulate_block(isolated, "train", 0, 8, FailureCounter(1.0))
    finally:
        opened.isolated.close()
    np.testing.assert_array_equal(again.x["y"], pairs.x["y"])


def test_a_table_without_names_is_refused_with_its_first_line(tmp_path):
    tiny = external(tmp_path, "print(0.25)\nprint(1.5)\n", [], output="csv")
    with pytest.raises(SimulatorError) as caught:
        call(tiny)
    assert caught.value.what == "its output begins with the numbers 0.25 and not with names"
    assert "a first line of names such as 'x'" in caught.value.todo
