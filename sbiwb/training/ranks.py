"""Processes that train together, under torchrun or srun: who this one is, and the few things they tell each other."""

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

from sbiwb.errors import TrainingError

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

    def total(self, values: Tensor) -> None:
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

    def any(self, here: bool) -> bool:
        """Whether it holds in one of the processes; all must ask at the same step."""
        if self.world == 1:
            return here
        flag = torch.tensor([float(here)])
        self.total(flag)
        return bool(flag > 0)

    def first(self, value: str) -> str:
        """What the first process has, in all of them."""
        if self.world == 1:
            return value
        told = [value]
        with self.together():
            dist.broadcast_object_list(told)
        return told[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            with self.together():
                dist.barrier()

    @contextmanager
    def together(self) -> Iterator[None]:
        """An exchange with the others, which fails when one of them is gone."""
        try:
            yield
        except RuntimeError as error:
            raise TrainingError(
                f"process {self.rank} of {self.world} lost another one: {str(error).splitlines()[0]}",
                where="train",
                todo="Run the same command again: it goes on from the newest checkpoint (torchrun --max-restarts does so by itself).",
            ) from error


ALONE = Ranks()


def ranks_from_environment() -> Ranks:
    """Who this process is, by the environment of torchrun, or of srun with several tasks."""
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        return Ranks(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", 0)))
    if (
        int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in env
    ):  # of srun; SLURM_NTASKS is there without it too
        return Ranks(
            int(env["SLURM_PROCID"]),
            int(env["SLURM_STEP_NUM_TASKS"]),
            int(env.get("SLURM_LOCALID", 0)),
        )
    return ALONE


def _meeting_point() -> None:
    """Under srun: the first node of the job, and a port that two jobs on one node do not share."""
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "localhost")
    os.environ.setdefault("MASTER_ADDR", first_node(nodes))
    os.environ.setdefault(
        "MASTER_PORT", str(PORT + int(os.environ.get("SLURM_JOB_ID", 0)) % 10_000)
    )


def first_node(nodes: str) -> str:
    """The first of SLURM's node list.

    Example:
        >>> first_node("gpu[07-09,12],cpu1"), first_node("n1,n2")
        ('gpu07', 'n1')
    """
    prefix, bracket, inside = re.match(r"([^,\[]*)(\[([^\]]*)\])?", nodes).group(1, 2, 3)  # type: ignore[union-attr]
    return prefix + re.split(r"[-,]", inside)[0] if bracket else prefix


@contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """The processes of this training, connected while inside: by nccl on GPUs, by gloo otherwise."""
    ranks = ranks_from_environment()
    if ranks.world == 1:
        yield ranks
        return
    _meeting_point()
    if device == "cuda":
        torch.cuda.set_device(ranks.local % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with ranks.together():
        store, _, _ = next(dist.rendezvous("env://", ranks.rank, ranks.world, timeout=TIMEOUT))
        own = dist.PrefixStore(rendezvous_token(store, ranks), store)
        dist.init_process_group(
            backend, store=own, rank=ranks.rank, world_size=ranks.world, timeout=TIMEOUT
        )
    try:
        yield ranks
        ranks.wait()  # destroying the group while another process still sends aborts that one
    finally:
        dist.destroy_process_group()


def rendezvous_token(store: dist.Store, ranks: Ranks) -> str:
    """A name that the processes alive now share, and no earlier ones.

    torchrun keeps one store over its restarts (torch 2.13), where a new process can find the address of a dead one and wait for it
    forever. So each says a word of its own, the first repeats all of them, and all wait until everybody has seen the same.
    """
    word = uuid.uuid4().hex
    store.set(f"sbiwb/here/{ranks.rank}", word)
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while time.monotonic() < deadline:
        if ranks.rank == 0 and _come(store, "here", ranks.world):
            store.set("sbiwb/all", ",".join(_read(store, "here", ranks.world)))
        words = store.get("sbiwb/all").decode() if store.check(["sbiwb/all"]) else ""
        if words.split(",")[ranks.rank : ranks.rank + 1] == [word]:
            store.set(f"sbiwb/seen/{ranks.rank}", words)
            if _come(store, "seen", ranks.world) and all(
                seen == words for seen in _read(store, "seen", ranks.world)
            ):
                return hashlib.sha256(words.encode()).hexdigest()
        time.sleep(0.01)
    raise RuntimeError(f"not all {ranks.world} processes came within {TIMEOUT}")


def _come(store: dist.Store, kind: str, world: int) -> bool:
    """Whether all have said it; reading before would wait, and the first could not say again what another missed."""
    return store.check([f"sbiwb/{kind}/{rank}" for rank in range(world)])


def _read(store: dist.Store, kind: str, world: int) -> list[str]:
    return [
        value.decode()
        for value in store.multi_get([f"sbiwb/{kind}/{rank}" for rank in range(world)])
    ]
