"""What a search found: its trials in order, files and picture, and which settings mattered."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from sbiwb.contracts import Reporter
from sbiwb.document import Document, Dumper
from sbiwb.files import put, put_text
from sbiwb.report import to_png
from sbiwb.report.tuning import tuning_picture
from sbiwb.steps.tune.journal import Search
from sbiwb.steps.tune.space import Choice, Range

MIN_TRIALS_FOR_IMPORTANCE = 20  # trials trained to the end; of fewer it would be noise


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Args:
        run: Its run folder.
        state: `done`, `pruned`, `failed` or `running`.
        loss: Best validation loss in nats per pair; of a pruned trial, the last that was seen.
        settings: What was tried, in YAML by dotted key.
        reason: Why it failed.
    """

    run: Path
    state: str
    loss: float | None
    settings: Mapping[str, str]
    reason: str = ""


@dataclass(frozen=True)
class Tuned:
    """What a search has found so far.

    Args:
        trials: In the order in which they began.
        best: The one with the lowest loss, of those that were trained to the end.
        importance: Share of each setting in what parts good trials from bad; empty while there are
            few.
        lines: The best settings as YAML to paste.
        folder: Holds the trials, best.yaml and history.png.
    """

    trials: tuple[Trial, ...]
    best: Trial | None
    importance: Mapping[str, float]
    lines: str
    folder: Path

    @property
    def ranked(self) -> list[Trial]:
        """Trials that were trained to the end, the best first."""
        return _ranked(self.trials)


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    return sorted(
        (trial for trial in trials if trial.state == "done"), key=lambda trial: trial.loss or 0.0
    )


def put_results(search: Search, reporter: Reporter) -> Tuned:
    """Gathers what was found, and writes it for people."""
    trials = tuple(ended_trials(search))
    ranked = _ranked(trials)
    best = ranked[0] if ranked else None
    lines = _best_lines(best, len(ranked)) if best else ""
    if best:
        put_text(search.folder / "best.yaml", lines)
    _put_picture(search, trials)
    running = sum(trial.state == "running" for trial in trials)
    if running:
        reporter.say(
            f"{running} trial{'s' * (running > 1)} still run or wait: the same command goes on "
            "with what is left."
        )
    return Tuned(trials, best, _importance(search), lines, search.folder)


def ended_trials(search: Search) -> Iterator[Trial]:
    """Every trial once: second tries in place of first ones."""
    names = {
        "COMPLETE": "done",
        "PRUNED": "pruned",
        "FAIL": "failed",
        "RUNNING": "running",
        "WAITING": "running",
    }
    last = {
        trial.user_attrs.get("run"): trial
        for trial in search.study.trials
        if trial.user_attrs.get("run") and not search.was_handed_back(trial)
    }
    for run in sorted(last):
        trial = last[run]
        given = trial.params or trial.system_attrs.get("fixed_params", {})
        settings = {key: search.space[key].setting(value) for key, value in given.items()}
        reason = trial.user_attrs.get("reason", "")
        yield Trial(
            search.folder / run,
            "failed" if reason else names[trial.state.name],
            trial.value,
            settings,
            reason,
        )


def _best_lines(best: Trial, ended: int) -> str:
    """The best settings as YAML, with where they come from."""
    read = Document(Path("best.yaml"), {})
    read.override([f"{key}={text}" for key, text in best.settings.items()])
    head = (
        f"# The best of {ended} trials that were trained to the end: "
        f"validation loss {best.loss:.4f} ({best.run.name}).\n"
    )
    options = " ".join(
        f"--set {shlex.quote(f'{key}={text}')}" for key, text in best.settings.items()
    )
    head += f"# For one command: {options}\n"
    return head + yaml.dump(
        read.data,
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=120,
    )


def _put_picture(search: Search, trials: Sequence[Trial]) -> None:
    """history.png, of all trials with a loss."""
    plotted = [
        trial
        for trial in trials
        if trial.loss is not None and len(trial.settings) == len(search.space)
    ]
    if not plotted:
        return
    settings: dict[str, list[float | str]] = {
        key: [
            trial.settings[key] if isinstance(axis, Choice) else float(trial.settings[key])
            for trial in plotted
        ]
        for key, axis in search.space.items()
    }
    log = {key for key, axis in search.space.items() if isinstance(axis, Range) and axis.log}
    losses = [trial.loss for trial in plotted if trial.loss is not None]
    figure = tuning_picture(
        losses, pruned=[trial.state != "done" for trial in plotted], settings=settings, log=log
    )
    put(search.folder / "history.png", to_png(figure))


def _importance(search: Search) -> dict[str, float]:
    """Share of each setting in what parts the better half of the trials from the rest, largest
    first, by PED-ANOVA.

    The half, for of optuna's usual best tenth there are two or three.

    References:
        Watanabe et al. (2023), PED-ANOVA, https://arxiv.org/abs/2304.10255
    """
    complete = [trial for trial in search.study.trials if trial.state == search.states.COMPLETE]
    if (
        len(complete) < MIN_TRIALS_FOR_IMPORTANCE
        or len(search.space) < 2
        or len({trial.value for trial in complete}) == 1
    ):
        return {}
    importance = search.optuna.importance
    return importance.get_param_importances(
        search.study, evaluator=importance.PedAnovaImportanceEvaluator(target_quantile=0.5)
    )
