"""The gathered ledger: counts, places and parameters as they were written; the interval against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from sbiwb.rundir import SPLITS
from sbiwb.seeds import generator
from sbiwb.store import manifest
from sbiwb.store.ledger import count_reasons, exact_interval, gather
from sbiwb.workflow.simulate import simulate

FAILING = """import numpy as np


def simulate(mu, *, rng, n):
    if (mu < -1).any():
        raise ValueError("too low")
    y = mu[:, None] + rng.standard_normal((len(mu), n))
    y[mu > 1] = np.nan
    return {"y": y}
"""


@pytest.fixture
def shards(tiny, recorder):
    project = tiny(simulate={"failures": {"max_rate": 0.9}})
    project.simulator(FAILING)
    simulate(project.open(), recorder)
    return [shard for split in SPLITS for shard in manifest.shards(project.run / "data" / split)]


def test_what_is_gathered(shards):
    ledger = gather(shards)
    low = ledger.theta["mu"] < -1
    assert (
        ledger.reasons == {"ValueError": low.sum(), "not finite": (~low).sum()}
        and count_reasons(shards) == ledger.reasons
    )
    assert (ledger.theta["mu"][~low] > 1).all() and ledger.failed == len(ledger.theta["mu"]) > 0
    assert ledger.simulated == ledger.failed + sum(shard.record["rows"] for shard in shards)
    assert all(
        ("too low" in message) == is_low
        for message, is_low in zip(ledger.messages, low, strict=True)
    )
    assert (ledger.seconds >= 0).all() and ledger.seconds.shape == low.shape
    assert ledger.interval[0] < ledger.p_valid < ledger.interval[1]
    assert abs(ledger.p_valid - 0.6827) < 0.1


def test_a_place_is_where_the_pair_came_from(shards):
    ledger = gather([shard for shard in shards if "train" in shard.path.parts])
    from sbiwb.priors import family

    prior = family.parse("normal").build()
    firsts = ledger.place[:, 1] == 0
    for (block, attempt, row), mu in zip(
        ledger.place[firsts], ledger.theta["mu"][firsts], strict=True
    ):
        assert prior.sample(generator(3, "train", int(block), int(attempt)), 32)[row, 0] == mu


def test_nothing_failed(shards):
    ledger = gather([])
    assert (
        ledger.failed == 0
        and ledger.reasons == {}
        and ledger.place.shape == (0, 3)
        and np.isnan(ledger.p_valid)
    )


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (10, 10), (3, 10), (995, 1000)])
def test_the_interval_is_that_of_clopper_and_pearson(hits, trials):
    exact = binomtest(hits, trials).proportion_ci(0.95, "exact")
    assert exact_interval(hits, trials) == pytest.approx((exact.low, exact.high))
