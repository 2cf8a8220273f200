"""What `auto` in the section `machine` means here.

A resumed training takes what it began with, so that its numbers stay the same.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sbiwb.config import RunConfig
from sbiwb.contracts import InputShape, Reporter
from sbiwb.errors import ConfigError
from sbiwb.networks import compiled_flow
from sbiwb.processes import usable_cores
from sbiwb.project.plan import Plan

KERNELS = {"auto": "auto", "c": True, "torch": False}  # what machine.splines says of them
MANY_MEMBERS = 4096  # in a batch
# measured on 2 cores for the splines as torch operations
COMPILE_COSTS_S = 70.0  # once
COMPILE_SAVES_S = 0.005  # a step
COPIES = 2.5  # of the training data in memory while they are loaded: as on disk, and as tensors
FREE_SHARE = 0.5  # of the memory that is free, for training pairs
GB = 1e9


@dataclass(frozen=True)
class Settings:
    """How this training computes: with the same settings on the same machine it gives the same
    bits.

    Args:
        device: `cpu` or `cuda`.
        threads: Of torch.
        kernels: Whether splines are computed in C.
        precision: Of the networks ahead of the splines, `float32` or `bfloat16`.
        compile: Whether the step goes through torch.compile.
        regime: `memory`, `disk` or `online`.
        window: Pairs of a window of the regime `disk`.
        processes: That train together.
    """

    device: str
    threads: int
    kernels: bool
    precision: str
    compile: bool
    regime: str
    window: int
    processes: int

    def apply(self, cores: int) -> None:
        """Sets what holds for the whole process.

        `cores` is how many flows may be computed side by side, and changes no number.
        """
        torch.set_num_threads(self.threads)
        compiled_flow.use(self.kernels, cores=cores)

    @property
    def context(self) -> AbstractContextManager[object]:
        """What the forward pass of a step runs in."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device, torch.bfloat16)


def settle(
    config: RunConfig,
    plan: Plan | None,
    shapes: Mapping[str, InputShape],
    steps: int,
    saved: Settings | None,
    reporter: Reporter | None,
    *,
    window: int = 0,
    processes: int = 1,
) -> Settings:
    """What the YAML says, else what the training began with, else what suits this machine.

    Args:
        config: Names what is not `auto`.
        plan: Knows how large a pair is.
        shapes: Inputs of the network.
        steps: Length of the training.
        saved: Settings in the checkpoint that it goes on from.
        reporter: Hears where going on will not give the same bits.
        window: Pairs that memory allows a window.
        processes: That train together.
    """
    machine, train = config.machine, config.train
    device = _keep(machine.device, saved and saved.device, device_of("auto"))
    if device == "cuda" and not torch.cuda.is_available():
        device = device_of(machine.device)
    compiler = device == "cuda" or compiled_flow.available()
    if not compiler and reporter:
        reporter.warn(
            "the network is evaluated by torch operations, several times slower than in C: "
            + compiled_flow.unavailable_because()
        )
    kernels = _keep(KERNELS[machine.splines], saved and saved.kernels, True)
    kernels = kernels and device == "cpu" and compiler
    worth = not kernels and compiler and steps * COMPILE_SAVES_S > COMPILE_COSTS_S
    regime = _keep(train.regime, saved and saved.regime, _regime(config, plan))
    if machine.memory_gb == "auto" and saved:
        window = saved.window
    settings = Settings(
        device=device,
        threads=_keep(machine.threads, saved and saved.threads, _threads(train.batch_size, shapes)),
        kernels=kernels,
        precision=machine.precision,
        compile=_keep(machine.compile, saved and saved.compile, worth),
        regime=regime,
        window=window if regime == "disk" else 0,
        processes=processes,
    )
    if saved and reporter:
        _warn_of_changes(saved, settings, reporter)
    return settings


def _keep(wanted: Any, saved: Any, auto: Any) -> Any:
    """What the YAML says, else what the training began with, else what suits this machine."""
    if wanted != "auto":
        return wanted
    return auto if saved is None else saved


def _warn_of_changes(saved: Settings, settings: Settings, reporter: Reporter) -> None:
    before = asdict(saved)
    changed = []
    for name, now in asdict(settings).items():
        if before[name] != now:
            changed.append(f"{name}: {before[name]} -> {now}")
    if changed:
        reporter.warn(
            f"this training began with other settings ({'; '.join(changed)}): "
            "from here on its bits will differ."
        )


def _threads(batch_size: int, shapes: Mapping[str, InputShape]) -> int:
    """Every core for a batch of many members, else one.

    Small networks are faster on one: on two cores two threads took twice the time for a batch of
    vectors, and three quarters of it for sets of 200 members.
    """
    members = batch_size * max((shape.length or 1 for shape in shapes.values()), default=1)
    if members > MANY_MEMBERS:
        return usable_cores()
    return 1


def _regime(config: RunConfig, plan: Plan | None) -> str:
    """`memory`, unless the training pairs take more than `machine.memory_gb`."""
    needed = 0.0
    if plan is not None:
        needed = COPIES * config.simulate.train * plan.bytes_per_row / GB
    return "disk" if needed > memory_gb(config.machine.memory_gb) else "memory"


def memory_gb(wanted: float | str) -> float:
    """Memory that training pairs may take, in GB.

    As asked, or half of what is free, shared by the processes on this machine.
    """
    if wanted != "auto":
        return float(wanted)
    processes = int(
        os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or 1
    )
    return FREE_SHARE * free_bytes() / GB / processes


def free_bytes() -> float:
    """Memory that this process can still take, by the kernel, its control group and its job."""
    job = float(os.environ.get("SLURM_MEM_PER_NODE") or "inf") * 2**20
    return min(_meminfo(), _cgroup(), job)


def _meminfo() -> float:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _, _, rest = text.partition("MemAvailable:")
    return float(rest.split()[0]) * 1024


def _cgroup() -> float:
    """What version 2 control groups leave to this process."""
    try:
        group = _read_ascii(Path("/proc/self/cgroup")).rpartition("::")[2]
        folder = Path("/sys/fs/cgroup") / group.lstrip("/")
        limit, used = _read_ascii(folder / "memory.max"), _read_ascii(folder / "memory.current")
    except OSError:
        return math.inf
    if limit == "max":
        return math.inf
    return float(limit) - float(used)


def _read_ascii(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def device_of(wanted: str) -> str:
    """The device that `machine.device` means here.

    Raises:
        ConfigError: A GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise ConfigError(
            "machine.device  no GPU is visible to torch",
            todo="Use device: auto, or run where `nvidia-smi` shows one.",
        )
    if wanted != "cpu" and has_gpu:
        return "cuda"
    return "cpu"


def sampling_threads(wanted: int | str) -> int:
    """Chunks of draws made at a time: `machine.threads`, or as many as there are cores."""
    if isinstance(wanted, int):
        return wanted
    return usable_cores()
