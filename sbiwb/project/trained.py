"""`load_posterior`: a trained run, or its best.pt alone, as an object that samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sbiwb.adapters import ExpectedInput, read
from sbiwb.config import RunConfig
from sbiwb.contracts import Reporter
from sbiwb.errors import CorruptFile, RunError
from sbiwb.posterior import Posterior
from sbiwb.priors import Prior
from sbiwb.project.adapter import Adapter, restore_adapter
from sbiwb.project.checkpoint_facts import CheckpointFacts
from sbiwb.project.fingerprint import Plain, differences
from sbiwb.project.network import build_network
from sbiwb.project.plan import plan_or_none
from sbiwb.project.project import Project, distributions
from sbiwb.project.settings import device_of, sampling_threads
from sbiwb.training.checkpoint import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sbiwb.posterior._network_density import Network


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
    return load(Path(run), device)[0]


def posterior_of(project: Project, reporter: Reporter) -> Posterior:
    """The posterior that a project has trained, compared with what the YAML says now.

    Raises:
        RunError: Nothing is trained, or the prior, the simulator or a seed has changed since.
    """
    posterior, facts = load(project.run.path, project.config.machine.device)
    if facts.data_hash != project.data_hash:
        plan = plan_or_none(project.data_run)
        planned = plan.identity if plan is not None else {}
        changed = differences(planned, project.data_identity)
        raise RunError(
            f"is trained on another problem: {'; '.join(changed)}",
            where=project.run.train,
            todo="Change that back, or give the changed problem its own `name` and `sbiwb run` it.",
        )
    if facts.model_hash != project.model_hash:
        changed = differences(facts.identity, project.model_identity)
        reporter.warn(
            f"the network was trained before these changes: {'; '.join(changed)}. It is used as "
            "it is."
        )
    return posterior


def load(path: Path, device: str) -> tuple[Posterior, CheckpointFacts]:
    """The posterior, and what its checkpoint says about it."""
    if path.is_dir():
        path = path / "train" / "best.pt"
    place = device_of(device)
    checkpoint = _read_best(path, place)
    facts = CheckpointFacts.of(checkpoint, path)
    config = RunConfig.model_validate(facts.config)
    prior = Prior(distributions(config.problem.parameters))
    adapter = restore_adapter(config.model, prior, facts.adapter)
    network = build_network(config.model, adapter.theta_map, adapter.shapes, seed=0, pairs=1)
    network.to(place).load_state_dict(checkpoint["weights"])
    threads = 1
    if place == "cpu":
        threads = sampling_threads(config.machine.threads)
    posterior = Posterior(
        prior.columns,
        adapter.theta_map,
        adapter.inputs,
        partial(read, expected_inputs(adapter)),
        tuple(cast("Sequence[Network]", network.components())),
        place,
        threads,
        {name: part.unit for name, part in config.problem.parameters.items()},
        tuple(network.mixture()),
    )
    return posterior, facts


def _read_best(path: Path, place: str) -> Plain:
    """The checkpoint of the best weights, which are finite."""
    if not path.is_file():
        raise RunError(
            "no trained network", where=path, todo="Run `sbiwb train` on the config first."
        )
    checkpoint = read_checkpoint(path, place)
    if "weights" not in checkpoint:
        raise CorruptFile(
            "is a checkpoint to go on from, not a posterior", where=path, todo="Load train/best.pt."
        )
    for values in checkpoint["weights"].values():
        if values.is_floating_point() and not values.isfinite().all():
            raise CorruptFile(
                "holds weights that are not finite",
                where=path,
                todo="Train again with a lower train.learning_rate.",
            )
    return checkpoint


def expected_inputs(adapter: Adapter) -> dict[str, ExpectedInput]:
    """What the inputs read, by observable or context variable.

    A variable that one input broadcasts and another joins is read as the latter does.
    """
    repeated, joined = {}, {}
    for input_adapter in adapter.inputs.values():
        plan = input_adapter.plan
        for name in plan.broadcast:
            channels, missing = input_adapter.source_channels(name), plan.may_miss(name)
            repeated[name] = ExpectedInput("vector", channels, missing=missing)
        for name in plan.sources:
            channels, missing = input_adapter.source_channels(name), plan.may_miss(name)
            joined[name] = ExpectedInput(
                plan.kind, channels, input_adapter.lengths, input_adapter.shape.grid, missing
            )
    return {**repeated, **joined}
