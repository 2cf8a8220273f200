"""One new part is one new file: dropped into its family's folder, or named by its path; and it
works in a whole run.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic_core import PydanticCustomError

from sbiwb.config import schema
from sbiwb.errors import ConfigError, RunError
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.opening import open_project
from sbiwb.project.trained import load_posterior
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.parts import families, parts
from sbiwb.workflow.reference import reference
from sbiwb.workflow.reference_options import method_of, only_observation
from sbiwb.workflow.sample import sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import SIMULATOR, Recorder

SUMMARY = '''"""The mean of a vector, times a factor."""
from pydantic import Field
from sbiwb.contracts import SummaryPart
from sbiwb.contracts.network_modules import SummaryModule


class Mean(SummaryModule):
    features = 1

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, values, mask=None):
        return self.factor * values.mean(-1, keepdim=True)


class Config(SummaryPart):
    factor: float = Field(1.0, description="What the mean is multiplied by.")

    def build(self, shape, features):
        return Mean(self.factor)
'''
TRANSFORM = '''"""x to x / 2."""
from sbiwb.contracts import TransformPart


class Half:
    def forward(self, values):
        return values / 2


class Config(TransformPart):
    def build(self, measured):
        return Half()
'''
PRIOR = '''"""A normal prior around 3."""
from sbiwb.priors.normal import Normal
from sbiwb.priors._univariate import UnivariateConfig


class Config(UnivariateConfig):
    def build(self):
        return Normal(3.0, 1.0, event=self.event)
'''
EXECUTOR = '''"""Last task first."""
from sbiwb.executors.serial import SerialExecutor
from sbiwb.contracts import ExecutorPart


class Backwards(SerialExecutor):
    def run(self, work, tasks):
        return super().run(work, list(tasks)[::-1])


class Config(ExecutorPart):
    def build(self, cluster):
        return Backwards()
'''
DIAGNOSTIC = '''"""Mean error of the posterior mean."""
from dataclasses import dataclass
from matplotlib.figure import Figure
from sbiwb.contracts import DiagnosticPart, DiagnosticResult
from sbiwb.evidence import Value


class Config(DiagnosticPart):
    pass


@dataclass(frozen=True)
class Result(DiagnosticResult):
    values: tuple
    definitions = {"bias": "mean of posterior mean minus truth"}


def compute(draws, config):
    errors = (draws.draws.mean(1) - draws.theta).mean(0)
    return Result(tuple(Value("bias", name, float(e)) for name, e in zip(draws.names, errors)))


def plot(result):
    return Figure()
'''
INFERENCE = '''"""A normal density with a linear mean."""
import torch
from torch import nn
from sbiwb.contracts import InferencePart
from sbiwb.contracts.network_modules import InferenceModule


class Linear(InferenceModule):
    def __init__(self, features, context):
        super().__init__()
        self.mean, self.log_sd = nn.Linear(context, features), nn.Parameter(torch.zeros(features))

    def log_prob(self, z, features):
        normal = torch.distributions.Normal(self.mean(features), self.log_sd.exp())
        return normal.log_prob(z).sum(-1)

    def transport(self, noise, features):
        return self.mean(features)[:, None] + self.log_sd.exp() * noise


class Config(InferencePart):
    def build(self, features, context):
        return Linear(features, context)
'''
TRACKER = '''"""A line a validation, in a text file."""
from sbiwb.contracts import TrackerPart


class Lines:
    def __init__(self, path):
        self.path = path

    def start(self, config, *, step):
        return str(self.path)

    def log(self, step, facts):
        with open(self.path, "a") as file:
            file.write(f"{step} {facts['validation_loss']}\\n")

    def close(self, *, finished):
        pass


class Config(TrackerPart):
    def build(self, folder, name):
        return Lines(folder / f"{name}.txt")
'''
REFERENCE = '''"""Draws of the prior that the density keeps: rejection."""
import numpy as np
import torch
from pydantic import Field
from sbiwb.contracts import Reference, ReferencePart



class Config(ReferencePart):
    tries: int = Field(200, ge=1, description="Draws of the prior for each draw.")

    def run(self, target, draws, rng, reporter):
        z = target.prior(self.tries * draws, rng)
        log_ratio = target.log_density(torch.from_numpy(z)).numpy() + 0.5 * (z**2).sum(1)
        kept = z[np.log(rng.random(len(z))) < log_ratio - log_ratio.max()]
        return Reference(target.theta(kept[:draws]), facts={"acceptance": len(kept) / len(z)})
'''
CODE = {
    "summary": SUMMARY,
    "transforms": TRANSFORM,
    "priors": PRIOR,
    "executors": EXECUTOR,
    "diagnostics": DIAGNOSTIC,
    "inference": INFERENCE,
    "trackers": TRACKER,
    "references": REFERENCE,
}
LIKELIHOOD = """

def log_likelihood(x, *, mu):
    return -0.5 * ((x["y"] - mu[:, None]) ** 2).sum(-1)
"""


def changes(kind: dict[str, str]) -> dict:
    """A project that uses all of them but the reference method, which a command names."""
    return {
        "problem": {"parameters": {"mu": {"kind": kind["priors"]}}},
        "simulate": {"train": 1024},
        "model": {
            "inputs": {
                "y": {
                    "as": "vector",
                    "transforms": [kind["transforms"]],
                    "summary": {"kind": kind["summary"], "factor": 2.0},
                }
            },
            "inference": {"kind": kind["inference"]},
        },
        "train": {
            "steps": 400,
            "batch_size": 128,
            "learning_rate": 0.02,
            "ema": 0.9,
            "validate_every": 50,
        },
        "diagnose": {"checks": [kind["diagnostics"], "sbc"]},
        "machine": {"executor": kind["executors"], "tracking": [kind["trackers"]]},
    }


@pytest.fixture(params=["in the package", "by path"])
def project(request, tiny, tmp_path, monkeypatch):
    """A tiny project whose parts are files that are not ours."""
    if request.param == "in the package":
        for name, code in CODE.items():
            folder, package = (
                tmp_path / "dropped" / name,
                importlib.import_module(families()[name].package),
            )
            folder.mkdir(parents=True)
            (folder / "brand_new.py").write_text(code)
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
            monkeypatch.delitem(sys.modules, f"{package.__name__}.brand_new", raising=False)
        kinds = dict.fromkeys(CODE, "brand_new")
    else:
        (tmp_path / "parts").mkdir()
        for name, code in CODE.items():
            (tmp_path / "parts" / f"my_{name}.py").write_text(code)
        kinds = {
            name: f"parts/my_{name}.py" for name in CODE
        }  # relative to the YAML, wherever we stand
    yield tiny(**changes(kinds))
    for name in CODE:
        sys.modules.pop(f"{families()[name].package}.brand_new", None)


def test_it_works_in_a_whole_run(project):
    recorder = Recorder()
    simulate(project.open(), recorder)
    train(project.open(), recorder)
    assert len((project.run / "train/tiny.txt").read_text().splitlines()) == 400 // 50
    told = diagnose(project.open(), recorder)
    names = {one.name: one.value for one in told.judgments}
    assert abs(names["bias"]) < 0.3
    posterior = load_posterior(project.run)
    y = np.array([[2.0, 3.0, 4.0, 2.5]])
    draws = posterior.sample({"y": y}, 2000, 0)
    assert draws.mean() == pytest.approx(
        (3 + y.sum()) / 5, abs=0.1
    ) and draws.std() == pytest.approx(0.2**0.5, rel=0.15)
    ((one),) = sample(
        project.open(), named_observations(project.open(), None), recorder, draws=50, seed=0
    )
    assert one.rows[0].name == "mu"
    numbers = json.loads((project.run / "diagnose/numbers.json").read_text())
    assert any(value["name"] == "bias" for value in numbers["values"])


def test_a_reference_method_of_ones_own_is_named_like_ours(project, tmp_path, request, monkeypatch):
    project.simulator(SIMULATOR + LIKELIHOOD)
    monkeypatch.chdir(project.folder)
    kind = "brand_new" if "in the package" in request.node.name else "parts/my_references.py"
    opened = project.open()
    found = reference(
        opened,
        only_observation(opened),
        method_of(kind, ["tries=300"]),
        Recorder(),
        draws=1000,
        seed=0,
    )
    assert found.rows[0].mean == pytest.approx((3 + 4) / 5, abs=0.06) and found.rows[
        0
    ].sd == pytest.approx(0.2**0.5, rel=0.1)
    assert found.folder.parent.name == Path(kind).stem


def test_the_run_folder_opens_by_itself(project):
    simulate(project.open(), Recorder())
    again = open_project(project.run)
    assert (
        again.data_hash == project.open().data_hash
        and again.model_hash == project.open().model_hash
    )


def test_a_dropped_file_is_listed_and_in_the_schema(project, request):
    dropped = "in the package" in request.node.name  # a path is nobody's to list
    for name in CODE:
        assert ("brand_new" in [part.kind for part in parts(name)[name]]) == dropped
    assert (json.dumps(schema()).count('"const": "brand_new"') >= len(CODE)) == dropped


def test_a_part_by_path_moves_with_its_project_and_counts_by_its_code(tiny, tmp_path):
    (tmp_path / "a/parts").mkdir(parents=True)
    (tmp_path / "a/parts/near.py").write_text(PRIOR)
    first = tiny(problem={"parameters": {"mu": {"kind": "parts/near.py"}}})
    for file in ("tiny.py", "tiny.yaml", "seen.csv"):
        shutil.copy(first.folder / file, tmp_path / "a")
    here = open_project(tmp_path / "a/tiny.yaml", runs=tmp_path / "a/runs")
    simulate(here, Recorder())
    shutil.move(tmp_path / "a", tmp_path / "b")
    there = open_project(tmp_path / "b/tiny.yaml", runs=tmp_path / "b/runs")
    assert there.data_hash == here.data_hash
    assert open_project(tmp_path / "b/runs/tiny").data_hash == here.data_hash
    (tmp_path / "b/parts/near.py").write_text(PRIOR.replace("3.0", "4.0"))
    with pytest.raises(RunError, match=r"problem.parameters.mu.kind: near.py \w+ -> near.py \w+"):
        simulate(open_project(tmp_path / "b/tiny.yaml", runs=tmp_path / "b/runs"), Recorder())


def test_options_of_a_new_part_are_checked_like_ours(tiny, tmp_path):
    (tmp_path / "mean.py").write_text(SUMMARY)
    project = tiny(
        model={"inputs": {"y": {"as": "vector", "summary": {"kind": "mean.py", "facter": 2.0}}}}
    )
    with pytest.raises(
        ConfigError,
        match=r"model\.inputs\.y\.summary\.facter  unknown key  did you mean 'factor'\?",
    ):
        project.open()


def test_a_file_without_config_is_told(tiny, tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ConfigError, match=r"'.*empty\.py' defines no class Config"):
        tiny(machine={"executor": "empty.py"}).open()


CONFIG = """from sbiwb.contracts import {base}


class Config({base}):
"""
PLOT = "    pass\n\n\ndef plot(result): ...\n"
FORGOTTEN = [  # (family, code of the part, what it is told)
    ("priors", "", "'{path}' defines no class Config"),
    (
        "priors",
        "class Config: ...",
        "'{path}': write class Config(PriorPart), from sbiwb.contracts.part_configs",
    ),
    (
        "summary",
        CONFIG.format(base="PriorPart") + "    def build(self): ...",
        "'{path}': write class Config(SummaryPart), from sbiwb.contracts.part_configs",
    ),
    (
        "inference",
        "def Config(): ...",
        "'{path}': write class Config(InferencePart), from sbiwb.contracts.part_configs",
    ),
    (
        "summary",
        CONFIG.format(base="SummaryPart") + "    hidden: int = 3",
        "'{path}': its Config defines no build(shape, features)",
    ),
    (
        "executors",
        CONFIG.format(base="ExecutorPart") + "    def build(self): ...",
        "'{path}': its Config defines another build than build(cluster)",
    ),
    (
        "inference",
        CONFIG.format(base="InferencePart") + "    def build(self, features, context, depth): ...",
        "'{path}': its Config defines another build than build(features, context)",
    ),
    (
        "references",
        CONFIG.format(base="ReferencePart") + "    def build(self): ...",
        "'{path}': its Config defines no run(target, draws, rng, reporter)",
    ),
    (
        "diagnostics",
        CONFIG.format(base="DiagnosticPart") + PLOT,
        "'{path}': it defines no function compute(evidence, config)",
    ),
    (
        "diagnostics",
        CONFIG.format(base="DiagnosticPart") + "    pass\n\n\ndef compute(draws, config): ...",
        "'{path}': it defines no function plot(result)",
    ),
    (
        "diagnostics",
        CONFIG.format(base="DiagnosticPart") + PLOT + "\n\ndef compute(draws): ...",
        "'{path}': it defines another function compute than compute(evidence, config)",
    ),
    (
        "transforms",
        "import nothing_of_that_name",
        "'{path}' cannot be imported: ModuleNotFoundError: "
        "No module named 'nothing_of_that_name' (line 1)",
    ),
]


@pytest.mark.parametrize(("family", "code", "message"), FORGOTTEN)
def test_what_a_part_forgets_is_told_when_it_loads(family, code, message, tmp_path):
    path = tmp_path / "forgetful.py"
    path.write_text(code)
    with pytest.raises(PydanticCustomError) as error:
        families()[family].config(str(path))
    assert error.value.message() == message.format(path=path)


def test_what_a_part_forgets_is_told_at_its_place_in_the_yaml(tiny, tmp_path):
    (tmp_path / "forgetful.py").write_text(CONFIG.format(base="DiagnosticPart") + PLOT)
    with pytest.raises(ConfigError) as error:
        tiny(diagnose={"checks": ["sbc", "forgetful.py"]}).open()
    assert re.search(
        r"tiny\.yaml:\d+:\d+  diagnose\.checks\.1  "
        r"'.*forgetful\.py': it defines no function compute\(evidence, config\)",
        str(error.value),
    )


def test_a_sentence_over_two_lines_is_whole(tmp_path):
    path = tmp_path / "long.py"
    path.write_text(PRIOR.replace("A normal prior around 3.", "A normal prior\naround 3.\n\nMore."))
    assert families()["priors"].sentence(str(path)) == "A normal prior around 3."
