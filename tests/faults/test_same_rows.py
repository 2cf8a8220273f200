"""The rows are byte for byte the same whoever makes them, in shards of any size; those that a clock
decided are exempt, and listed."""

from __future__ import annotations

import pytest

from sbiwb.workflow import simulate as module
from sbiwb.workflow.simulate import simulate
from tests.cluster.conftest import CLUSTER, slurm  # noqa: F401  (a fixture)
from tests.faults.bench import Bench, KillAfter, use
from tests.faults.same import differing, exempt, failed, rows
from tests.tiny import Recorder, Tiny

CORNERS = '''"""Normal data, with corners in which it fails; beyond mu = 2.2 it takes too long, where SLOW."""
import time
import numpy as np


def simulate(mu, *, rng, n):
    y = mu[:, None] + rng.standard_normal((len(mu), n))
    if SLOW and (mu > 2.2).any():
        time.sleep(60)
    if (mu < -2.2).any():
        raise ValueError("below")
    y[(mu > 1.2) & (mu < 1.4)] = np.nan
    return {"y": y}
'''
SIZES = (64, 96)
SERIAL = "serial"
POOLS = [{"kind": "pool", "workers": workers} for workers in (1, 2, 4)]
DASK = {"kind": "dask", "workers": 2}
FAILURES = {"max_rate": 0.5}
TIMED = {**FAILURES, "timeout_s": 0.7}


def project(folder, executor, size: int, failures: dict = FAILURES) -> Tiny:
    machine = {"executor": executor, "cluster": CLUSTER}
    simulator = CORNERS.replace("SLOW and", f"{'timeout_s' in failures} and")
    return Tiny.write(
        folder,
        {"simulate": {"shard_size": size, "failures": failures}, "machine": machine},
        simulator,
    )


def made(folder, executor, size: int, failures: dict = FAILURES) -> Tiny:
    """A finished run, made by this executor however little there is to do."""
    tiny = project(folder, executor, size, failures)
    simulate(tiny.open(), Recorder())
    return tiny


def by_shares(folder, size: int) -> Tiny:
    """The same by three workers, each a command of its own; the plan is of a command that died."""
    bench, tiny = Bench(folder), project(folder / "it", SERIAL, size)
    assert bench.run(tiny, first=lambda: use(KillAfter("config.yaml"))).startswith("-9 ")
    for index in (2, 0, 1):
        assert bench.worker(tiny, str(index), "--of", "3").startswith("0 ")
    return tiny


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    return rows(made(tmp_path_factory.mktemp("serial"), SERIAL, 64))


@pytest.fixture(autouse=True)
def whatever_it_costs(monkeypatch):
    monkeypatch.setattr(module, "NOT_WORTH_A_POOL_S", 0.0)


def test_two_workers_and_three_shares_make_the_same_rows(tmp_path, serial):
    pool, shares = made(tmp_path / "pool", POOLS[1], 96), by_shares(tmp_path, 64)
    assert len(serial) == 12 and len(set(serial.values())) == 12
    assert rows(pool) == serial and rows(shares) == serial
    assert failed(pool) == failed(shares) != []
    assert pool.shards().keys() != shares.shards().keys()


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("executor", [SERIAL, *POOLS, DASK, "shares"], ids=str)
def test_the_same_rows_whoever_makes_them(tmp_path, serial, executor, size):
    if executor is DASK:
        pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    tiny = by_shares(tmp_path, size) if executor == "shares" else made(tmp_path, executor, size)
    assert exempt(tiny) == set()
    assert differing(rows(tiny), serial, set()) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_the_same_rows_but_for_those_that_timed_out(tmp_path, size):
    runs = [
        made(tmp_path / str(number), how, size, TIMED)
        for number, how in enumerate((SERIAL, *POOLS[1:]))
    ]
    but = set().union(*map(exempt, runs))
    print(f"exempt for a timeout: {sorted(but)}")
    assert 0 < len(but) < 12
    first = rows(runs[0])
    assert [differing(rows(other), first, but) for other in runs[1:]] == [[], []]


@pytest.mark.cluster
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", SIZES)
def test_the_same_rows_from_slurm(tmp_path, monkeypatch, serial, slurm, size):  # noqa: F811
    tiny = project(tmp_path, {"kind": "slurm", "poll_s": 0.2}, size)
    monkeypatch.chdir(tiny.folder)
    simulate(tiny.open(), Recorder())
    slurm.empty()
    assert exempt(tiny) == set()
    assert differing(rows(tiny), serial, set()) == []
