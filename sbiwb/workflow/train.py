"""The verb `train`: fits the network on the shards, from the newest checkpoint if there is one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sbiwb.contracts import Reporter, Ticker
from sbiwb.errors import CorruptFile, DiskError, RunError
from sbiwb.files import put, put_text, sha256
from sbiwb.records import Pairs
from sbiwb.report import loss_picture, to_png
from sbiwb.rundir import RunDir, put_provenance
from sbiwb.stopping import Flag, noticed, raised
from sbiwb.store import manifest
from sbiwb.training.checkpoint import checkpoint_path, keep_last, newest, put_checkpoint, read_checkpoint
from sbiwb.training.data import TensorPairs
from sbiwb.training.loop import Finished, Stepped, Trainer, Validated
from sbiwb.workflow.estimator import Adapter, build_estimator, device_of, fit_adapter, set_threads
from sbiwb.workflow.project import Project, differences, write_config


@dataclass(frozen=True)
class Trained:
    """How training ended."""

    finished: Finished
    parameters: int
    seconds: float


def load_split(project: Project, split: str) -> Pairs:
    """The pairs of a split, as many as the YAML asks for.

    Raises:
        RunError: They are not all simulated.
        CorruptFile: A shard is cut or altered.
    """
    folder = project.data_run.split(split)
    return manifest.load(manifest.shards(folder, project.data_hash), getattr(project.config.simulate, split), folder)


def train(project: Project, reporter: Reporter, *, fresh: bool = False) -> Trained:
    """Fits the network, or goes on fitting it.

    Args:
        project: What to fit.
        reporter: Where progress goes.
        fresh: Whether to begin again; an earlier training is set aside, not deleted.

    Raises:
        RunError: The checkpoints belong to another model, or simulations are missing.
        TrainingError: The loss is not finite, again and again.
        Stopped: A signal came; a checkpoint is written.
    """
    with raised():  # until the loop itself minds the signals, and after it
        if fresh:
            _set_aside(project.run, reporter)
        return _train(project, reporter)


def _set_aside(run: RunDir, reporter: Reporter) -> None:
    """Renames an earlier training."""
    if run.train.is_dir():
        number = 1 + len(list(run.path.glob("train.before-*")))
        aside = run.path / f"train.before-{number}"
        run.train.rename(aside)
        reporter.say(f"The training before is kept as {aside}.")


def _train(project: Project, reporter: Reporter) -> Trained:
    start = time.perf_counter()
    state = _saved_state(project, reporter)
    if state is not None and state["trainer"]["progress"]["finished"] and (project.run.train / "provenance.json").is_file():
        reporter.say("Training is done already.")
        return _ended(project, state)
    pairs, validation = load_split(project, "train"), load_split(project, "validation")
    adapter = fit_adapter(project.config.model, project.prior, pairs)
    trainer = _trainer(project, adapter, pairs, validation)
    if state is not None:
        trainer.load(state["trainer"])
        reporter.say(f"Going on from step {trainer.progress.step:,}.")
    write_config(project)
    identity = {**_about(project, adapter), "identity": json.dumps(project.model_identity)}
    with noticed() as flag:
        finished = _fit(project, trainer, identity, reporter, flag)
    put_provenance(
        project.run.train,
        seconds=time.perf_counter() - start,
        facts={"data_hash": project.data_hash, "model_hash": project.model_hash, "seed": project.config.train.seed, **asdict(finished)},
    )
    put(project.run.loss_picture, to_png(loss_picture(trainer.progress.losses, finished.best_step)))
    return Trained(finished, _count(trainer.module), time.perf_counter() - start)


def _trainer(project: Project, adapter: Adapter, pairs: Pairs, validation: Pairs) -> Trainer:
    device = device_of(project.config.machine.device)
    shapes = {name: one.shape for name, one in adapter.inputs.items()}
    set_threads(project.config.machine.threads, batch_size=project.config.train.batch_size, shapes=shapes.values())
    module = build_estimator(project.config.model, project.prior.size, shapes, project.config.train.seed).to(device)
    tensors = [TensorPairs.of(adapter.z(project.prior.stack(part.theta)), adapter.arrays(part), device) for part in (pairs, validation)]
    return Trainer(module, tensors[0], tensors[1], project.config.train)


def _about(project: Project, adapter: Adapter) -> dict[str, Any]:
    """What a checkpoint needs to be loaded alone: plain Python only."""
    return {
        "config": json.dumps(project.config.model_dump(mode="json")),
        "data_hash": project.data_hash,
        "model_hash": project.model_hash,
        "adapter": json.dumps(adapter.state()),
    }


def _saved_state(project: Project, reporter: Reporter) -> dict[str, Any] | None:
    """The newest valid checkpoint of this very model, if there is one.

    Raises:
        RunError: It belongs to another model or other data.
    """
    state, wrong = newest(project.run.train)
    for error in wrong:
        reporter.warn(f"{error.where} {error.what}; going on from the one before." if state else f"{error.where} {error.what}.")
    if wrong and state is None:
        reporter.warn("No whole checkpoint is left: training begins again.")
    if state is not None and state["about"]["model_hash"] != project.model_hash:
        changed = differences(json.loads(state["about"]["identity"]), project.model_identity)
        raise RunError(
            f"holds the training of another model: {'; '.join(changed)}",
            where=project.run.train,
            todo="`--fresh` sets it aside and trains anew on the same simulations; or change that back; or give the new one its own `name` "
            + "with simulate: {from: "
            + str(project.run.path)
            + "}.",
        )
    return state


def _fit(project: Project, trainer: Trainer, about: dict[str, Any], reporter: Reporter, flag: Flag) -> Finished:
    """Consumes the trainer's events: best weights, metrics, checkpoints, progress, signals."""
    run, every_s = project.run, project.config.train.checkpoint_every_s
    metrics = _Metrics(run.metrics, trainer.progress.losses[-1][0] if trainer.progress.losses else 0)
    saved_at = time.monotonic()
    reporter.say(
        f"{_count(trainer.module):,} weights, {len(trainer.pairs):,} pairs, "
        f"{trainer.options.steps:,} steps of {trainer.order.batch_size} at most on {trainer.pairs.z.device}."
    )
    with reporter.task("train", trainer.options.steps, unit="steps", done=trainer.progress.step) as ticker:
        for event in trainer.run():
            if isinstance(event, Stepped):
                ticker.advance()
            elif isinstance(event, Validated):
                _validated(run, trainer, about, event, metrics, ticker)
            else:
                _save(run, trainer, about)
                return event
            if flag.signal is not None or time.monotonic() - saved_at > every_s:
                _save(run, trainer, about)
                saved_at = time.monotonic()
                flag.check()
    raise AssertionError("unreachable")


def _validated(run: RunDir, trainer: Trainer, about: dict[str, Any], event: Validated, metrics: _Metrics, ticker: Ticker) -> None:
    if event.improved:
        _put_best(run, trainer.best, about, event.step)
    metrics.write(event)
    ticker.advance(0, loss=f"{event.train_loss:.3f}", validation=f"{event.validation_loss:.3f}", best=f"{trainer.progress.best_loss:.3f}")


def _put_best(run: RunDir, weights: dict[str, torch.Tensor], about: dict[str, Any], step: int) -> None:
    put_checkpoint(run.best, {"about": about, "weights": weights, "step": step})


def _save(run: RunDir, trainer: Trainer, about: dict[str, Any]) -> None:
    put_checkpoint(checkpoint_path(run.train, trainer.progress.step), {"about": about, "trainer": trainer.state()})
    keep_last(run.train)


def _ended(project: Project, state: dict[str, Any]) -> Trained:
    """The result of a training that ended before; lost or damaged best weights are written again."""
    trainer = state["trainer"]
    try:
        read_checkpoint(project.run.best)
    except (CorruptFile, DiskError):
        _put_best(project.run, trainer["best"], state["about"], trainer["progress"]["best_step"])
    provenance = json.loads((project.run.train / "provenance.json").read_bytes())
    finished = Finished(**{name: provenance[name] for name in Finished.__dataclass_fields__})
    return Trained(finished, sum(value.numel() for value in trainer["module"].values()), provenance["seconds"])


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class _Metrics:
    """Validations as JSON lines; lines after the last validation that a resumed run knows are dropped, for they come again."""

    def __init__(self, path: Path, step: float) -> None:
        self.path, self.start = path, time.monotonic()
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        put_text(path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step))

    def write(self, event: Validated) -> None:
        facts = {**asdict(event), "seconds": round(time.monotonic() - self.start, 3)}
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")
        except OSError as error:
            raise DiskError.of(error, self.path) from error


def _step_of(line: str) -> float:
    """The step of a line; a line cut by a kill counts as later than everything."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")


def weights_hash(run: RunDir) -> str:
    """sha256 of the best weights' file, which draws and samples remember."""
    return sha256(run.best.read_bytes())


def describe(trained: Trained) -> Iterator[str]:
    """Why it stopped, and whether more steps or more pairs would help."""
    finished = trained.finished
    reason = (
        "all steps are done" if finished.reason == "steps" else "validation stopped improving and the learning rate was annealed to zero"
    )
    yield f"Stopped at step {finished.step:,}: {reason}. Best validation loss {finished.best_loss:.4f} at step {finished.best_step:,}."
    if finished.still_falling:
        yield "Validation was still falling in the last fifth: more train.steps would help (then --fresh)."
    if finished.gap > 0.2:
        yield f"Validation lies {finished.gap:.2f} nats above training at the best step: more simulations (simulate.train) would help most."
