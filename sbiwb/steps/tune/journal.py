"""The journal of a search: which process does which trial, on any number of machines, whoever of
them dies."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sbiwb.claims import STALE_S, Owner, seconds_silent
from sbiwb.config import RunConfig
from sbiwb.errors import CorruptFile, RunError
from sbiwb.project.fingerprint import Identity, differences
from sbiwb.steps.tune.space import Choice, Range, Space, default_space, parse_space

WHOLE, WARM_UP = (
    10_000,
    3_000,
)  # a training in parts, comparable between lengths; in the first parts nothing is pruned
STREAM = (
    0x7475_6E65  # "tune": spawn key of the sampler's seeds, apart from the streams of sbiwb.seeds
)


@contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """optuna logs every trial to the terminal, and warns of what is new in it."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(optuna: Any, name: str, folder: Path) -> Any:
    """The journal that all processes append to.

    Locked by a file made with O_EXCL, as optuna advises for NFS 3 and later; a lock whose owner
    died is broken after 30 s.
    """
    path = folder.resolve() / "journal.log"
    lock = optuna.storages.journal.JournalFileOpenLock(str(path))
    _drop_torn_line(path, lock)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=WARM_UP)
    try:
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(path), lock_obj=lock)
        )
        return optuna.create_study(
            study_name=name,
            storage=storage,
            pruner=pruner,
            direction="minimize",
            load_if_exists=True,
        )
    except (ValueError, KeyError) as error:
        raise CorruptFile(
            f"is damaged ({error})", where=path, todo=f"Move {folder} away to search anew."
        ) from error


def _drop_torn_line(path: Path, lock: Any) -> None:
    """Cuts off a last line that a killed process or a full disk left without its end: optuna would
    read no further."""
    lock.acquire()
    try:
        whole = path.read_bytes() if path.is_file() else b""
        if not whole.endswith(b"\n") and whole:
            os.truncate(path, whole.rfind(b"\n") + 1)
    finally:
        lock.release()


def agreed_space(
    study: Any, config: RunConfig, model_identity: Identity, asked: Space, folder: Path
) -> Space:
    """The space of the search: as it was begun, or as it is asked for now.

    Args:
        study: The journal.
        config: Of the run that is tuned.
        model_identity: All that decides its network.
        asked: Empty means as it was begun, or the usual one.
        folder: Of the search.

    Raises:
        RunError: It was begun with another space or another model.
    """
    recorded = study.user_attrs.get("identity")
    space = asked or (_read_space(recorded["space"]) if recorded else default_space(config))
    identity = {
        "space": {key: axis.text for key, axis in space.items()},
        "config": model_identity,
    }
    identity = json.loads(json.dumps(identity))
    if recorded is None:
        study.set_user_attr("identity", identity)
    elif recorded != identity:
        raise RunError(
            f"holds another search: {'; '.join(differences(recorded, identity))}",
            where=folder,
            todo="Change that back to go on with it, or move the folder away to search anew.",
        )
    return space


def _read_space(texts: Mapping[str, str]) -> Space:
    return parse_space([f"{key}={text}" for key, text in texts.items()])


class Search:
    """One process's part in a search.

    A trial that is handed back is failed and queued again under a new number, which is the one
        thing optuna does atomically: of
    two processes that find the same dead trial, one alone succeeds. It keeps its run folder.
    Attributes of a trial: `run`, `owner`, `resumed` where it is such a second try, `reason` where
    it failed for good.
    """

    def __init__(self, optuna: Any, study: Any, space: Space, folder: Path, seed: int) -> None:
        self.optuna, self.study, self.space = optuna, study, space
        self.folder, self.seed = folder, seed
        self.states = optuna.trial.TrialState
        self.owner = asdict(Owner.here())

    def ended(self) -> int:
        """Trials that need nothing more."""
        return sum(
            trial.state.is_finished() and not self.was_handed_back(trial) for trial in self.trials()
        )

    def trials(self) -> list[Any]:
        return self.study.get_trials(deepcopy=False)

    def was_handed_back(self, trial: Any) -> bool:
        return trial.state == self.states.FAIL and "reason" not in trial.user_attrs

    def claim(self, trials: int) -> Any | None:
        """A trial for this process, with its settings; None where all are done or in good hands."""
        self._hand_back_dead()
        waits = any(trial.state == self.states.WAITING for trial in self.trials())
        if not waits and self._position(None) >= trials:
            return None
        trial = self.study.ask()
        trial.set_user_attr("owner", self.owner)
        position = self._position(trial.number)
        if "resumed" not in trial.user_attrs:
            if position >= trials:
                self.study.tell(
                    trial, state=self.states.FAIL
                )  # another process was quicker; without settings it counts for nothing
                return None
            trial.set_user_attr("run", self._new_folder(position))
        sequence = np.random.SeedSequence(self.seed, spawn_key=(STREAM, position))
        seed = sequence.generate_state(1)[0]
        self.study.sampler = self.optuna.samplers.TPESampler(
            seed=int(seed)
        )  # of its own, for processes with one seed would all try the same
        for key, axis in self.space.items():
            _suggest(trial, key, axis)
        return trial

    def _new_folder(self, position: int) -> str:
        """A run folder that no other trial has; making a folder is atomic everywhere."""
        for number in itertools.count(position):
            with contextlib.suppress(FileExistsError):
                (self.folder / f"trial-{number:04d}").mkdir()
                return f"trial-{number:04d}"
        raise AssertionError("unreachable")

    def _position(self, number: int | None) -> int:
        """How many trials were begun, before this one; second tries and those without settings do
        not count."""
        return sum(
            "resumed" not in trial.user_attrs
            and (trial.state != self.states.FAIL or bool(trial.params))
            for trial in self.trials()
            if number is None or trial.number < number
        )

    def _hand_back_dead(self) -> None:
        for trial in self.trials():
            if trial.state == self.states.RUNNING and not self._is_alive(trial):
                self.hand_back(trial)

    def _is_alive(self, trial: Any) -> bool:
        owner, run = Owner.read(trial.user_attrs.get("owner")), trial.user_attrs.get("run")
        if owner is not None and owner.is_dead:
            return False
        beat = self.folder / (run or "") / "alive"
        silent = time.time() - trial.datetime_start.timestamp()
        if run and beat.is_file():
            silent = min(silent, seconds_silent(beat))
        return silent < STALE_S

    def hand_back(self, trial: Any) -> None:
        """Lets anyone go on with a trial."""
        try:
            self.study.tell(trial.number, state=self.states.FAIL)
        except (ValueError, self.optuna.exceptions.UpdateFinishedTrialError):
            return  # another process did so in the same moment
        if trial.params:
            self.study.enqueue_trial(
                dict(trial.params), user_attrs={"run": trial.user_attrs["run"], "resumed": True}
            )


def _suggest(trial: Any, key: str, axis: Range | Choice) -> None:
    if isinstance(axis, Choice):
        trial.suggest_categorical(key, list(axis.options))
    elif axis.whole:
        trial.suggest_int(key, axis.low, axis.high, log=axis.log)
    else:
        trial.suggest_float(key, axis.low, axis.high, log=axis.log)
