"""Proof of the verdicts: exact posteriors are rarely accused, wrong ones hardly ever get away. Seeds were fixed beforehand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sbiwb.diagnostics import coverage, sbc
from sbiwb.diagnostics._judge import judge, overall
from sbiwb.evidence import Draws
from tests.diagnostics.conjugate import normal, normal_ranks

D = 3
WRONG = {"sd x 0.8": {"sd": 0.8}, "sd x 1.25": {"sd": 1.25}, "mean + 0.3 sd": {"shift": 0.3}}


def verdict(draws: Draws) -> str:
    """Over sbc and coverage together, alpha 0.05."""
    checks = (("sbc", sbc), ("coverage", coverage))
    return overall(judge([(name, check.Config(), check.compute(draws, check.Config())) for name, check in checks])).verdict


def rate(make: Callable[..., Draws], n: int, s: int, seeds: range, among: tuple[str, ...], **wrong: float) -> float:
    found = [verdict(make(n, s, D, seed, **wrong)) for seed in seeds]
    return sum(one in among for one in found) / len(found)


def test_exact_posterior_is_seldom_rejected():
    assert rate(normal_ranks, 1000, 999, range(1000, 1300), ("warn", "fail")) <= 0.08


def test_exact_posterior_from_draws():
    assert rate(normal, 1000, 999, range(2000, 2040), ("warn", "fail")) <= 0.15  # 6 of 40; 0.05 is expected


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_posterior_fails(wrong):
    assert rate(normal_ranks, 1000, 999, range(3000, 3040), ("fail",), **WRONG[wrong]) >= 0.9
    assert rate(normal, 1000, 999, range(4000, 4005), ("fail",), **WRONG[wrong]) >= 0.9


@pytest.mark.slow
def test_rates(capsys):
    rows, exact = [], {}
    for n, s in [(1000, 999), (200, 99), (1000, 99)]:
        exact[n, s] = rate(normal_ranks, n, s, range(10_000, 12_000), ("warn", "fail"))
        repetitions = range(20_000, 22_000 if (n, s) == (1000, 999) else 20_200)
        failing = [rate(normal_ranks, n, s, repetitions, ("fail",), **wrong) for wrong in WRONG.values()]
        rows.append(f"{n:6d} {s:5d} {exact[n, s]:8.4f} " + " ".join(f"{share:14.3f}" for share in failing))
    with capsys.disabled():
        print("\n     N     S    exact " + " ".join(f"{name:>14}" for name in WRONG), *rows, sep="\n")
    assert max(exact.values()) <= 0.06
