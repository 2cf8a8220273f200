"""Every style a simulator file may have, and every way it may be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from sbiwb.errors import SimulatorError
from sbiwb.records import Ragged
from sbiwb.simulation.blocks import FailureCounter, simulate_block
from sbiwb.simulation.preflight import preflight
from sbiwb.simulation.source import code_hash, load_source, neighbours
from tests.simulation.helpers import problem


def block(found, rows: int = 8):
    return simulate_block(found, "train", 0, rows, FailureCounter(1.0))[0]


def test_a_dict_of_arrays(tmp_path):
    pairs = block(
        problem(
            tmp_path, "def simulate(mu):\n    return {'y': mu[:, None] * [1, 2], 'k': mu > 0}\n"
        )
    )
    np.testing.assert_array_equal(pairs.x["y"], pairs.theta["mu"][:, None] * [1, 2])
    np.testing.assert_array_equal(pairs.x["k"], pairs.theta["mu"] > 0)


def test_one_unnamed_array_is_x(tmp_path):
    pairs = block(problem(tmp_path, "def simulate(mu):\n    return 2 * mu\n"))
    np.testing.assert_array_equal(pairs.x["x"], 2 * pairs.theta["mu"])


RAGGED = {
    "a list of arrays": "return {'y': [np.full(1 + i % 3, m) for i, m in enumerate(mu)]}",
    "padded values and "
    "lengths": "return {'y': (np.repeat(mu[:, None], 3, 1), 1 + np.arange(len(mu)) % 3)}",
}


@pytest.mark.parametrize("style", RAGGED)
def test_varying_length(tmp_path, style):
    pairs = block(
        problem(tmp_path, f"import numpy as np\ndef simulate(mu):\n    {RAGGED[style]}\n")
    )
    y = pairs.x["y"]
    assert isinstance(y, Ragged) and y.lengths.tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    np.testing.assert_array_equal(y.values, np.repeat(pairs.theta["mu"], y.lengths))


def test_a_function_of_one_theta(tmp_path):
    code = "import math\ndef simulate(mu, *, rng):\n    return {'y': math.exp(mu), 'z': [mu] * int(rng.integers(1, 4))}\n"
    pairs = block(problem(tmp_path, code, batched=False))
    np.testing.assert_allclose(pairs.x["y"], np.exp(pairs.theta["mu"]))
    np.testing.assert_array_equal(
        pairs.x["z"].values, np.repeat(pairs.theta["mu"], pairs.x["z"].lengths)
    )


def test_a_torch_generator_is_seeded(tmp_path):
    code = "import torch\ndef simulate(mu, *, generator):\n    return torch.randn(len(mu), 3, generator=generator)\n"
    found = problem(tmp_path, code)
    first, second = block(found).x["x"], block(found).x["x"]
    np.testing.assert_array_equal(first, second)
    assert np.unique(first).size == 24


def test_constants_and_context_arrive_as_they_are(tmp_path):
    code = (
        "def simulate(mu, n, label, sizes):\n"
        "    assert label == 'a' and sizes == [1, 2] and n.dtype.kind == 'i'\n"
        "    return {'y': mu + 100 * n}\n"
    )
    found = problem(
        tmp_path,
        code,
        context={"n": {"kind": "uniform_integer", "low": 2, "high": 4}},
        constants={"label": "a", "sizes": [1, 2]},
    )
    pairs = block(found, 64)
    assert set(pairs.context["n"].tolist()) == {2, 3, 4}
    np.testing.assert_array_equal(pairs.x["y"], pairs.theta["mu"] + 100 * pairs.context["n"])


def test_a_joint_prior_of_the_file(tmp_path):
    code = "def prior(n, rng):\n    a = rng.normal(size=n)\n    return {'a': a, 'b': 2 * a}\n\ndef simulate(a, b, c):\n    return a + b + c\n"
    pairs = block(problem(tmp_path, code, parameters={"a": "joint", "b": "joint", "c": "normal"}))
    np.testing.assert_array_equal(pairs.theta["b"], 2 * pairs.theta["a"])
    np.testing.assert_array_equal(pairs.x["x"], 3 * pairs.theta["a"] + pairs.theta["c"])


def test_another_function_and_defaults(tmp_path):
    (tmp_path / "sim.py").write_text("def other(mu, days=3):\n    return mu\n")
    assert load_source("sim.py:other", tmp_path).function == "other"
    with pytest.raises(SimulatorError, match="has no function 'simulate'") as caught:
        load_source("sim.py", tmp_path)
    assert caught.value.todo == "Write simulator: sim.py:NAME with one of: other."


def test_a_callable_without_code_is_taken(tmp_path):
    found = problem(
        tmp_path,
        "import functools\ndef f(k, mu):\n    return k * mu\nsimulate = functools.partial(f, 3)\n",
    )
    pairs = block(found)
    np.testing.assert_array_equal(pairs.x["x"], 3 * pairs.theta["mu"])
    assert found.simulator.source.line() == str(tmp_path / "sim.py")


def test_names_on_one_side_only_are_listed_with_both_sides(tmp_path):
    with pytest.raises(SimulatorError) as caught:
        problem(
            tmp_path,
            "\n\ndef simulate(mu, sigma, *, rng, days):\n    ...\n",
            parameters={"mu": "normal", "tau": "normal"},
        )
    assert caught.value.where == f"{tmp_path / 'sim.py'}:3"
    assert caught.value.what == (
        "simulate(mu, sigma, rng, days) does not match the YAML's (mu, tau): sigma, days not in the YAML; tau not in the function"
    )


BROKEN_FILES = [
    ("def simulate(mu:\n    pass\n", ":1", "cannot be imported: SyntaxError"),
    (
        "x = 1\n\ndef f():\n    return 1 / 0\n\nf()\n",
        ":4",
        "cannot be imported: ZeroDivisionError: division by zero",
    ),
    (
        "import nowhere_at_all\n",
        ":1",
        "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'",
    ),
    ("import sys\nsys.exit(3)\n", ":2", "cannot be imported: SystemExit: 3"),
]


@pytest.mark.parametrize(("code", "line", "what"), BROKEN_FILES)
def test_a_file_that_cannot_be_imported_is_told_with_its_line(tmp_path, code, line, what):
    with pytest.raises(SimulatorError) as caught:
        problem(tmp_path, code)
    assert caught.value.where == f"{tmp_path / 'sim.py'}{line}"
    assert caught.value.what.startswith(what)


def test_no_file_lists_its_neighbours(tmp_path):
    (tmp_path / "sir.py").write_text("")
    with pytest.raises(SimulatorError, match="no such simulator file") as caught:
        load_source("sri.py", tmp_path)
    assert caught.value.todo == "Beside it lie: sir.py."


@pytest.mark.parametrize(
    ("name", "what"),
    [("no_such_package.sim", "No module named"), ("json.nothing", "No module named")],
)
def test_no_package(tmp_path, name, what):
    with pytest.raises(SimulatorError, match=what) as caught:
        load_source(name, tmp_path)
    assert caught.value.where == "problem.simulator"


BAD_RESULTS = [
    ("{'y': mu[:3]}", "'y' has shape (3,); for 8 parameter rows its first axis must be 8"),
    ("{'y': mu.sum()}", "'y' has shape (); for 8 parameter rows its first axis must be 8"),
    ("{}", "returned an empty dict"),
    ("{'y': np.array([None] * len(mu))}", "'y' has type object, not numbers"),
    ("{'y': np.array(['a'] * len(mu))}", "'y' has type <U1, not numbers"),
    ("None", "returned nothing for 'x'"),
]


@pytest.mark.parametrize(("result", "what"), BAD_RESULTS)
def test_a_result_of_the_wrong_form_stops_at_once(tmp_path, result, what):
    with pytest.raises(SimulatorError) as caught:
        block(problem(tmp_path, f"import numpy as np\n\ndef simulate(mu):\n    return {result}\n"))
    assert caught.value.what == what
    assert caught.value.where == f"{tmp_path / 'sim.py'}:3"


def test_other_observables_than_before_stop_at_once(tmp_path):
    found = problem(
        tmp_path,
        "calls = []\ndef simulate(mu):\n    calls.append(1)\n    return {'y' if len(calls) < 2 else 'z': mu}\n",
    )
    with pytest.raises(SimulatorError, match="returned z where it returned y before"):
        preflight(found, 8)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    code = "def simulate(mu, *, rng):\n    return {'y': mu + rng.normal(size=len(mu))}\n"
    first, second, other = (block(problem(tmp_path, code, seed=seed)) for seed in (1, 1, 2))
    assert (
        first.x["y"].tobytes() == second.x["y"].tobytes()
        and first.theta["mu"].tobytes() == second.theta["mu"].tobytes()
    )
    assert not np.intersect1d(first.x["y"], other.x["y"]).size


def test_a_generator_of_its_own_is_caught_by_the_preflight(tmp_path):
    found = problem(
        tmp_path,
        "import numpy as np\ndef simulate(mu):\n    return {'y': mu + np.random.normal(size=len(mu))}\n",
    )
    with pytest.raises(
        SimulatorError, match="gave two different 'y' for the same parameters and seed"
    ) as caught:
        preflight(found, 8)
    assert "rng" in caught.value.todo


CODE = '"""Doc."""\nimport math\n\ndef simulate(mu):\n    """What."""\n    return mu * 2\n\ndef show(x, ax):\n    ax.plot(x)\n'
SAME = [
    (CODE.replace("mu * 2", "mu * 2  # twice"), "a comment"),
    (CODE.replace("What.", "Something else."), "a docstring"),
    (CODE.replace('"""Doc."""\n', ""), "no module docstring"),
    (CODE.replace("ax.plot(x)", "ax.scatter(x, x)"), "show"),
    (CODE + "\ndef derived(mu):\n    return {'k': mu}\n", "derived"),
    (CODE.replace("\n\n", "\n\n\n"), "blank lines"),
]


@pytest.mark.parametrize("code", [code for code, _ in SAME], ids=[name for _, name in SAME])
def test_code_hash_ignores_what_cannot_change_a_row(code):
    assert code != CODE and code_hash(code) == code_hash(CODE)


@pytest.mark.parametrize(
    "change", [("mu * 2", "mu * 3"), ("import math", "import cmath"), ("(mu)", "(mu, k=1)")]
)
def test_code_hash_changes_with_the_code(change):
    assert code_hash(CODE.replace(*change)) != code_hash(CODE)


def test_a_simulator_may_import_its_neighbours_and_their_code_counts(tmp_path):
    (tmp_path / "physics_of_mine.py").write_text(
        "import helper_of_mine\nrate = helper_of_mine.rate\n"
    )
    (tmp_path / "helper_of_mine.py").write_text("rate = 2.0\n")
    (tmp_path / "model.py").write_text(
        "import numpy as np\nfrom physics_of_mine import rate\ndef simulate(a):\n    return rate * a\n"
    )
    source = load_source("model.py", tmp_path)
    assert [path.name for path in neighbours(source.path)] == [
        "helper_of_mine.py",
        "physics_of_mine.py",
    ]
    assert source.simulate(3.0) == 6.0
    (tmp_path / "helper_of_mine.py").write_text("rate = 2.5\n")
    assert load_source("model.py", tmp_path).code_hash != source.code_hash
