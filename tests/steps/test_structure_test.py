"""What `problem.structure` says is let be where it is true, and found where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from sbiwb.errors import ConfigError
from sbiwb.numbers import read_numbers
from sbiwb.project.member_rows import MemberRows
from sbiwb.rundir import RunDir
from sbiwb.steps.pairs import permuted, structure_test
from sbiwb.steps.pairs.permuted import permutation_test
from sbiwb.steps.pairs.structure_test import Entry, StructureTest, structure_tests
from sbiwb.workflow.check import check
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.structure_tested import structure_verdicts
from sbiwb.workflow.train import train
from tests.tiny import Tiny

K, R = 10, 20
N = K * R
AT = np.repeat(np.arange(K), R)


def entry(said, values, name="y"):
    """Values (N, M) or (N, M, C), or a list of N arrays (M_i,)."""
    lengths = np.array([len(value) for value in values])
    flat = np.concatenate(list(values))
    return Entry(name, said, (name,), MemberRows(flat.reshape(len(flat), -1), lengths))


def results(*entries, seed=0) -> list[StructureTest]:
    return structure_tests(entries, AT, np.random.default_rng(seed))


def theta(rng):
    """One number a row, the same in all repeats."""
    return np.repeat(rng.standard_normal(K), R)[:, None]


def chain(rng, members, *, one=0.0, two=0.0):
    """An autoregression of order two."""
    x = rng.standard_normal((N, members))
    for step in range(1, members):
        x[:, step] += one * x[:, step - 1]
        if step > 1:
            x[:, step] += two * x[:, step - 2]
    return x


def ricker(rng, members):
    """A chaotic map whose noise multiplies, at a growth rate of its own for each theta."""
    state, x = np.ones(N), np.empty((N, members))
    for step in range(members):
        noise = np.exp(0.3 * rng.standard_normal(N))
        state = np.exp(2.8 + 0.3 * theta(rng)[0, 0]) * state * np.exp(-state) * noise
        x[:, step] = state
    return x


def choices(rng, members, shared=0.0):
    logit = theta(rng) + shared * rng.standard_normal((N, 1))
    return (rng.random((N, members)) < 1 / (1 + np.exp(-logit))) * 1.0


def trials(rng, members):
    """Times with a heavy tail and the choices they depend on, as one member of two columns."""
    choice = choices(rng, members)
    return np.stack([choice + np.exp(theta(rng)) * rng.standard_cauchy((N, members)), choice], -1)


TRUE = {
    "iid choices": lambda rng: entry("iid", choices(rng, 5)),
    "iid trials": lambda rng: entry("iid", trials(rng, 4)),
    "iid of any length": lambda rng: entry(
        "iid", [rng.exponential(size=n) for n in rng.integers(2, 7, N)]
    ),
    "independent": lambda rng: entry(
        "independent", theta(rng) + np.exp(np.arange(5)) * (1 + rng.standard_normal((N, 5)))
    ),
    "markov": lambda rng: entry("markov", chain(rng, 6, one=0.8)),
    "a random walk": lambda rng: entry("markov", np.cumsum(rng.standard_normal((N, 6)), 1)),
    "a chaotic map": lambda rng: entry("markov", ricker(rng, 6)),
}


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(permuted, "ENOUGH", 10)
    monkeypatch.setattr(permuted, "PILOT", 32)
    monkeypatch.setattr(structure_test, "DRAWS", 199)


@pytest.mark.slow
@pytest.mark.parametrize("make", TRUE.values(), ids=TRUE)
def test_what_is_true_is_contradicted_as_rarely_as_the_level_says(make, few_draws):
    p = [results(make(np.random.default_rng(seed)), seed=seed)[0].p for seed in range(300)]
    assert 0.015 < np.mean(np.array(p) <= 0.05) < 0.095
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


@pytest.mark.slow
def test_two_entries_that_are_independent_are_contradicted_as_rarely_as_the_level_says(few_draws):
    p = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        walk, other = np.cumsum(rng.standard_normal((2, N, 4)), 2)
        two = results(entry("joint", walk, "a"), entry("joint", other**3, "b"), seed=seed)
        p.append(two[0].p)
    assert 0.015 < np.mean(np.array(p) <= 0.05) < 0.095


@pytest.mark.parametrize("make", TRUE.values(), ids=TRUE)
def test_what_is_true_is_let_be(make):
    (test,) = results(make(np.random.default_rng(1)))
    assert not test.is_contradicted
    assert test.sentence.startswith(f"y: {test.said} — not contradicted (p = 0.")


def shared(rng, members, sd=0.5):
    return theta(rng) + sd * rng.standard_normal((N, 1)) + rng.standard_normal((N, members))


def shared_scale(rng, members):
    return np.exp(0.5 * rng.standard_normal((N, 1))) * rng.standard_normal((N, members))


def sign_by_theta(rng, members):
    """Neighbours are alike at one theta, and opposed at another."""
    return chain(rng, members, one=0.6 * np.sign(np.arange(N) // R % 2 - 0.5))


def two_of_many(rng, members):
    x = rng.standard_normal((N, members))
    x[:, 4] += 0.6 * x[:, 1]
    return x


DEPEND, BY_PLACE = "members depend on each other given theta", "members change with their place"
FALSE = {
    "a shared effect": ("iid", shared, DEPEND),
    "choices of a shared bias": ("iid", lambda rng, m: choices(rng, m, 1.0), DEPEND),
    "neighbours": ("iid", lambda rng, m: chain(rng, m, one=0.4), DEPEND),
    "neighbours by theta": ("iid", sign_by_theta, DEPEND),
    "a shared scale": ("iid", shared_scale, DEPEND),
    "a trend": ("iid", lambda rng, m: rng.standard_normal((N, m)) + np.arange(m) / 8, BY_PLACE),
    "a trend by theta": (
        "iid",
        lambda rng, m: rng.standard_normal((N, m)) + theta(rng) * np.linspace(-0.6, 0.6, m),
        BY_PLACE,
    ),
    "a scale by place": (
        "iid",
        lambda rng, m: rng.standard_normal((N, m)) * np.linspace(1, 2, m),
        BY_PLACE,
    ),
    "a first that differs": (
        "iid",
        lambda rng, m: rng.standard_normal((N, m)) + (np.arange(m) == 0),
        BY_PLACE,
    ),
    "an effect shared by places": ("independent", shared, DEPEND),
    "neighbouring places": ("independent", lambda rng, m: chain(rng, m, one=0.4), DEPEND),
    "a scale shared by places": ("independent", shared_scale, DEPEND),
    "two places of many": ("independent", two_of_many, DEPEND),
}


@pytest.mark.parametrize(("said", "make", "finding"), FALSE.values(), ids=FALSE)
def test_what_is_false_is_found_and_named(said, make, finding):
    (test,) = results(entry(said, make(np.random.default_rng(1), 8)))
    assert test.is_contradicted
    assert test.warning.startswith(f"y is said to be {said}, but {finding} (p = 0.00")


BEYOND_MARKOV = {
    "the one two before": lambda rng: chain(rng, 8, one=0.4, two=0.4),
    "a shared effect": lambda rng: chain(rng, 8, one=0.4) + rng.standard_normal((N, 1)),
    "a shared scale": lambda rng: chain(rng, 20, one=0.4) * np.exp(rng.standard_normal((N, 1))),
    "noise of measuring": lambda rng: (
        np.cumsum(rng.standard_normal((N, 12)), 1) + rng.standard_normal((N, 12))
    ),
}


@pytest.mark.parametrize("make", BEYOND_MARKOV.values(), ids=BEYOND_MARKOV)
def test_more_than_the_one_before_is_found(make):
    (test,) = results(entry("markov", make(np.random.default_rng(1))))
    assert test.is_contradicted
    assert "members depend on more than the one before given theta" in test.warning
    assert test.warning.endswith("write autoregressive or joint")


def test_what_is_called_joint_or_autoregressive_is_not_tested():
    x = shared(np.random.default_rng(0), 4)
    assert results(entry("joint", x)) == results(entry("autoregressive", x)) == []


def test_one_member_a_data_set_is_not_tested():
    assert results(entry("iid", np.zeros((N, 1)))) == []


def test_constant_members_contradict_nothing():
    assert results(entry("iid", np.zeros((N, 4))))[0].p == 1.0


def test_missing_members_contradict_nothing():
    rng = np.random.default_rng(0)
    x = theta(rng) + rng.standard_normal((N, 6))
    x[rng.random(x.shape) < 0.3] = np.nan
    x[:R, 3] = np.nan
    for said in ("iid", "independent", "markov"):
        assert not results(entry(said, x))[0].is_contradicted


def test_entries_that_share_noise_are_to_be_joined():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, N, 12))
    b += 0.3 * a
    *alone, both = results(entry("iid", a, "rt"), entry("iid", b, "choice"))
    assert not any(test.is_contradicted for test in alone)
    assert both.is_contradicted
    assert both.warning == (
        "rt and choice are entries of their own, but depend on each other given theta (p = 0.005);"
        " join them in one, from: [rt, choice]"
    )


@pytest.mark.parametrize("power", [1, 2])
def test_entries_that_share_an_effect_or_a_scale_are_found(power):
    rng = np.random.default_rng(power)
    z, a, b = 0.6 * rng.standard_normal((N, 1)), *rng.standard_normal((2, N, 6))
    pair = [(a + z, b + z), (a * np.exp(z), b * np.exp(z))][power - 1]
    *_, both = results(entry("autoregressive", pair[0], "a"), entry("joint", pair[1][:, :4], "b"))
    assert both.is_contradicted and both.todo == "join them in one, as: joint, from: [a, b]"


def test_what_has_a_length_of_its_own_is_never_to_be_joint():
    rng = np.random.default_rng(0)
    sets = [rng.standard_normal() + rng.standard_normal(n) for n in rng.integers(5, 9, N)]
    (test,) = results(entry("iid", sets))
    assert test.is_contradicted and test.todo == "write autoregressive or markov"


def test_the_p_value_of_a_permutation_test_is_uniform():
    p = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        x, y = rng.exponential(size=(2, 12, 3))
        one = permutation_test((x * y).sum(0), lambda: (x * rng.permutation(y)).sum(0), 199)  # noqa: B023
        p.append(one)
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.035)


SIMULATOR = '''"""Members with noise that their data set shares."""


def simulate(mu, *, rng, n, shared):
    noise = rng.standard_normal((len(mu), n)) + shared * rng.standard_normal((len(mu), 1))
    return {"y": mu[:, None] + noise}
'''


def written(folder, said, shared_sd) -> Tiny:
    problem = {"structure": {"y": said}, "constants": {"n": 4, "shared": shared_sd}}
    return Tiny.write(folder, {"problem": problem, "train": {"steps": 2}}, SIMULATOR)


@pytest.mark.parametrize("said", ["iid", "independent"])
def test_check_warns_of_what_is_false_and_of_nothing_else(tmp_path, said):
    (right,) = check(written(tmp_path / "right", said, 0.0).open()).structure.tests
    assert not right.is_contradicted
    false = check(written(tmp_path / "false", said, 1.0).open()).structure
    assert len(false.warnings) == 1
    assert f"y is said to be {said}, but {DEPEND}" in false.warnings[0]


def test_check_refuses_a_structure_as_training_does(tmp_path):
    tiny = written(tmp_path, "iid", 0.0)
    tiny.change({"problem": {"structure": {"z": "iid"}, "constants": {"n": 4, "shared": 0.0}}})
    with pytest.raises(ConfigError, match=r"problem.structure  z does not exist"):
        check(tiny.open())


def test_check_tells_when_simulating_takes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr("sbiwb.workflow.check.CHECK_S", 0.0)
    structure = check(written(tmp_path, "iid", 1.0).open()).structure
    assert structure.tests == () and structure.note.startswith("not tested")


def test_diagnose_warns_and_keeps_it_with_the_numbers(tmp_path, recorder):
    tiny = written(tmp_path, "iid", 1.0)
    settings = ["model.likelihood=none", "diagnose.checks=[sbc]"]
    simulate(tiny.open(*settings), recorder)
    train(tiny.open(*settings), recorder)
    diagnose(tiny.open(*settings), recorder)
    assert any(DEPEND in warning for warning in recorder.warned)
    numbers = read_numbers(RunDir(tiny.run))
    assert numbers is not None
    (verdict,) = numbers.structure
    assert (verdict.name, verdict.claim, verdict.verdict) == ("y", "iid", "warn")
    assert verdict.p < 0.01


def test_a_run_that_says_nothing_has_nothing_to_test(tiny, recorder):
    assert structure_verdicts(tiny().open(), recorder) == []
