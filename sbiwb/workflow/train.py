"""The verb `train`: fits the network on the shards, from the newest checkpoint if there is one; alone, or one of several processes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sbiwb.contracts import Reporter, Ticker
from sbiwb.errors import CorruptFile, DiskError, RunError, Stopped
from sbiwb.files import put, put_json, put_text, read_json, sha256
from sbiwb.report import loss_picture, to_png
from sbiwb.rundir import RunDir, put_provenance
from sbiwb.stopping import Flag, noticed, raised
from sbiwb.training.checkpoint import checkpoint_path, keep_last, newest, put_checkpoint, read_checkpoint
from sbiwb.training.loop import Finished, Stepped, Stopping, Trainer, Validated, WentBack
from sbiwb.training.ranks import Ranks, found, joined
from sbiwb.workflow.machine import GB
from sbiwb.workflow.project import Project, differences, write_config
from sbiwb.workflow.tracking import Tracking, trackers
from sbiwb.workflow.trainer import Opened, open_trainer

FRUITLESS = 3  # starts at one and the same step, before it is an error
SHOW_EVERY_S = 0.2
STARTS = "starts.json"


@dataclass(frozen=True)
class Trained:
    """How training ended; of several processes, one speaks."""

    finished: Finished
    parameters: int
    seconds: float
    speaks: bool = True


Hook = Callable[[Validated], None]


def train(project: Project, reporter: Reporter, *, fresh: bool = False, on_validated: Hook | None = None) -> Trained:
    """Fits the network, or goes on fitting it.

    Under torchrun, or under srun with several tasks, this is one of the processes that train together; only the first writes and reports.

    Args:
        project: What to fit.
        reporter: Where progress goes.
        fresh: Whether to begin again; an earlier training is set aside, not deleted.
        on_validated: Called after each validation; may raise to stop.

    Raises:
        RunError: The checkpoints belong to another model, simulations are missing, or restarts bring nothing.
        TrainingError: The loss is not finite, again and again; memory ran out; another process is gone.
        Stopped: A signal came, or the end of the allocation is near; a checkpoint is written.
    """
    with raised():  # until the loop itself minds the signals, and after it
        device = "cuda" if project.config.machine.device != "cpu" and torch.cuda.is_available() else "cpu"
        with joined(device) as ranks:
            reporter = reporter if ranks.rank == 0 else Silent()
            if fresh and ranks.rank == 0 and not int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):
                _set_aside(project.run, reporter)
            ranks.wait()
            return _train(project, reporter, ranks, on_validated)


def check_alone(verb: str) -> None:
    """Refuses what several processes must not do together.

    Raises:
        RunError: This is one of several processes.
    """
    if found().world > 1:
        raise RunError(
            "runs in one process, and this is one of several", where=f"sbiwb {verb}", todo="Of all verbs only `train` works in several."
        )


class Silent:
    """The reporter of the processes that only compute."""

    def say(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def task(self, name: str, total: int, *, unit: str, done: int = 0) -> Any:
        return nullcontext(self)

    def advance(self, n: int = 1, **facts: object) -> None: ...


def _set_aside(run: RunDir, reporter: Reporter) -> None:
    """Renames an earlier training."""
    if run.train.is_dir():
        number = 1 + len(list(run.path.glob("train.before-*")))
        aside = run.path / f"train.before-{number}"
        run.train.rename(aside)
        reporter.say(f"The training before is kept as {aside}.")


def _train(project: Project, reporter: Reporter, ranks: Ranks, on_validated: Hook | None) -> Trained:
    start = time.perf_counter()
    state = _saved_state(project, reporter)
    if state is not None and state["trainer"]["progress"]["finished"] and (project.run.train / "provenance.json").is_file():
        reporter.say("Training is done already.")
        return _ended(project, state)
    if ranks.rank == 0:
        write_config(project)
    ranks.wait()
    flag = Flag()
    # of several processes none may leave alone, while the others wait for its gradient
    check = flag.leave if ranks.world == 1 else lambda: None
    opened = open_trainer(project, reporter, saved=state and state["about"], ranks=ranks, check=check)
    trainer = opened.trainer
    try:
        if state is not None:
            trainer.load(state["trainer"])
            reporter.say(f"Going on from step {trainer.progress.step:,}.")
        if not ranks.agree(torch.tensor([trainer.progress.step])):
            raise RunError("is read differently by the processes", where=project.run.train, todo="Run the same command again.")
        _count_start(project.run, trainer, ranks)
        with trackers(project, reporter, step=trainer.progress.step) if ranks.rank == 0 else nullcontext() as tracking, noticed(flag):
            finished = Keeper(project, opened, reporter, tracking, on_validated).follow(flag)
    finally:
        trainer.source.close()
    if ranks.rank == 0:
        _close(project, trainer, finished, ranks, time.perf_counter() - start)
    return Trained(finished, _count(trainer.module), time.perf_counter() - start, speaks=ranks.rank == 0)


def _close(project: Project, trainer: Trainer, finished: Finished, ranks: Ranks, seconds: float) -> None:
    """Provenance and picture of a training that has ended."""
    facts = {"data_hash": project.data_hash, "model_hash": project.model_hash, "seed": project.config.train.seed, "processes": ranks.world}
    put_provenance(project.run.train, seconds=seconds, facts={**facts, **asdict(finished)})
    put(project.run.loss_picture, to_png(loss_picture(trainer.progress.losses, finished.best_step)))


def _count_start(run: RunDir, trainer: Trainer, ranks: Ranks) -> None:
    """Notes at which step this start begins, so that requeueing for ever without progress ends with an error.

    Raises:
        RunError: The starts before began at the same step.
    """
    path, step = run.train / STARTS, trainer.progress.step
    before = read_json(path) if path.is_file() else {"step": -1, "starts": 0}
    starts = before["starts"] + 1 if before["step"] == step else 1
    ranks.wait()
    if starts > FRUITLESS:
        if ranks.rank == 0:
            path.unlink(missing_ok=True)
        raise RunError(
            f"was begun {FRUITLESS} times at step {step:,} and stopped each time before the next checkpoint",
            where=run.train,
            todo="Ask for more time, or lower train.checkpoint_every_s; then run the same command again.",
        )
    if ranks.rank == 0:
        put_json(path, {"step": step, "starts": starts})


def _about(project: Project, opened: Opened) -> dict[str, Any]:
    """What a checkpoint needs to be loaded alone: plain Python only."""
    return {
        "config": json.dumps(project.config.model_dump(mode="json")),
        "data_hash": project.data_hash,
        "model_hash": project.model_hash,
        "identity": json.dumps(project.model_identity),
        "adapter": json.dumps(opened.adapter.state()),
        "settings": asdict(opened.settings),
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


class Keeper:
    """Follows a trainer's events: best weights, metrics, checkpoints, progress, signals.

    Args:
        project: Where files go.
        opened: The trainer at its step.
        reporter: Where progress goes.
        tracking: Further places for the numbers; None in a process that writes nothing.
        on_validated: Called after each validation.
    """

    def __init__(self, project: Project, opened: Opened, reporter: Reporter, tracking: Tracking | None, on_validated: Hook | None) -> None:
        self.run, self.every_s, self.trainer = project.run, project.config.train.checkpoint_every_s, opened.trainer
        self.about, self.reporter, self.tracking, self.on_validated = _about(project, opened), reporter, tracking, on_validated
        losses = self.trainer.progress.losses
        self.metrics = _Metrics(self.run.metrics, losses[-1][0] if losses else 0) if tracking else None
        self.saved_at = self.shown_at = self.began = time.monotonic()
        self.first_step = self.shown_step = self.trainer.progress.step
        self.facts: dict[str, object] = {}
        source = self.trainer.source
        pairs = f"{source.pairs:,} pairs ({opened.settings.regime})" if source.pairs else "fresh pairs"
        together = f" in {self.trainer.ranks.world} processes" * (self.trainer.ranks.world > 1)
        reporter.say(
            f"{_count(self.trainer.module):,} weights, {pairs}, {self.trainer.steps:,} steps of {source.batch_size} at most "
            f"on {opened.settings.device}{together}."
        )

    def follow(self, flag: Flag) -> Finished:
        """Runs the trainer to its end.

        Raises:
            Stopped: It was asked to stop; its state is saved.
        """
        trainer = self.trainer
        if not trainer.progress.step:
            self._save()
        with self.reporter.task("train", trainer.steps, unit="steps", done=trainer.progress.step) as ticker:
            try:
                for event in trainer.run(stopping=lambda: flag.due):
                    if isinstance(event, Finished):
                        self._show(ticker)
                        self._save()
                        return event
                    self._take(event, ticker, flag)
            except Stopped:  # between two steps, while waiting for simulations
                self._save()
                flag.check()
                raise
        raise AssertionError("unreachable")

    def _take(self, event: Stepped | Stopping | WentBack | Validated, ticker: Ticker, flag: Flag) -> None:
        now = time.monotonic()
        if isinstance(event, Stepped) and now - self.shown_at > SHOW_EVERY_S:
            self._show(ticker)
        elif isinstance(event, Validated):
            self._validated(event)
            self._show(ticker)
        elif isinstance(event, WentBack):
            self.reporter.warn(
                f"the loss was no number again and again: at step {event.step:,} the weights of step {event.to:,} are back, and the "
                f"learning rate is {event.rate_scale:g} of its schedule from here on."
            )
        elif isinstance(event, Stopping):
            self._save()
            self.trainer.ranks.wait()  # ending while another process still sends would abort that one
            flag.check()
            raise Stopped("stopped together with another process", todo="Run the same command again to continue.")
        if now - self.saved_at > self.every_s:
            self._save()

    def _show(self, ticker: Ticker) -> None:
        """Progress, rates and losses on the running line."""
        now, step = time.monotonic(), self.trainer.progress.step
        rate = (step - self.first_step) * self.trainer.source.batch_size / max(1e-9, now - self.began)
        memory = {"memory": f"{torch.cuda.max_memory_allocated() / GB:.1f} GB"} if self.trainer.recent.is_cuda else {}
        ticker.advance(step - self.shown_step, **self.facts, **{"pairs/s": f"{rate:,.0f}"}, **memory, **self.trainer.source.facts())
        self.shown_at, self.shown_step = now, step

    def _validated(self, event: Validated) -> None:
        best = self.trainer.progress.best_loss
        self.facts = {"loss": f"{event.train_loss:.3f}", "validation": f"{event.validation_loss:.3f}", "best": f"{best:.3f}"}
        self.facts |= {"gradient": f"{event.gradient_norm:.2g}"} | ({"skipped": event.skipped} if event.skipped else {})
        if event.improved and self.tracking:
            _put_best(self.run, self.trainer.best, self.about, event.step)
        if self.metrics and self.tracking:
            self.metrics.write(event)
            numbers = {name: float(value) for name, value in asdict(event).items() if name not in ("step", "improved")}
            self.tracking.log(event.step, numbers)
        if self.on_validated:
            self.on_validated(event)

    def _save(self) -> None:
        """A checkpoint, by the process that writes."""
        if self.tracking:
            put_checkpoint(
                checkpoint_path(self.run.train, self.trainer.progress.step), {"about": self.about, "trainer": self.trainer.state()}
            )
            keep_last(self.run.train)
        self.saved_at = time.monotonic()


def _put_best(run: RunDir, weights: dict[str, torch.Tensor], about: dict[str, Any], step: int) -> None:
    put_checkpoint(run.best, {"about": about, "weights": weights, "step": step})


def _ended(project: Project, state: dict[str, Any]) -> Trained:
    """The result of a training that ended before; lost or damaged best weights are written again."""
    trainer = state["trainer"]
    try:
        read_checkpoint(project.run.best)
    except (CorruptFile, DiskError):
        if found().rank == 0:
            _put_best(project.run, trainer["best"], state["about"], trainer["progress"]["best_step"])
    provenance = json.loads((project.run.train / "provenance.json").read_bytes())
    finished = Finished(**{name: provenance[name] for name in Finished.__dataclass_fields__})
    return Trained(finished, sum(value.numel() for value in trainer["module"].values()), provenance["seconds"], speaks=found().rank == 0)


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


REASONS = {
    "steps": "all steps are done",
    "patience": "validation stopped improving and the learning rate was annealed to zero",
    "time": "train.max_time_min is spent, and the learning rate was annealed to zero",
}


def describe(trained: Trained) -> Iterator[str]:
    """Why it stopped, and whether more steps or more pairs would help."""
    finished = trained.finished
    yield (
        f"Stopped at step {finished.step:,}: {REASONS[finished.reason]}. "
        f"Best validation loss {finished.best_loss:.4f} at step {finished.best_step:,}."
    )
    if finished.still_falling:
        yield "Validation was still falling in the last fifth: more train.steps would help (then --fresh)."
    if finished.gap > 0.2:
        yield f"Validation lies {finished.gap:.2f} nats above training at the best step: more simulations (simulate.train) would help most."
