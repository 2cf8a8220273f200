"""From YAML to the typed config: every problem with its place and remedy, all at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sbiwb.config import RunConfig, dump, load, load_benchmark, schema
from sbiwb.document import MAX_BYTES
from sbiwb.errors import ConfigError, ConfigErrors
from sbiwb.workflow.parts import families

VALID = """\
name: tiny
problem:
  simulator: tiny.py
  parameters:
    mu: {kind: normal, loc: 0, scale: 1}
  context:
    n: {kind: uniform_integer, low: 2, high: 5}
  observations:
    seen: {file: seen.csv, columns: {y: y}}
simulate: {train: 100, failures: {max_rate: 0.1}}
model:
  inputs:
    y:
      as: set
      transforms: [log1p, {kind: clip, low: 0}]
      summary: {kind: deepset, hidden: 8}
  drop: [n]
  inference: {kind: nsf, transforms: 2}
train: {steps: 10}
diagnose:
  checks: [{kind: sbc, alpha: 0.05}, recovery]
machine: {executor: serial}
"""
FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(
    {*FOLDER.glob("*.yaml"), *FOLDER.glob("sbibm/*.yaml")} - {FOLDER / "benchmark.yaml"}
)


@pytest.fixture
def config(tmp_path):
    """Loads VALID after replacing one piece of it; says the problems as (line:column, what,
    todo)."""

    def problems(old: str = "", new: str = "", *, text: str = VALID, sets: tuple[str, ...] = ()):
        path = tmp_path / "c.yaml"
        assert old in text
        path.write_text(text.replace(old, new, 1))
        try:
            return load(path, sets)
        except ConfigErrors as error:
            return [
                (one.where.removeprefix(f"{path}:"), one.what, one.todo) for one in error.problems
            ]
        except ConfigError as error:
            return [(error.where.removeprefix(f"{path}:"), error.what, error.todo)]

    return problems


def test_the_valid_one_is_valid(config):
    assert isinstance(config(), RunConfig)


UNKNOWN_KEYS = [
    ("train: {steps", "trian: {steps", "trian", "'train'"),
    ("{train: 100", "{trian: 100", "simulate.trian", "'train'"),
    ("failures: {max_rate", "failures: {maxrate", "simulate.failures.maxrate", "'max_rate'"),
    ("simulator: tiny", "simulater: tiny", "problem.simulater", "'simulator'"),
    ("normal, loc: 0, scale", "normal, loc: 0, scal", "problem.parameters.mu.scal", "'scale'"),
    ("uniform_integer, low", "uniform_integer, lov", "problem.context.n.lov", "'low'"),
    ("columns: {y", "colums: {y", "problem.observations.seen.colums", "'columns'"),
    ("      as: set", "      as_: set", "model.inputs.y.as_", "'as'"),
    ("clip, low", "clip, lo", "model.inputs.y.transforms.1.lo", "'low'"),
    ("deepset, hidden", "deepset, hiden", "model.inputs.y.summary.hiden", "'hidden'"),
    ("nsf, transforms", "nsf, transform", "model.inference.transform", "'transforms'"),
    ("alpha", "alhpa", "diagnose.checks.0.alhpa", "'alpha'"),
    ("executor: serial", "exekutor: serial", "machine.exekutor", "'executor'"),
]


@pytest.mark.parametrize(("old", "new", "key", "near"), UNKNOWN_KEYS)
def test_an_unknown_key_names_its_place_and_the_nearest(config, old, new, key, near):
    found = {what.split("  ")[0]: (where, what, todo) for where, what, todo in config(old, new)}
    assert found[key] == (
        place_of(key.split(".")[-1], VALID.replace(old, new, 1)),
        f"{key}  unknown key",
        f"did you mean {near}?",
    )


def place_of(word: str, text: str) -> str:
    """line:column of the first time a word stands in a text."""
    before = text[: re.search(rf"\b{word}\b", text).start()]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def test_a_key_like_no_other_lists_the_known_ones(config):
    ((where, what, todo),) = config("{kind: nsf, transforms: 2}", "{kind: nsf, qqqq: 2}")
    assert (where, what) == ("18:26", "model.inference.qqqq  unknown key")
    assert todo.startswith("known keys: kind, transforms, hidden")


UNKNOWN_KINDS = [
    (
        "kind: normal",
        "kind: norml",
        "problem.parameters.mu",
        "unknown prior 'norml', did you mean 'normal'?",
    ),
    (
        "[log1p,",
        "[log1q,",
        "model.inputs.y.transforms.0",
        "unknown transform 'log1q', did you mean 'log1p'?",
    ),
    (
        "kind: deepset",
        "kind: deepsets",
        "model.inputs.y.summary",
        "unknown summary network 'deepsets', did you mean 'deepset'?",
    ),
    (
        "kind: nsf",
        "kind: nfs",
        "model.inference",
        "unknown inference network 'nfs', did you mean 'nsf'?",
    ),
    (
        ", recovery]",
        ", recoverry]",
        "diagnose.checks.1",
        "unknown diagnostic 'recoverry', did you mean 'recovery'?",
    ),
    (
        "executor: serial",
        "executor: seril",
        "machine.executor",
        "unknown executor 'seril', did you mean 'serial'?",
    ),
]


@pytest.mark.parametrize(("old", "new", "key", "told"), UNKNOWN_KINDS)
def test_an_unknown_kind_names_the_nearest_and_all(config, old, new, key, told):
    ((_, what, todo),) = config(old, new)
    assert what == f"{key}  {told}"
    assert todo.startswith("one of ")


def test_a_missing_kind_lists_them(config):
    ((where, what, todo),) = config("kind: normal, ", "")
    assert (where, what) == ("5:5", "problem.parameters.mu  a prior needs 'kind'")
    assert "lognormal" in todo


def test_a_kind_by_path_that_is_not_there(config, tmp_path):
    ((where, what, _),) = config("kind: normal", "kind: parts/new.py")
    assert (where, what) == (
        "5:5",
        f"problem.parameters.mu  no such file: {tmp_path / 'parts/new.py'}",
    )


def test_a_kind_by_path_that_does_not_run(config, tmp_path):
    (tmp_path / "new.py").write_text("import os\n1 / 0\n")
    ((_, what, _),) = config("kind: normal", "kind: new.py")
    assert what.endswith("cannot be imported: ZeroDivisionError: division by zero (line 2)")


WRONG = [
    ("simulator: tiny.py", "simulator: [1]", "problem.simulator  must be text"),
    ("simulator: tiny.py", "simulator: 3", "problem.simulator  must be text, not 3"),
    ("train: 100", "train: many", "simulate.train  must be a whole number, not 'many'"),
    ("train: 100", "train: 1.5", "simulate.train  must be a whole number, not 1.5"),
    ("train: 100", "train: true", "simulate.train  must be a whole number, not True"),
    ("train: 100", "train: 0", "simulate.train  must be at least 1, not 0"),
    ("max_rate: 0.1", "max_rate: 1.1", "simulate.failures.max_rate  must be at most 1, not 1.1"),
    ("max_rate: 0.1", "max_rate: .nan", "simulate.failures.max_rate  must be finite, not nan"),
    ("max_rate: 0.1", "max_rate: '0.1'", "simulate.failures.max_rate  must be a number, not '0.1'"),
    ("scale: 1}", "scale: 0}", "problem.parameters.mu.scale  must be greater than 0, not 0"),
    (
        "      as: set",
        "      as: bag",
        "model.inputs.y.as  must be 'vector', 'set', 'series' or 'grid', not 'bag'",
    ),
    ("name: tiny", "name: ../up", "name  must be a name of letters, digits"),
    ("name: tiny", "title: tiny", "name  is required"),
    ("    mu:", "    2mu:", "problem.parameters.2mu  must be a name of letters"),
    (
        "machine: {executor: serial}",
        "machine: 3",
        "machine  must be a mapping of keys to values, not 3",
    ),
    ("[{kind: sbc, alpha: 0.05}, recovery]", "sbc", "diagnose.checks  must be a list, not 'sbc'"),
    (
        "{kind: sbc, alpha: 0.05}",
        "7",
        "diagnose.checks.0  expected the name of a diagnostic or a mapping with 'kind'",
    ),
    ("drop: [n]", "drop: [1]", "model.drop.0  must be text, not 1"),
]


@pytest.mark.parametrize(("old", "new", "told"), WRONG)
def test_a_wrong_value_is_told_with_what_is_right(config, old, new, told):
    found = config(old, new)
    assert isinstance(found, list), "accepted"
    assert any(what.startswith(told) for _, what, _ in found), found


def test_all_problems_come_at_once_in_order_of_lines(config):
    text = (
        VALID.replace("scale: 1", "scale: -1")
        .replace("train: 100", "trian: 100")
        .replace("alpha: 0.05", "alpha: 2")
    )
    found = config(text=text.replace("executor: serial", "executor: dask2"))
    assert [what.split("  ")[0] for _, what, _ in found] == [
        "problem.parameters.mu.scale",
        "simulate.trian",
        "diagnose.checks.0.alpha",
        "machine.executor",
    ]
    lines = [int(where.split(":")[0]) for where, _, _ in found]
    assert lines == sorted(lines) and lines[0] == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1e0", 1.0),
        ("+.5", 0.5),
        ("2_0.5", 20.5),
        ("1.", 1.0),
        ("010", 10),
        ("3", 3),
    ],
)
def test_numbers_are_those_of_yaml_1_2(config, text, value):
    assert config("scale: 1}", f"scale: {text}}}").problem.parameters["mu"].scale == value


@pytest.mark.parametrize(
    ("text", "value"), [("1e4", 10_000), ("2.0", 2), ("010", 10), ("20_000", 20_000)]
)
def test_counts_may_be_written_as_floats(config, text, value):
    train = config("train: 100", f"train: {text}").simulate.train
    assert train == value and isinstance(train, int)


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "12:30", "2020-01-01", "0x10", "0o7"])
def test_words_stay_words(config, word):
    told = config("  observations:", f"  constants: {{word: {word}}}\n  observations:")
    assert told.problem.constants["word"] == word


BROKEN = [
    (
        "train: {steps: 10}",
        "train: {steps: 10}\ntrain: {steps: 11}",
        "20:1",
        "train is given twice (first in line 19)",
    ),
    (
        "low: 2, high",
        "low: 2, low: 3, high",
        "7:40",
        "problem.context.n.low is given twice (first in line 7)",
    ),
    ("name: tiny", "name: [tiny", "2:8", "not YAML: expected ',' or ']'"),
    (
        "  simulator",
        "\tsimulator",
        "3:1",
        "not YAML: found character '\\t' that cannot start any token",
    ),
    ("name: tiny", "name: *nothing", "1:7", "not YAML: found undefined alias 'nothing'"),
    ("name: tiny", "name: &a [*a]", "1:7", "an alias that contains itself"),
    ("name: tiny", "? [a]\n: tiny", "1:3", "a key must be a word"),
    (
        "name: tiny",
        "name: !!python/name:os.system",
        "1:7",
        "not YAML: could not determine a constructor",
    ),
    ("name: tiny", "name: !!timestamp x", "", "not YAML: "),
    ("name: tiny", "name: !!bool x", "", "not YAML: "),
    ("name: tiny", "name: !!int x", "", "not YAML: invalid literal"),
    ("name: tiny", "name: a\x07b", "", "not YAML: "),
    ("name: tiny", "name: " + "[" * 5000, "", "is nested too deeply"),
]


@pytest.mark.parametrize(("old", "new", "place", "told"), BROKEN)
def test_broken_yaml_is_told_with_its_place(config, old, new, place, told):
    ((where, what, todo),) = config(old, new)
    assert what.startswith(told) and todo
    if place:
        assert where == place


def test_aliases_that_multiply_are_refused(config):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for above, here in zip("abcdef", "bcdefg", strict=True):
        bomb += f"{here}: &{here} [{', '.join([f'*{above}'] * 10)}]\n"
    ((_, what, todo),) = config(text=bomb)
    assert what == "more than 100000 values" and "Aliases" in todo


def test_aliases_that_do_not_are_fine(config):
    found = config(
        "    mu: {kind: normal",
        "    tau: &p {kind: half_normal}\n    sigma: *p\n    mu: {kind: normal",
    )
    assert found.problem.parameters["sigma"].kind == "half_normal"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"- a\n- b\n", "the top level is not a mapping"),
        (b"word", "the top level is not a mapping"),
        (b"name: a\nproblem: \xff\n", "not UTF-8"),
        (b"\xef\xbb\xbfname: 5", "name  must be text, not 5"),
        (b"#" * (MAX_BYTES + 1), f"is larger than {MAX_BYTES} bytes"),
    ],
)
def test_a_file_of_another_kind(tmp_path, content, what):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(what)) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_not_utf8_names_the_line(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"name: a\nproblem: \xff\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert (caught.value.where, caught.value.todo) == (f"{path}:2", "Save the file as UTF-8.")


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(ConfigError, match="no such file") as caught:
        load(tmp_path / "none.yaml")
    assert "sbiwb init" in caught.value.todo
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


SETS = [
    ("train.batch_size=512", lambda c: c.train.batch_size, 512),
    ("train.learning_rate=1e-4", lambda c: c.train.learning_rate, 1e-4),
    ("train.patience=null", lambda c: c.train.patience, None),
    ("simulate.failures.timeout_s=3", lambda c: c.simulate.failures.timeout_s, 3.0),
    ("problem.parameters.mu.loc=2", lambda c: c.problem.parameters["mu"].loc, 2.0),
    ("diagnose.checks.0.alpha=0.1", lambda c: c.diagnose.checks[0].alpha, 0.1),
    ("diagnose.checks=[coverage]", lambda c: [one.kind for one in c.diagnose.checks], ["coverage"]),
    (
        "model.inputs.y.transforms.1=standardize",
        lambda c: c.model.inputs["y"].transforms[1].kind,
        "standardize",
    ),
    ("machine.executor={kind: pool, workers: 3}", lambda c: c.machine.executor.workers, 3),
    ("problem.constants.word=a=b", lambda c: c.problem.constants["word"], "a=b"),
]


@pytest.mark.parametrize(("setting", "read", "value"), SETS)
def test_set_overrides_any_key(config, setting, read, value):
    assert read(config(sets=(setting,))) == value


def test_the_last_set_wins(config):
    assert config(sets=("train.steps=5", "train.steps=6")).train.steps == 6


BAD_SETS = [
    ("train.steps", "--set train.steps", "is not KEY=VALUE"),
    ("=3", "--set =3", "is not KEY=VALUE"),
    ("name.first=3", "--set name.first=3", "name is not a section"),
    ("diagnose.checks.7=sbc", "--set diagnose.checks.7=sbc", "the list has items 0 to 1"),
    ("diagnose.checks.first=sbc", "--set diagnose.checks.first=sbc", "the list has items 0 to 1"),
    ("train.steps=[1", "--set train.steps=[1", "the value: not YAML: "),
    ("train.steps=!!int x", "--set train.steps=!!int x", "the value: not YAML: "),
    ("train.stebs=3", "--set train.stebs", "train.stebs  unknown key"),
    ("train.steps=0", "--set train.steps", "train.steps  must be at least 1, not 0"),
    ("train.²=0", "--set train.²", "train.²  unknown key"),
]


@pytest.mark.parametrize(("setting", "where", "what"), BAD_SETS)
def test_a_bad_set_is_told_by_its_own_words(config, setting, where, what):
    ((told_where, told_what, todo),) = config(sets=(setting,))
    assert told_where == where and told_what.startswith(what) and todo


WORDS = [
    "1e5",
    "1e-3",
    "no",
    "null",
    "~",
    "010",
    "0o7",
    "12:30",
    "2020-01-01",
    "",
    " a",
    "é",
    "- x",
    "a: b",
    "#",
    "1_0",
    ".5e3",
    "+1",
    "=",
    "<<",
]


def test_dump_loads_to_the_same_model(config, tmp_path):
    first = config(
        "  observations:",
        f"  constants: {{word: {WORDS!r}, real: 1e-5, whole: 3, truth: true}}\n  observations:",
    )
    path = tmp_path / "again.yaml"
    path.write_text(dump(first), encoding="utf-8")
    assert load(path) == first
    assert load(path).problem.constants["word"] == WORDS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_our_configs_load_and_come_back(path, tmp_path):
    first = load(path)
    again = tmp_path / "again.yaml"
    again.write_text(dump(first), encoding="utf-8")
    assert load(again) == first


def test_our_benchmark_loads_and_comes_back(tmp_path):
    first = load_benchmark(FOLDER / "benchmark.yaml")
    again = tmp_path / "again.yaml"
    again.write_text(dump(first), encoding="utf-8")
    assert load_benchmark(again) == first


def test_the_schema_knows_every_section_and_part():
    told = schema()
    assert list(told["properties"]) == [
        "name",
        "effort",
        "problem",
        "simulate",
        "model",
        "train",
        "diagnose",
        "machine",
    ]
    assert told["additionalProperties"] is False
    choices = list(unions(told))
    for name, family in families().items():
        for kind in (
            family.names() if name != "references" else ()
        ):  # which a command names, not the YAML
            options = [
                one
                for union in choices
                for one in union
                if one.get("properties", {}).get("kind", {}).get("const") == kind
            ]
            expected = {
                field.alias or name for name, field in family.config(kind).model_fields.items()
            }
            assert any(set(one["properties"]) == expected for one in options), (
                f"{family.noun} {kind} is not in the schema"
            )


def unions(value):
    """Every `anyOf` in a schema."""
    if isinstance(value, dict):
        if "anyOf" in value:
            yield value["anyOf"]
        for item in value.values():
            yield from unions(item)
    if isinstance(value, list):
        for item in value:
            yield from unions(item)


def test_every_key_of_the_schema_is_described():
    def undescribed(model, place=""):
        for name, one in model["properties"].items():
            if "description" not in one and place:
                yield f"{place}.{name}"

    told = schema()
    missing = [
        key
        for name, model in told["$defs"].items()
        if "properties" in model
        for key in undescribed(model, name)
    ]
    assert missing == []


def leaves(value, place=()):
    yield place
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from leaves(item, (*place, key))


PLACES = [place for place in leaves(yaml.safe_load(VALID)) if place]
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["nsf", "sbc", "x.py", "auto", "rows"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["kind", "low"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    place=st.sampled_from(PLACES),
    value=ODD,
    key=st.none() | st.text(max_size=6) | st.integers() | st.booleans(),
)
def test_whatever_stands_in_the_file_only_config_errors_come(tmp_path, place, value, key):
    data = yaml.safe_load(VALID)
    inside = data
    for step in place[:-1]:
        inside = inside[step]
    if isinstance(inside, dict) and key is not None:
        inside[key] = inside.pop(place[-1])
    else:
        inside[place[-1]] = value
    path = tmp_path / "fuzz.yaml"
    path.write_text(
        yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass"
    )
    refused_or_loaded(path)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    at=st.integers(0, len(VALID)),
    length=st.integers(0, 12),
    insert=st.text(alphabet="{}[]:,-&*!|>'\"%@`#? \n\tab1.é", max_size=6),
)
def test_whatever_is_typed_only_config_errors_come(tmp_path, at, length, insert):
    path = tmp_path / "fuzz.yaml"
    path.write_text(VALID[:at] + insert + VALID[at + length :], encoding="utf-8")
    refused_or_loaded(path)


def refused_or_loaded(path):
    try:
        load(path)
    except ConfigError as error:
        assert str(error)
        for one in getattr(error, "problems", [error]):
            assert one.what and one.where.startswith(str(path)) and one.todo


CONSTANTS = ".$defs.ProblemSection.properties.constants."  # passed to the simulator as they are
TOO_LARGE = [
    ("simulate.train=1e18", "simulate.train  must be at most 100,000,000"),
    ("simulate.test=100_000_001", "simulate.test  must be at most 100,000,000"),
    ("simulate.block_size=1e12", "simulate.block_size  must be at most 1,000,000"),
    ("simulate.shard_size=1e12", "simulate.shard_size  must be at most 100,000,000"),
    ("simulate.failures.timeout_s=1e300", "simulate.failures.timeout_s  must be at most "
        "10,000,000"),
    ("simulate.seed=1e30", "simulate.seed  must be at most 9,223,372,036,854,775,807"),
    ("train.batch_size=1e18", "train.batch_size  must be at most 1,000,000"),
    ("train.steps=1e18", "train.steps  must be at most 1,000,000,000"),
    ("train.epochs=1e18", "train.epochs  must be at most 1,000,000,000"),
    ("train.online.buffer=1e12", "train.online.buffer  must be at most 10,000,000"),
    ("diagnose.draws=1e18", "diagnose.draws  must be at most 1,000,000"),
    ("model.inputs.y.features=1e9", "model.inputs.y.features  must be at most 4,096"),
    ("machine.threads=1e9", "machine.threads  must be at most 1,024"),
    ("machine.cluster.cpus=1e9", "machine.cluster.cpus  must be at most 4,096"),
    ("machine.executor={kind: pool, workers: "
        "1e9}", "machine.executor.workers  must be at most 4,096"),
    ("machine.executor={kind: pool, workers: 0}", "machine.executor.workers  must be at least 1"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "told"), TOO_LARGE)
def test_every_count_has_a_bound_that_the_message_names(config, setting, told):
    [(_, what, todo)] = config(sets=(setting,))
    assert what.startswith(f"{told}, not ") and todo


def whole_numbers(node: object, name: str = "") -> Iterator[tuple[str, dict]]:
    """(place, schema) of every whole number in a JSON Schema, those of the parts' options
    included."""
    if isinstance(node, list):
        for item in node:
            yield from whole_numbers(item, name)
    if isinstance(node, dict):
        if node.get("type") == "integer":
            yield name, node
        for key, item in node.items():
            yield from whole_numbers(item, f"{name}.{key}")


def test_every_count_of_the_schema_has_a_bound():
    free = {
        name
        for name, node in whole_numbers(schema())
        if "maximum" not in node and "enum" not in node and not name.startswith(CONSTANTS)
    }
    assert not free


RESERVED = [
    ("    mu: {kind", "    chain: {kind", "problem.parameters.chain", "chain_1"),
    ("    mu: {kind", "    draw: {kind", "problem.parameters.draw", "draw_1"),
    ("    mu: {kind", "    mu_dim_0: {kind", "problem.parameters.mu_dim_0", "mu_dim_0_1"),
    ("    n: {kind", "    data_set: {kind", "problem.context.data_set", "data_set_1"),
    ("    y:\n", "    draw:\n", "model.inputs.draw", "draw_1"),
    ("  drop: [n]", "  drop: [chain]", "model.drop.0", "chain_1"),
]


@pytest.mark.parametrize(("old", "new", "place", "other"), RESERVED)
def test_names_of_the_posterior_file_are_refused(config, old, new, place, other):
    problems = config(old, new)
    [(_, what, todo)] = [problem for problem in problems if problem[1].startswith(place)]
    assert what == f"{place}  is the name of a dimension of the posterior file (netCDF)"
    assert todo == f"choose another name, such as {other}, here and in the simulator"


SINGLE = [
    ("problem.observations.seen.group_by=id", lambda c: c.problem.observations["seen"].group_by, ["id"]),
    ("problem.missing=y", lambda c: c.problem.missing, ["y"]),
    ("model.drop=n", lambda c: c.model.drop, ["n"]),
    ("model.inputs.y.from=y", lambda c: c.model.inputs["y"].from_, ["y"]),
    ("diagnose.by=n", lambda c: c.diagnose.by, ["n"]),
    ("diagnose.by=auto", lambda c: c.diagnose.by, "auto"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "read", "value"), SINGLE)
def test_a_single_name_stands_for_a_list_of_one(config, setting, read, value):
    assert read(config(sets=(setting,))) == value


KEPT_KINDS = [
    ("", "machine.executor.workers=3", lambda c: c.machine.executor, "pool", ("workers", 3)),
    ("machine: {executor: "
        "pool}", "machine.executor.workers=3", lambda c: c.machine.executor, "pool", ("workers", 3)),
    ("machine: {executor: {kind: "
        "dask}}", "machine.executor.workers=3", lambda c: c.machine.executor, "dask", ("workers", 3)),
    ("", "model.inference.bins=4", lambda c: c.model.inference, "nsf", ("bins", 4)),
    ("", "diagnose.checks.1.by=x", lambda c: None, "", None),
    ("", "model.inputs.y.transforms.0.kind=sqrt", lambda c: c.model.inputs["y"].transforms[0], "sqrt", None),
]  # fmt: skip


@pytest.mark.parametrize(("machine", "setting", "read", "kind", "option"), KEPT_KINDS)
def test_set_keeps_the_kind_that_stands(config, machine, setting, read, kind, option):
    loaded = config("machine: {executor: serial}", machine, sets=(setting,))
    if not kind:  # an option that the part does not have is told as such
        [(_, what, _)] = loaded
        assert what == "diagnose.checks.1.by  unknown key"
        return
    part = read(loaded)
    assert part.kind == kind
    if option:
        assert getattr(part, option[0]) == option[1]
