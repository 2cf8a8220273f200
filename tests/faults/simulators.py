"""Rows 6 and 7: simulators that raise, return nonsense, crash, hang, eat memory, fork and shout."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.faults.bench import POOL, Bench, Fault, Seen, beside
from tests.faults.same import rows
from tests.workflow.test_simulate import DEADLY, FEW

BODY = '''"""Normal data, and what goes wrong."""
import ctypes, itertools, os, sys, time
import numpy as np


def simulate(mu, *, rng, n):
    y = mu[:, None] + rng.standard_normal((len(mu), n))
    {fault}
    return {{"y": y}}
'''
FEW_TOLERANT = {**FEW, "failures": {"max_rate": 0.9}}
TOLERANT: dict[str, Any] = {"simulate": {"failures": {"max_rate": 0.5}}}


def guilty(bench: Bench, *, fault: str) -> Seen:
    """Some rows fail: the run goes on with others, and a pool makes the same ones."""
    tiny = bench.tiny({"simulate": FEW_TOLERANT, **POOL}, BODY.format(fault=fault))
    told = bench.run(tiny, at_once=True)
    return Seen(told, equal=tiny.shards() == beside(tiny, "serial"))


def moved(bench: Bench, *, fault: str) -> Seen:
    """The same in another folder: the ledger is under the same checksum, so it too must not know
    where it was made."""
    first, second = (
        bench.tiny({"simulate": FEW_TOLERANT, **POOL}, BODY.format(fault=fault), name=name)
        for name in ("here", "there")
    )
    told = bench.run(first)
    assert bench.run(second).startswith("0 ")
    return Seen(told, equal=first.shards() == second.shards())


def wrong(bench: Bench, *, fault: str) -> Seen:
    """Nothing can be made of it: the command says so, and the mended simulator is run."""
    tiny = bench.tiny(simulator=BODY.format(fault=fault))
    told = bench.run(tiny)
    return bench.again(tiny, told, mend=lambda: tiny.simulator(BODY.format(fault="")))


def late(bench: Bench) -> Seen:
    """Preflight sees nothing of it: after some shards the function returns another shape, for all
    rows."""
    tiny = bench.tiny(simulator=BODY.format(fault="y = y[:, :3] if abs(mu).max() > 2.5 else y"))
    told = bench.run(tiny)
    return Seen(told, equal=None)


def deadly(bench: Bench, *, fault: str = "", **failures: Any) -> Seen:
    """The process of some rows ends: those rows are replaced, and two workers make the bytes that
    one makes."""
    simulate = {**FEW, "failures": {"max_rate": 0.9, **failures}}
    tiny = bench.tiny(
        {"simulate": simulate, **POOL},
        BODY.format(fault=fault) if fault else DEADLY.replace("HANGS", "False"),
    )
    told = bench.run(tiny, at_once=True)
    return Seen(told, equal=tiny.shards() == beside(tiny, "pool"))


def noisy(bench: Bench, *, fault: str) -> Seen:
    """What it prints or leaves running changes nothing: the rows are those of the quiet
    simulator."""
    tiny, quiet = (
        bench.tiny(POOL, BODY.format(fault=fault)),
        bench.tiny(POOL, BODY.format(fault=""), name="quiet"),
    )
    told = bench.run(tiny, at_once=True)
    assert len(told) < 10_000 and bench.run(quiet).startswith("0 ")
    return Seen(told, equal=rows(tiny) == rows(quiet) and tiny.shards() == beside(tiny, "pool"))


RAISES = "if (mu > 1.5).any(): raise ValueError('beyond')"
CRASHES = "if (mu > 1.5).any(): ctypes.string_at(0)"
REPLACED = "^0 .*were replaced by new pairs"
FAULTS = [
    Fault("6", "simulator raises in a corner", partial(guilty, fault=RAISES), REPLACED),
    Fault(
        "6",
        "simulator raises in a corner, in another folder",
        partial(moved, fault=RAISES),
        REPLACED,
        slow=True,
    ),
    Fault(
        "6",
        "simulator returns NaN in a corner",
        partial(guilty, fault="y[mu > 1.5] = np.nan"),
        REPLACED + ".*is not finite",
        slow=True,
    ),
    Fault(
        "6",
        "simulator returns infinity in a corner",
        partial(guilty, fault="y[mu > 1.5, 0] = np.inf"),
        REPLACED + ".*is not finite",
        True,
    ),
    Fault(
        "6",
        "simulator calls sys.exit in a corner",
        partial(guilty, fault="if (mu > 1.5).any(): sys.exit(1)"),
        REPLACED,
        slow=True,
    ),
    Fault(
        "6",
        "simulator always raises",
        partial(wrong, fault="raise ValueError('always')"),
        "^2 .*simulations failed .*ValueError: always",
    ),
    Fault(
        "6",
        "simulator returns the wrong number of rows",
        partial(wrong, fault="y = y[:-1]"),
        "^2 .*its first axis must be",
    ),
    Fault(
        "6", "simulator returns text", partial(wrong, fault="y = y.astype(str)"), "^2 .*not numbers"
    ),
    Fault(
        "6",
        "simulator returns nothing",
        partial(wrong, fault="return None"),
        "^2 .*returned nothing",
    ),
    Fault(
        "6",
        "simulator returns another name each time",
        partial(wrong, fault="return {str(rng.integers(99)): y}"),
        "^2 ",
    ),
    Fault(
        "6",
        "simulator draws from a generator of its own",
        partial(wrong, fault="y += np.random.rand()"),
        "^2 .*generator of its own",
    ),
    Fault("6", "another shape in a corner", late, "^[02] .*(shape|failed)"),
    Fault("7", "simulator crashes, os._exit(0), raises", deadly, REPLACED, slow=True),
    Fault(
        "7",
        "simulator crashes in a corner, in another folder",
        partial(moved, fault=CRASHES),
        REPLACED,
    ),
    Fault(
        "7",
        "simulator hangs in Python",
        partial(deadly, fault="while (mu > 2).any(): pass", timeout_s=0.5),
        REPLACED,
        slow=True,
    ),
    Fault(
        "7",
        "simulator hangs in compiled code",
        partial(deadly, fault="if (mu > 2).any(): sum(itertools.repeat(0))", timeout_s=0.5),
        REPLACED,
        slow=True,
    ),
    Fault(
        "7",
        "simulator eats memory",
        partial(deadly, fault="np.ones(int(1e9 * (mu > 1.5).any()))", memory_gb=1.0),
        REPLACED + ".*Memory",
        slow=True,
    ),
    Fault(
        "7",
        "simulator prints megabytes",
        partial(noisy, fault="print('x' * 3_000_000); os.write(2, b'y' * 3_000_000)"),
        "^0 ",
        slow=True,
    ),
    Fault(
        "7",
        "simulator forks, and the child returns too",
        partial(noisy, fault="os.fork()"),
        "^0 ",
        slow=True,
    ),
    Fault(
        "7",
        "simulator leaves a process running",
        partial(noisy, fault="os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '600')"),
        "^0 ",
        slow=True,
    ),
]
