"""Processes that train together, under torchrun or srun: who this one is; their exchanges."""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from sbiwb.environment import whole_number
from sbiwb.errors import ConfigError, TrainingError

TIMEOUT = timedelta(minutes=10)
PORT = 29500


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone, every exchange is nothing.

    Args:
        rank: 0 writes files.
        world: How many there are.
        local: Number on this machine, which is that of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def all_reduce_sum(self, values: Tensor) -> None:
        """Replaces values by their sum over all processes, the same bits in each.

        Raises:
            TrainingError: Another process is gone.
        """
        if self.world > 1:
            with self.together():
                dist.all_reduce(values)

    def all_equal(self, values: Tensor) -> bool:
        """Whether all processes hold the very same values."""
        if self.world == 1:
            return True
        digest = values.detach().view(torch.int32).to(torch.int64).sum().reshape(1)
        low, high = digest.clone(), digest.clone()
        with self.together():
            dist.all_reduce(low, dist.ReduceOp.MIN)
            dist.all_reduce(high, dist.ReduceOp.MAX)
        return bool(low == high)

    def any_rank(self, here: bool) -> bool:
        """Whether it holds in one of the processes; all must ask at the same step."""
        if self.world == 1:
            return here
        flag = torch.tensor([float(here)])
        self.all_reduce_sum(flag)
        return bool(flag > 0)

    def broadcast(self, value: str) -> str:
        """What the first process has, in all of them."""
        if self.world == 1:
            return value
        values = [value]
        with self.together():
            dist.broadcast_object_list(values)
        return values[0]

    def barrier(self) -> None:
        """Waits until all are here."""
        if self.world > 1:
            with self.together():
                dist.barrier()

    @contextmanager
    def together(self) -> Iterator[None]:
        """An exchange with the others, which fails when one of them is gone."""
        try:
            yield
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"process {self.rank} of {self.world} lost another one: {reason}",
                where="train",
                todo="Run the same command again: it goes on from the newest checkpoint "
                "(torchrun --max-restarts does so by itself).",
            ) from error


ALONE = Ranks()


def ranks_from_environment() -> Ranks:
    """Who this process is, by the environment of torchrun, or of srun with several tasks.

    Raises:
        ConfigError: A variable of that environment is no number, or the numbers do not go together.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return _ranks("RANK", "WORLD_SIZE", "LOCAL_RANK")
    # SLURM_NTASKS is there without srun too
    if "SLURM_PROCID" in os.environ and whole_number("SLURM_STEP_NUM_TASKS", 1) > 1:
        return _ranks("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    return ALONE


def _ranks(rank: str, world: str, local: str) -> Ranks:
    ranks = Ranks(whole_number(rank, 0), whole_number(world, 1), whole_number(local, 0))
    if ranks.rank >= ranks.world:
        raise ConfigError(
            f"{rank}={ranks.rank} and {world}={ranks.world} do not go together",
            where="the environment",
            todo=f"Ranks count from 0. Unset {rank} and {world}, or start by torchrun or srun.",
        )
    return ranks


def _set_meeting_point() -> None:
    """Under srun: the first node of the job, and a port that two jobs on one node do not share."""
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "localhost")
    port = PORT + whole_number("SLURM_JOB_ID", 0) % 10_000
    os.environ.setdefault("MASTER_ADDR", first_node(nodes))
    os.environ.setdefault("MASTER_PORT", str(port))


def first_node(nodes: str) -> str:
    """The first of SLURM's node list.

    Example:
        >>> first_node("gpu[07-09,12],cpu1"), first_node("n1,n2")
        ('gpu07', 'n1')
    """
    prefix, bracket, rest = nodes.split(",")[0].partition("[")
    if not bracket:
        return prefix
    return prefix + re.split(r"[-,\]]", rest)[0]


@contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """The processes of this training, connected while inside: by nccl on GPUs, else by gloo.

    Raises:
        ConfigError: The environment does not say which process this is.
        TrainingError: Not all of them came.
    """
    ranks = ranks_from_environment()
    if ranks.world == 1:
        yield ranks
        return
    _set_meeting_point()
    if device == "cuda":
        torch.cuda.set_device(ranks.local % torch.cuda.device_count())
    _connect(ranks)
    try:
        yield ranks
        ranks.barrier()  # destroying the group while another process still sends aborts that one
    finally:
        dist.destroy_process_group()


def _connect(ranks: Ranks) -> None:
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
    rank, world = ranks.rank, ranks.world
    with ranks.together():
        store, _, _ = next(dist.rendezvous("env://", rank, world, timeout=TIMEOUT))
        own = dist.PrefixStore(rendezvous_token(store, ranks), store)
        dist.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=TIMEOUT)


def rendezvous_token(store: dist.Store, ranks: Ranks) -> str:
    """A name that the processes alive now share, and no earlier ones.

    torchrun keeps one store over its restarts (torch 2.13), where a new process can find the
    address of a dead one and wait for it forever. So each says a word of its own, the first repeats
    all of them, and all wait until everybody has seen the same.
    """
    word = uuid.uuid4().hex
    store.set(f"sbiwb/here/{ranks.rank}", word)
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while time.monotonic() < deadline:
        words = _repeated_words(store, ranks)
        if words[ranks.rank : ranks.rank + 1] == [word] and _all_have_seen(store, ranks, words):
            return hashlib.sha256(",".join(words).encode()).hexdigest()
        time.sleep(0.01)
    raise RuntimeError(f"not all {ranks.world} processes came within {TIMEOUT}")


def _repeated_words(store: dist.Store, ranks: Ranks) -> list[str]:
    """The words of all processes as the first repeats them; before it does, none."""
    if ranks.is_main and _have_set(store, "here", ranks.world):
        store.set("sbiwb/all", ",".join(_read(store, "here", ranks.world)))
    if not store.check(["sbiwb/all"]):
        return []
    return store.get("sbiwb/all").decode().split(",")


def _all_have_seen(store: dist.Store, ranks: Ranks, words: list[str]) -> bool:
    text = ",".join(words)
    store.set(f"sbiwb/seen/{ranks.rank}", text)
    if not _have_set(store, "seen", ranks.world):
        return False
    return set(_read(store, "seen", ranks.world)) == {text}


def _have_set(store: dist.Store, kind: str, world: int) -> bool:
    """Whether all have set their key of a kind.

    Reading before would wait, and the first could not say again what another missed.
    """
    return store.check([f"sbiwb/{kind}/{rank}" for rank in range(world)])


def _read(store: dist.Store, kind: str, world: int) -> list[str]:
    values = store.multi_get([f"sbiwb/{kind}/{rank}" for rank in range(world)])
    return [value.decode() for value in values]
