"""What a training step costs more with uncertain weights, or for an ensemble: ratios to one
network, in one run.

    python -m tests.bench.uncertainty            (about a minute)

The steps of all contenders take turns; each ratio is the median over turns of wall time beside that
of the single network in the same turn.
"""

from __future__ import annotations

import statistics
import time

import torch

from sbiwb.contracts import InputShape
from sbiwb.networks import compiled_flow, inference, summary, uncertainty
from sbiwb.networks.estimator import Estimator
from sbiwb.processes import usable_cores
from sbiwb.training.loop import Trainer
from sbiwb.training.sources import MemberPairs, MemoryPairs, TensorPairs
from sbiwb.training.train_options import TrainOptions

N, TURNS, STEPS = 10_000, 15, 20
CONTENDERS = {
    "single": {"kind": "none"},
    "bayesian": {"kind": "bayesian"},
    "bayesian, local trick": {"kind": "bayesian", "local_trick": True},
    "ensemble of 5": {"kind": "ensemble", "members": 5},
}
TASKS = {  # shape of the input, summary, batch size
    "8 numbers, mlp, batch 256": (InputShape("vector", 8), "mlp", 256),
    "8 numbers, mlp, batch 64": (InputShape("vector", 8), "mlp", 64),
    "8 numbers, mlp, batch 1024": (InputShape("vector", 8), "mlp", 1024),
    "50 members of 2, deepset, batch 128": (InputShape("set", 2, 50), "deepset", 128),
}


def trainer(options: dict, shape: InputShape, kind: str, batch_size: int) -> Trainer:
    """A trainer of 5 parameters by the default flow."""

    def make(member: int) -> Estimator:
        torch.manual_seed(member)
        network = summary.family.parse(kind).build(shape, 10)
        return Estimator({"x": network}, inference.family.parse("nsf").build(5, network.features))

    module = uncertainty.family.parse(options).build(make, N)
    size = (N, shape.channels) if shape.length is None else (N, shape.length, shape.channels)
    data = TensorPairs(torch.randn(N, 5), {"x": (torch.randn(size), None)})
    sources = [MemoryPairs(data, batch_size, seed) for seed in range(module.members)]
    source = sources[0] if module.members == 1 else MemberPairs(sources)
    return Trainer(module, source, data[:100], TrainOptions(batch_size=batch_size))


def seconds(one: Trainer) -> float:
    start = time.perf_counter()
    for _ in range(STEPS):
        one.step()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    compiled_flow.use(True, cores=usable_cores())
    for task, (shape, kind, batch_size) in TASKS.items():
        trainers = {
            name: trainer(options, shape, kind, batch_size) for name, options in CONTENDERS.items()
        }
        for one in trainers.values():
            seconds(one)
        turns = [{name: seconds(one) for name, one in trainers.items()} for _ in range(TURNS)]
        base = 1e3 * statistics.median(turn["single"] for turn in turns) / STEPS
        ratios = {
            name: statistics.median(turn[name] / turn["single"] for turn in turns)
            for name in CONTENDERS
        }
        told = ", ".join(
            f"{name} {ratio:.2f}" for name, ratio in ratios.items() if name != "single"
        )
        print(f"{task}: one network {base:.2f} ms a step; times as long: {told}", flush=True)


if __name__ == "__main__":
    main()
