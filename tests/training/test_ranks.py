"""What processes that train together agree on before they connect."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from sbiwb.errors import ConfigError
from sbiwb.training.ranks import (
    ALONE,
    Ranks,
    first_node,
    ranks_from_environment,
    rendezvous_token,
)


def met(store: dist.Store, world: int = 3) -> set[str]:
    with ThreadPoolExecutor(world) as pool:
        return set(pool.map(lambda rank: rendezvous_token(store, Ranks(rank, world)), range(world)))


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


@pytest.mark.parametrize(
    "variables, ranks",
    [
        ({}, ALONE),
        ({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Ranks(1, 4, 1)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3", "SLURM_LOCALID": ""}, Ranks(2, 3, 0)),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, ALONE),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, ALONE),  # no srun
    ],
)
def test_who_this_process_is(monkeypatch, variables, ranks):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ranks_from_environment() == ranks


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x is not a whole number"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK=-1 is not a whole number"),
        ({"RANK": "0", "WORLD_SIZE": "2e9"}, "WORLD_SIZE=2e9 is not a whole number"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "gpu"}, "LOCAL_RANK=gpu is not"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 and WORLD_SIZE=2 do not go together"),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "many"}, "SLURM_STEP_NUM_TASKS=many is"),
    ],
)
def test_an_environment_that_is_no_number_is_told(monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"the environment  {message}.*[Uu]nset"):
        ranks_from_environment()
