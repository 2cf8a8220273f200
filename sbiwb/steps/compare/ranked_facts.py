"""What is known of a trained run besides its densities: calibration, cost and speed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from sbiwb.diagnostics import NETWORK, STRATUM
from sbiwb.files import read_json
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.records import Pairs
from sbiwb.report import Fields
from sbiwb.rundir import RunDir

VERDICTS = ("info", "pass", "warn", "fail")  # from the mildest
TIMED_SETS, TIMED_DRAWS, TIMED_S = 20, 1_000, 0.2


@dataclass(frozen=True)
class RankedFacts:
    """Of one run; the fields of `report.Compared` of the same names.

    Args:
        calibration: Verdict of `diagnose` on these weights; None where it has not judged them.
        worst_effect: Largest effect of its calibration checks on all test pairs.
        worst: The check and parameter that it belongs to.
        training_pairs: Simulations to train on.
        steps: Of training; None where training has not ended.
        train_seconds: Wall time of the training.
        draws_per_s: Posterior draws a second, measured now on this machine.
        weights: Numbers that the network learned; None where training has not ended.
    """

    calibration: str | None
    worst_effect: float | None
    worst: str
    training_pairs: int
    steps: int | None
    train_seconds: float | None
    draws_per_s: float
    weights: int | None


def facts_of(run: RunDir, training_pairs: int, posterior: Posterior, pairs: Pairs) -> RankedFacts:
    """The facts of a trained run.

    Args:
        run: Its folder.
        training_pairs: Simulations that it trained on.
        posterior: Its posterior.
        pairs: Test pairs, of which a few are drawn from to measure the speed.
    """
    trained = _fields(run, "train")
    diagnosis = _diagnosis(run)
    worst = _worst(diagnosis)
    worst_name = ""
    if worst:
        worst_name = f"{worst.text('check')} of {worst.text('parameter')}"
    return RankedFacts(
        calibration=_verdict(diagnosis) or None,
        worst_effect=worst.number("effect"),
        worst=worst_name,
        training_pairs=training_pairs,
        steps=_count(trained, "step"),
        train_seconds=trained.number("seconds"),
        draws_per_s=_draws_per_s(posterior, pairs),
        weights=_count(trained, "parameters"),
    )


def _fields(run: RunDir, step: str) -> Fields:
    """Provenance of a step; empty where it is not done."""
    path = run.path / step / "provenance.json"
    if not path.is_file():
        return Fields({})
    return Fields.of(read_json(path))


def _count(fields: Fields, key: str) -> int | None:
    number = fields.number(key)
    if number is None:
        return None
    return int(number)


def _diagnosis(run: RunDir) -> Fields:
    """What `diagnose` found of the weights as they are now; empty of others."""
    judged = _fields(run, "diagnose")
    if not run.numbers.is_file() or judged.get("weights") != weights_hash(run):
        return Fields({})
    return Fields.of(read_json(run.numbers))


def _own(diagnosis: Fields) -> list[Fields]:
    """Values of the posterior, without those of likelihoods beside it, which are not ranked."""
    values = diagnosis.records("values")
    return [value for value in values if NETWORK not in value.text("check").partition(STRATUM)[0]]


def _verdict(diagnosis: Fields) -> str:
    """The verdict on the posterior; empty where there is none."""
    if not diagnosis.records("likelihoods"):
        return diagnosis.text("verdict")
    verdicts = [value.text("verdict") for value in _own(diagnosis)]
    return max(filter(VERDICTS.count, verdicts), key=VERDICTS.index, default="")


def _worst(diagnosis: Fields) -> Fields:
    """The value with the largest effect over all test pairs; empty where there is none."""
    worst, largest = Fields({}), -np.inf
    for value in _own(diagnosis):
        effect = value.number("effect")
        if effect is not None and effect > largest and STRATUM not in value.text("check"):
            worst, largest = value, effect
    return worst


def _draws_per_s(posterior: Posterior, pairs: Pairs) -> float:
    """Measured on a few test pairs for a fifth of a second or longer, after a first call that warms
    up."""
    x = pairs.take(np.arange(min(TIMED_SETS, len(pairs)))).variables
    posterior.sample(x, TIMED_DRAWS // 20, 0)
    start, elapsed, count = time.perf_counter(), 0.0, 0
    while elapsed < TIMED_S:
        count += posterior.sample(x, TIMED_DRAWS, 0)[..., 0].size
        elapsed = time.perf_counter() - start
    return count / elapsed
