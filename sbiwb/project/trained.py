"""`load_posterior`: a trained run, or its best.pt alone, as an object that samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from sbiwb.adapters import ExpectedInput, read
from sbiwb.config import RunConfig
from sbiwb.contracts import Reporter
from sbiwb.errors import CorruptFile, RunError
from sbiwb.files import read_json
from sbiwb.posterior import Posterior
from sbiwb.priors import Prior
from sbiwb.project.adapter import Adapter, restore_adapter
from sbiwb.project.checkpoint_facts import CheckpointFacts
from sbiwb.project.fingerprint import differences
from sbiwb.project.network import build_network
from sbiwb.project.project import Project
from sbiwb.project.settings import device_of, sampling_threads
from sbiwb.training.checkpoint import read_checkpoint


def load_posterior(run: Path | str, device: str = "auto") -> Posterior:
    """The posterior of a trained run.

    Args:
        run: A run folder, or a checkpoint `best.pt` by itself, on any machine.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        RunError: Nothing is trained there.
        CorruptFile: The checkpoint is cut or altered, or its weights are not finite.

    Example:
        >>> posterior = load_posterior("runs/influenza")      # doctest: +SKIP
        >>> posterior.sample({"in_bed": counts}, 1000).shape  # doctest: +SKIP
        (1, 1000, 3)
    """
    return _load(Path(run), device)[0]


def posterior_of(project: Project, reporter: Reporter) -> Posterior:
    """The posterior that a project has trained, after comparing what it was trained on with what the YAML says now.

    Raises:
        RunError: Nothing is trained, or the prior, the simulator or a seed has changed since.
    """
    posterior, facts = _load(project.run.path, project.config.machine.device)
    if facts.data_hash != project.data_hash:
        plan = (
            read_json(project.data_run.plan)
            if project.data_run.plan.is_file()
            else {"identity": {}}
        )
        changed = differences(plan["identity"], project.data_identity)
        raise RunError(
            f"is trained on another problem: {'; '.join(changed)}",
            where=project.run.train,
            todo="Change that back, or give the changed problem its own `name` and `sbiwb run` it.",
        )
    if facts.model_hash != project.model_hash:
        changed = differences(facts.identity, project.model_identity)
        reporter.warn(
            f"the network was trained before these changes: {'; '.join(changed)}. It is used as it is."
        )
    return posterior


def _load(path: Path, device: str) -> tuple[Posterior, CheckpointFacts]:
    """The posterior, and what its checkpoint says about it."""
    path = path / "train" / "best.pt" if path.is_dir() else path
    if not path.is_file():
        raise RunError(
            "no trained network", where=path, todo="Run `sbiwb train` on the config first."
        )
    place = device_of(device)
    state = read_checkpoint(path, place)
    if "weights" not in state:
        raise CorruptFile(
            "is a checkpoint to go on from, not a posterior", where=path, todo="Load train/best.pt."
        )
    facts = CheckpointFacts.of(state, path)
    config = RunConfig.model_validate(facts.config)
    prior = Prior({name: part.build() for name, part in config.problem.parameters.items()})
    adapter = restore_adapter(config.model, prior, facts.adapter)
    shapes = {name: one.shape for name, one in adapter.inputs.items()}
    network: Any = build_network(config.model, adapter.theta_map, shapes, seed=0, pairs=1)
    network.to(place).load_state_dict(state["weights"])
    if not all(
        value.isfinite().all() for value in state["weights"].values() if value.is_floating_point()
    ):
        raise CorruptFile(
            "holds weights that are not finite",
            where=path,
            todo="Train again with a lower train.learning_rate.",
        )
    threads = sampling_threads(config.machine.threads) if place == "cpu" else 1
    units = {name: part.unit for name, part in config.problem.parameters.items()}
    return Posterior(
        prior.columns,
        adapter.theta_map,
        adapter.inputs,
        partial(read, _expected(adapter)),
        tuple(network.components()),
        place,
        threads,
        units,
        tuple(network.mixture()),
    ), facts


def _expected(adapter: Adapter) -> dict[str, ExpectedInput]:
    """What the inputs read, by observable or context variable."""
    found: dict[str, ExpectedInput] = {}
    for one in adapter.inputs.values():
        plan, lengths = one.plan, one.lengths
        channels = {name: one.source_channels(name) for name in plan.variables}
        repeated = {
            name: ExpectedInput("vector", channels[name], missing=plan.may_miss(name))
            for name in plan.broadcast
        }
        joined = {
            name: ExpectedInput(
                plan.kind, channels[name], lengths, one.shape.grid, plan.may_miss(name)
            )
            for name in plan.sources
        }
        found = {**repeated, **found, **joined}
    return found
