"""Proof of the verdicts: exact posteriors are rarely accused, wrong ones hardly ever get away. Seeds were fixed beforehand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sbiwb.diagnostics import coverage, family, sbc
from sbiwb.diagnostics._judge import judge, overall
from sbiwb.evidence import Draws
from tests.diagnostics.conjugate import full, normal, normal_ranks
from tests.diagnostics.test_contract import ON_DRAWS

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


def of_all(draws: Draws) -> str:
    """Over every check that takes draws."""
    configs = [(kind, family.parse(kind)) for kind in ON_DRAWS]
    return overall(judge([(kind, config, family.module(kind).compute(draws, config)) for kind, config in configs])).verdict


def test_all_checks_together_seldom_reject_an_exact_posterior():
    found = [of_all(full(200, 99, 5, seed)) for seed in range(5000, 5060)]
    assert sum(one in ("warn", "fail") for one in found) <= 8  # 3 are expected


@pytest.mark.parametrize("wrong", [*WRONG.values(), {"prior": True}])
def test_all_checks_together_see_a_wrong_posterior(wrong):
    assert {of_all(full(1000, 99, 5, seed, **wrong)) for seed in range(6000, 6003)} == {"fail"}


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
