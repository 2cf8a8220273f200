"""Every command, option, key and snippet of README and the guide is one that there is."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import re
import sys

import pytest

import sbiwb
from sbiwb.errors import SbiwbError
from sbiwb.workflow import init
from tests.guide import texts
from tests.guide.texts import README, REPOSITORY, SPANS, commands
from tests.guide.typed import GROUP, OPTIONS, check_typed
from tests.guide.written import config_of, document_of, versions

COMMANDS = [(line, said) for line, said in commands() if not said[0].startswith("-")]
SCHEDULERS = {"--signal"}  # options of other programs
YAML = texts.of("yaml")
KEYS = [span for span in SPANS if document_of(span.text)]
PYTHON = texts.of("python")
PARTS = "my_parts/bias.py"


def test_the_pages_show_what_is_tested_here():
    assert len(COMMANDS) > 60 and len(YAML) > 8 and len(KEYS) > 25 and len(PYTHON) > 5
    assert {block.language for block in texts.BLOCKS} == {"shell", "yaml", "python"}


@pytest.mark.parametrize(("line", "said"), COMMANDS, ids=str)
def test_a_command_is_one_that_the_command_line_takes(line, said):
    if line.language == "span" and len(said) == 1:  # the text names the verb
        assert said[0] in GROUP.commands
    else:
        check_typed(said)


def test_the_one_command_before_a_verb():
    [(_, said)] = [found for found in commands() if found[1][0].startswith("-")]
    assert said == ["--debug", "VERB", "..."] and "--debug" in OPTIONS


BROKEN = [
    "sbiwb sampel runs/decay",
    "sbiwb sample",
    "sbiwb sample runs/decay --refin importance",
    "sbiwb sample runs/decay --refine everything",
    "sbiwb sample runs/decay --draws 1",
    "sbiwb worker runs/model",
    "sbiwb check a.yaml b.yaml",
    "sbiwb run configs/influensa.yaml",
    "sbiwb train model.yaml --set train.bach_size=512",
    "sbiwb benchmark configs/benchmark.yaml --set scores=[pqmas]",
    "sbiwb tune model.yaml --vary 'model.inference.transfroms=3..8'",
    "sbiwb reference model.yaml --method nutz",
    "sbiwb reference model.yaml --method nuts --option warm=3",
    "sbiwb submit model.yaml trian",
    "sbiwb parts inferences",
    "sbiwb guide likelihood",
]


@pytest.mark.parametrize("line", BROKEN)
def test_a_command_that_there_is_not_is_found(line):
    said = texts.arguments(line)
    assert said
    with pytest.raises((SbiwbError, AssertionError)):
        check_typed(said)


def test_an_option_in_the_text_is_one_of_a_verb():
    named = {word for span in SPANS for word in re.findall(r"(?<!\S)--[a-z][\w-]*", span.text)}
    others = {
        word
        for span in SPANS
        if re.match(r"pip|torchrun|srun|sbatch|python", span.text)
        for word in re.findall(r"--[a-z][\w-]*", span.text)
    }
    assert {"--gate", "--ess", "--emulate", "--shares"} <= named
    assert named - others - SCHEDULERS <= OPTIONS


def test_the_table_of_verbs_has_all_of_them():
    table = README.read_text().partition("## Verbs\n")[2].partition("\n## ")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {span.split()[0] for cell in cells for span in re.findall(r"`([^`]+)`", cell)}
    assert named - {"CONFIG", "RUN"} == set(GROUP.commands)


@pytest.fixture
def folder(tmp_path):
    """Where the parts are that a YAML names by path."""
    [part] = [block for block in PYTHON if "class Config" in block.text]
    (tmp_path / PARTS).parent.mkdir()
    (tmp_path / PARTS).write_text(part.text)
    return tmp_path


@pytest.mark.parametrize("block", YAML, ids=str)
def test_yaml_is_what_the_config_takes(block, folder):
    for version in versions(block.text):
        assert config_of(version, folder)


@pytest.mark.parametrize("span", KEYS, ids=str)
def test_a_key_in_the_text_is_one_of_the_config(span, folder):
    assert config_of(document_of(span.text), folder)


BROKEN_YAML = [
    "model:\n  uncertainty: {kind: ensemble, member: 5}",
    "machine:\n  cluster: {partitions: gpu}",
    "problem:\n  structure:\n    x: iid\n    # y: {as: independed}",
    "simulate: {trian: 3}\n# train: {steps: 3}",
    "train: {steps: 3}\n# train: {step: 3}",
    "diagnose: {checks: [sbc, my_parts/none.py]}",
    document_of("passes: many"),
    document_of("diagnose.bye: auto"),
    document_of("train.max_time_mins: 50"),
    document_of("theta: {phase: cirkular}"),
]


@pytest.mark.parametrize("text", BROKEN_YAML)
def test_yaml_that_no_config_takes_is_found(text, folder):
    with pytest.raises(SbiwbError):
        for version in versions(text):
            config_of(version, folder)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles_and_imports_what_there_is(block):
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("sbiwb"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_simulator_of_the_tutorial_is_the_one_that_init_writes():
    [shown] = [block for block in PYTHON if block.page == README.name]
    [mine] = ast.parse(shown.text).body
    written = {
        node.name: node
        for node in ast.parse(init.SIMULATOR).body
        if isinstance(node, ast.FunctionDef)
    }
    documented = written["simulate"]
    documented.body = documented.body[1:]
    assert ast.dump(mine) == ast.dump(documented)


def test_the_model_in_pymc_calls_what_there_is(monkeypatch):
    """Without PyMC, which stands here for itself by names alone."""
    [block] = [block for block in PYTHON if "pymc_log_likelihood" in block.text]
    called = []

    def checked(name, answer):
        signature = inspect.signature(getattr(sbiwb, name))

        def call(*given, **named):
            signature.bind(*given, **named)
            called.append(name)
            return answer

        monkeypatch.setitem(sbiwb.__dict__, name, call)

    checked("load_likelihood", object())
    checked("pymc_log_likelihood", lambda theta: sorted(theta))
    pymc = PyMC()
    monkeypatch.setitem(sys.modules, "pymc", pymc)
    exec(block.text, {"rt": [], "choice": [], "N": 3})
    assert called == ["load_likelihood", "pymc_log_likelihood"]
    assert pymc.terms == [["a", "t0", "v", "w"]]


class PyMC:
    """As much of the package as the page uses."""

    def __init__(self):
        self.terms = []

    def Model(self):
        return contextlib.nullcontext()

    def Normal(self, name, mu, sigma, shape=()): ...

    def Gamma(self, name, alpha, beta): ...

    def Beta(self, name, alpha, beta): ...

    def Potential(self, name, value):
        self.terms.append(value)


MAKE = commands("make")
MODULES = [(line, said[1]) for line, said in commands("python") if said[0] == "-m"]


@pytest.mark.parametrize(("line", "said"), MAKE, ids=str)
def test_a_target_is_in_the_makefile(line, said):
    target = said[0]
    assert re.search(rf"^{target}:.*##", (REPOSITORY / "Makefile").read_text(), re.M), target


@pytest.mark.parametrize(("line", "module"), MODULES, ids=str)
def test_a_module_that_is_run_is_there(line, module):
    path = REPOSITORY / module.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_links_and_files_are_there():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README.read_text()):
        assert (REPOSITORY / target).is_file(), target
    named = [span.text for span in SPANS if re.match(r"(sbiwb|tests|configs)/[\w/.*]+$", span.text)]
    assert len(named) > 8
    for name in named:
        assert list(REPOSITORY.glob(name.rstrip("/"))), name


def test_every_chapter_is_linked_from_readme():
    linked = set(re.findall(r"\]\((sbiwb/guide/\w+\.md)\)", README.read_text()))
    assert linked == {f"sbiwb/guide/{path.name}" for path in texts.CHAPTERS}


def test_readme_is_short_and_ends_with_its_changes():
    text = README.read_text()
    assert text.count("\n") < 250
    assert re.findall(r"^## (.+)$", text, re.M)[-1] == "Changes"
