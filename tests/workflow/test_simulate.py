"""`simulate`: the same rows whoever makes them and however often it is killed; other problems are
refused."""

from __future__ import annotations

import random
import signal
import time

import numpy as np
import pytest

from sbiwb.errors import FailureRateError, RunError
from sbiwb.files import read_json
from sbiwb.project.splits import load_split
from sbiwb.rundir import RunDir
from sbiwb.store import manifest
from sbiwb.store.shard_record import record_path
from sbiwb.workflow import simulate as module
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.status import status
from sbiwb.workflow.status_failures import gather
from sbiwb.workflow.train import train
from tests.store.faulty import damaged_shards
from tests.tiny import SIMULATOR, SLOW_SIMULATOR, Recorder, Tiny, digest, until


def rows(tiny: Tiny, split: str = "train") -> np.ndarray:
    pairs = load_split(tiny.open(), split)
    return np.column_stack([pairs.theta["mu"], pairs.x["y"]])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nobody killed."""
    from tests.tiny import Recorder

    tiny = Tiny.write(tmp_path_factory.mktemp("undisturbed"), {}, SLOW_SIMULATOR)
    simulate(tiny.open(), Recorder())
    return tiny


EXECUTORS = {
    "serial": "serial",
    "one worker": {"kind": "pool", "workers": 1},
    "four workers": {"kind": "pool", "workers": 4},
}


def test_counts_are_told(undisturbed):
    told = read_json(undisturbed.run / "data" / "manifest.json")["splits"]
    assert {split: (one["rows"], one["shards"], one["failed"]) for split, one in told.items()} == {
        "train": (256, 4, 0),
        "validation": (64, 1, 0),
        "test": (64, 1, 0),
    }


@pytest.mark.parametrize("executor", [name for name in EXECUTORS if name != "serial"])
def test_the_same_bytes_from_any_executor(tmp_path, monkeypatch, recorder, undisturbed, executor):
    monkeypatch.setattr(module, "NOT_WORTH_A_POOL_S", 0)
    tiny = Tiny.write(tmp_path, {"machine": {"executor": EXECUTORS[executor]}}, SLOW_SIMULATOR)
    simulate(tiny.open(), recorder)
    assert tiny.shards() == undisturbed.shards()


@pytest.mark.parametrize("size", [32, 96, 100_000])
def test_the_same_rows_in_shards_of_any_size(tmp_path, recorder, undisturbed, size):
    tiny = Tiny.write(tmp_path, {"simulate": {"shard_size": size}}, SLOW_SIMULATOR)
    simulate(tiny.open(), recorder)
    assert len(tiny.shards()) != len(undisturbed.shards())
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(rows(tiny, split), rows(undisturbed, split))


def test_no_row_comes_twice(undisturbed):
    every = np.concatenate(
        [rows(undisturbed, split)[:, 0] for split in ("train", "validation", "test")]
    )
    assert len(np.unique(every)) == 256 + 64 + 64


def killed_and_run_again(tmp_path, undisturbed, kills: int, seed: int) -> int:
    """How many kills came before the end."""
    tiny = Tiny.write(tmp_path, {}, SLOW_SIMULATOR)
    dice, early = random.Random(seed), 0
    for _ in range(kills):
        early += tiny.fork("simulate").kill_after(dice.uniform(0, 0.45)) == -signal.SIGKILL
    assert tiny.fork("simulate").wait() == 0
    assert tiny.shards() == undisturbed.shards()
    return early


def test_killed_at_random_and_run_again_gives_the_same_bytes(tmp_path, undisturbed):
    assert killed_and_run_again(tmp_path, undisturbed, kills=5, seed=1) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_many_times(tmp_path, undisturbed, seed):
    killed_and_run_again(tmp_path, undisturbed, kills=5, seed=seed + 10)


@pytest.mark.slow
def test_the_real_command_with_a_pool_killed_and_run_again(tmp_path, undisturbed):
    import subprocess

    from tests.tiny import SBIWB

    slow = SLOW_SIMULATOR.replace("0.02", "0.5")
    tiny = Tiny.write(tmp_path, {"machine": {"executor": {"kind": "pool", "workers": 2}}}, slow)
    process = subprocess.Popen([SBIWB, *tiny.arguments("simulate")], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not tiny.shards() and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert 0 < len(tiny.shards()) < 6
    assert tiny.command("simulate").returncode == 0
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(rows(tiny, split), rows(undisturbed, split))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_polite_signal_ends_with_75_and_no_failed_row(tmp_path, undisturbed, number):
    tiny = Tiny.write(tmp_path, {}, SLOW_SIMULATOR)
    child = tiny.fork("simulate")
    until(lambda: tiny.shards())
    assert child.kill_after(0.03, number) == 75
    assert (
        f"stopped by {number.name}" in child.output
        and "Run the same command again to continue." in child.output
    )
    assert 0 < len(tiny.shards()) < 6
    assert tiny.fork("simulate").wait() == 0
    assert tiny.shards() == undisturbed.shards()


def test_ctrl_c_ends_with_130(tmp_path):
    tiny = Tiny.write(tmp_path, {}, SLOW_SIMULATOR)
    child = tiny.fork("simulate")
    until(lambda: tiny.shards())
    assert child.kill_after(0.03, signal.SIGINT) == 130
    assert "Interrupted" in child.output


def spoil(path):
    path.write_bytes(path.read_bytes()[:-5])


def lose(path):
    path.unlink()


def garble(path):
    record_path(path).write_bytes(b"\0" * 50)


def orphan(path):
    record_path(path).unlink()


@pytest.mark.parametrize("damage", [spoil, lose, garble, orphan])
def test_a_damaged_shard_is_set_aside_and_made_again(tiny, recorder, damage):
    project = tiny()
    simulate(project.open(), recorder)
    before, path = project.shards(), project.run / "data/train/shard-000002.h5"
    damage(path)
    simulate(project.open(), recorder)
    assert project.shards() == before
    if damage in (spoil, garble):
        assert (
            "kept as shard-000002.h5.damaged, its rows are simulated again." in recorder.warned[0]
        )
        assert path.with_suffix(".h5.damaged").exists()


def test_what_exists_is_not_made_again(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    times = {path: path.stat().st_mtime_ns for path in project.run.glob("data/*/*.h5")}
    recorder.advanced.clear()
    simulate(project.open(), recorder)
    assert recorder.advanced == {}
    assert times == {path: path.stat().st_mtime_ns for path in project.run.glob("data/*/*.h5")}


def test_growing_gives_the_rows_of_asking_at_once(tiny, recorder, undisturbed):
    project = tiny(simulate={"train": 96})
    project.simulator(SLOW_SIMULATOR)
    simulate(project.open(), recorder)
    before = project.shards()
    project.change({})
    simulate(project.open(), recorder)
    assert before.items() <= project.shards().items()
    np.testing.assert_array_equal(rows(project), rows(undisturbed))


PROBLEMS = [
    (
        {"problem": {"parameters": {"mu": {"kind": "normal", "scale": 2.0}}}},
        "problem.parameters.mu.scale: 1.0 -> 2.0",
    ),
    ({"problem": {"constants": {"n": 5}}}, "problem.constants.n: 4 -> 5"),
    (
        {"simulate": {"seed": 4, "block_size": 16}},
        "simulate.seed: 3 -> 4; simulate.block_size: 32 -> 16",
    ),
    ({"problem": {"batched": False}}, "problem.batched: True -> False"),
]


@pytest.mark.parametrize(("changes", "told"), PROBLEMS)
def test_another_problem_never_mixes_in(tiny, recorder, changes, told):
    project = tiny()
    simulate(project.open(), recorder)
    before = project.shards()
    project.change(changes)
    with pytest.raises(RunError) as caught:
        simulate(project.open(), recorder)
    assert caught.value.what == f"holds simulations of another problem: {told}"
    assert "another `name`" in caught.value.todo and caught.value.where == str(project.run / "data")
    assert project.shards() == before


def test_other_code_is_another_problem_and_a_comment_is_not(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    project.simulator(SIMULATOR + "\n# a note\n")
    simulate(project.open(), recorder)
    project.simulator(SIMULATOR.replace("mu[:, None] +", "mu[:, None] -"))
    with pytest.raises(RunError, match=r"problem\.simulator code changed"):
        simulate(project.open(), recorder)


def test_the_order_of_parameters_counts(tiny, recorder):
    both = SIMULATOR.replace("(mu,", "(mu, tau,")
    project = tiny(problem={"parameters": {"mu": {"kind": "normal"}, "tau": {"kind": "normal"}}})
    project.simulator(both)
    simulate(project.open(), recorder)
    text = project.yaml.read_text()
    project.yaml.write_text(
        text.replace(
            "    mu:\n      kind: normal\n    tau:", "    tau:\n      kind: normal\n    mu:"
        )
    )
    with pytest.raises(RunError, match=r"problem\.parameters: order mu, tau -> tau, mu"):
        simulate(project.open(), recorder)


def test_where_and_how_fast_is_free_to_change(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    before = project.shards()
    project.change(
        {
            "machine": {"threads": 2, "executor": "pool"},
            "diagnose": {"draws": 39},
            "problem": {"observations": {}},
        }
    )
    simulate(project.open(), recorder)
    assert project.shards() == before


def test_another_runs_shards_are_used_and_not_written(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    before = project.shards()
    project.change({"name": "other", "simulate": {"from": "runs/tiny"}})
    other = project.open()
    simulate(other, recorder)
    assert "Using the simulations of" in recorder.said[-1]
    assert project.shards() == before and not (other.run.path / "data").exists()
    np.testing.assert_array_equal(load_split(other, "train").theta["mu"], rows(project)[:, 0])
    assert status(other.run.path).simulated["train"] == (256, 256, 4, 0)


FROM = [
    ({"seed": 4}, "simulates another problem: simulate.seed: 3 -> 4"),
    ({"train": 2048}, "has fewer than 2,048 pairs of train"),
    ({"from": "runs/none"}, "holds no simulations"),
]


@pytest.mark.parametrize(("changes", "told"), FROM)
def test_another_run_that_does_not_fit(tiny, recorder, changes, told):
    project = tiny()
    simulate(project.open(), recorder)
    project.change({"name": "other", "simulate": {"from": "runs/tiny", **changes}})
    with pytest.raises(RunError) as caught:
        simulate(project.open(), recorder)
    assert caught.value.what == told and caught.value.todo


FAILING = """import numpy as np


def simulate(mu, *, rng, n):
    y = mu[:, None] + rng.standard_normal((len(mu), n))
    y[mu > 1.5] = np.nan
    return {"y": y}
"""


def test_failures_are_counted_replaced_and_told(tiny, recorder):
    project = tiny(simulate={"failures": {"max_rate": 0.2}})
    project.simulator(FAILING)
    told = simulate(project.open(), recorder)
    assert told["train"].rows == 256 and told["train"].failed > 0
    assert rows(project)[:, 0].max() <= 1.5
    assert (
        "were replaced by new pairs; for example: 'y' is not finite (at mu=" in recorder.warned[0]
    )


def test_too_many_failures_stop_and_keep_the_shards(tiny, recorder):
    project = tiny(simulate={"train": 4096, "failures": {"max_rate": 0.01}})
    project.simulator(FAILING)
    with pytest.raises(
        FailureRateError,
        match=r"more than simulate.failures.max_rate = 0.01; for example: 'y' is not finite",
    ):
        simulate(project.open(), recorder)
    assert manifest.shards(project.run / "data/train")


def test_the_same_problem_in_another_folder_has_the_same_bytes(tmp_path, undisturbed, recorder):
    tiny = Tiny.write(tmp_path / "elsewhere", {}, SLOW_SIMULATOR)
    simulate(tiny.open(), recorder)
    assert tiny.shards() == undisturbed.shards()
    assert digest(tiny.run / "data/train/shard-000000.h5") in undisturbed.shards().values()


def test_two_at_once_into_one_folder_harm_nothing(tmp_path, undisturbed):
    tiny = Tiny.write(tmp_path, {}, SLOW_SIMULATOR)
    children = [tiny.fork("simulate") for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    assert tiny.shards() == undisturbed.shards()
    assert damaged_shards(tiny.run / "data/train") == []


def test_a_polite_signal_to_a_pool_ends_with_75(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "NOT_WORTH_A_POOL_S", 0)
    slower = SLOW_SIMULATOR.replace("0.02", "0.2")
    tiny = Tiny.write(tmp_path, {"machine": {"executor": {"kind": "pool", "workers": 2}}}, slower)
    child = tiny.fork("simulate")
    until(lambda: tiny.shards())
    assert child.kill_after(0.05, signal.SIGTERM) == 75, child.output
    assert 0 < len(tiny.shards()) < 6


def test_a_change_of_code_can_be_accepted_and_nothing_else(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    before = project.shards()
    project.simulator(SIMULATOR.replace("mu[:, None] +", "1.0 * mu[:, None] +"))
    with pytest.raises(RunError) as refused:
        simulate(project.open(), recorder)
    assert "--accept-code-change" in refused.value.todo
    simulate(project.open(), recorder, accept_code_change=True)
    train(project.open(), recorder)
    assert project.shards() == before
    simulate(project.open("simulate.train=512"), recorder)  # grows under the old identity
    assert before.items() <= project.shards().items()
    project.change({"simulate": {"seed": 4}})
    with pytest.raises(RunError, match=r"not only the simulator's code"):
        simulate(project.open(), recorder, accept_code_change=True)


def test_borrowing_takes_seed_and_counts_from_the_other_run(tiny, recorder):
    project = tiny()
    simulate(project.open(), recorder)
    document = project.yaml.read_text()
    start, end = document.index("simulate:"), document.index("model:")
    project.yaml.write_text(
        document[:start].replace("name: tiny", "name: other")
        + "simulate: {from: runs/tiny}\n"
        + document[end:]
    )
    borrowed = project.open()
    simulate(borrowed, recorder)
    assert len(load_split(borrowed, "train")) == 256 and borrowed.config.simulate.seed == 3


# mu beyond 1.7 or -1.7 ends the process, between 1.3 and 1.7 it may hang in compiled code, and near
# 0 it raises
DEADLY = """import ctypes, itertools, os


def simulate(mu, *, rng, n):
    print("words " * 1000)
    y = mu[:, None] + rng.standard_normal((len(mu), n))
    if (mu > 1.7).any():
        ctypes.string_at(0)
    if (mu < -1.7).any():
        os._exit(0)
    if HANGS and ((mu > 1.3) & (mu < 1.7)).any():
        sum(itertools.repeat(0))
    if (abs(mu) < 0.15).any():
        raise ValueError("near zero")
    return {"y": y}
"""
FEW = {
    "train": 24,
    "validation": 8,
    "test": 8,
    "block_size": 8,
    "shard_size": 24,
    "failures": {"max_rate": 0.9, "timeout_s": 1.0},
}


def reasons(tiny: Tiny) -> dict[str, int]:
    """Failed rows by reason."""
    ledger = gather(RunDir(tiny.run), Recorder())
    assert sum(ledger.reasons.values()) == len(ledger.failed) > 0
    return ledger.reasons


def deadly(folder, executor, hangs: bool = False) -> Tiny:
    return Tiny.write(
        folder,
        {"simulate": FEW, "machine": {"executor": executor}},
        DEADLY.replace("HANGS", str(hangs)),
    )


def test_a_simulator_that_ends_its_process_costs_the_guilty_rows_alone(tmp_path, recorder, capfd):
    tiny = deadly(tmp_path, "pool")
    told = simulate(tiny.open(), recorder)
    mu = abs(rows(tiny)[:, 0])
    assert told["train"].rows == len(mu) == 24 and mu.max() <= 1.7 and mu.min() >= 0.15
    assert set(reasons(tiny)) == {"killed by SIGSEGV", "exit code 0", "ValueError"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize(("hangs", "workers"), [(False, 1), (False, 2), (False, 4), (True, 2)])
def test_the_same_bytes_from_workers_that_die(tmp_path, monkeypatch, recorder, hangs, workers):
    """Each death costs a new process, some seconds; serial is the simulator isolated in this
    one."""
    alone = deadly(tmp_path / "alone", "pool", hangs)
    simulate(alone.open(), recorder)
    monkeypatch.setattr(module, "NOT_WORTH_A_POOL_S", 0)
    tiny = deadly(tmp_path / "pool", {"kind": "pool", "workers": workers}, hangs)
    simulate(tiny.open(), recorder)
    assert tiny.shards() == alone.shards()
    assert reasons(tiny) == reasons(alone) and ("timeout" in reasons(tiny)) == hangs


def test_missing_is_part_of_the_problem_only_where_it_names_something(tiny):
    plain = tiny().open()
    assert "missing" not in plain.data_identity["problem"]
    assert (
        tiny(problem={"missing": ["y"]}).open().data_hash
        != plain.data_hash
        == tiny(problem={"missing": []}).open().data_hash
    )
