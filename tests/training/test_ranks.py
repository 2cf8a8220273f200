"""What processes that train together agree on before they connect."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch.distributed as dist

from sbiwb.training.ranks import Ranks, first_node, generation


def met(store: dist.Store, world: int = 3) -> set[str]:
    with ThreadPoolExecutor(world) as pool:
        return set(pool.map(lambda rank: generation(store, Ranks(rank, world)), range(world)))


def test_processes_that_meet_again_in_one_store_never_take_the_word_of_the_dead():
    store = dist.HashStore()  # as torchrun keeps one over its restarts
    names = [met(store) for _ in range(5)]
    assert all(len(name) == 1 for name in names) and len(set.union(*names)) == 5


def test_half_of_an_earlier_meeting_is_no_meeting():
    store = dist.HashStore()
    store.set("sbiwb/here/1", "dead")
    store.set("sbiwb/all", "dead,dead,dead")
    store.set("sbiwb/seen/2", "dead,dead,dead")
    assert len(met(store)) == 1


def test_the_first_node_of_slurms_lists():
    assert [first_node(nodes) for nodes in ("gpu[07-09,12],cpu1", "n1,n2", "n[1,3]", "alone")] == [
        "gpu07",
        "n1",
        "n1",
        "alone",
    ]
