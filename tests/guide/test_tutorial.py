"""The tutorial of README is followed to its end, with fewer simulations and steps, and what the
guide does with its run afterwards."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import pytest
from typer.testing import CliRunner

from sbiwb.cli.app import app
from tests.guide import texts
from tests.guide.texts import CHAPTERS, README, arguments, blocks

FEWER = {
    **{"simulate.train": 512, "simulate.validation": 128, "simulate.test": 64},
    **{"train.steps": 40, "train.weight_decay": 0.01, "model.uncertainty": "none"},
    **{"diagnose.draws": 19, "machine.executor": "serial", "machine.threads": 1},
}
SETTINGS = [word for key, value in FEWER.items() for word in ("--set", f"{key}={value}")]
ONE_CHECK = ("--set", "diagnose.checks=[sbc]")
VERBS_OF_A_CONFIG = ("check", "simulate", "run", "reference", "sample", "diagnose")
PAGE = {path.stem: path for path in CHAPTERS}


@dataclass(frozen=True)
class Decay:
    """The folder in which the tutorial is followed."""

    folder: Path

    def call(self, said: list[str], *more: str, within: str = ".") -> str:
        """Runs a command of a page; what it told."""
        fewer = SETTINGS if said[0] in VERBS_OF_A_CONFIG and said[1].endswith(".yaml") else []

        with contextlib.chdir(self.folder / within):
            told = CliRunner().invoke(app, [*said, *fewer, *more])
        assert told.exit_code == 0, f"{said}\n{told.output}"
        return told.output

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "decay"


def lines(block: texts.Snippet) -> list[list[str]]:
    """The commands of a block."""
    return [said for line in block.text.splitlines() if (said := arguments(line))]


def tutorial() -> list[texts.Snippet]:
    text = README.read_text()
    first = text[: text.index("## Your own simulator")].count("\n")
    last = text[: text.index("## The guide")].count("\n")
    return [block for block in blocks(README) if first < block.line < last]


@pytest.fixture(scope="module")
def decay(tmp_path_factory) -> Decay:
    """The first block of the tutorial, line by line."""
    begin, *_ = tutorial()
    made = Decay(tmp_path_factory.mktemp("tutorial") / "decay")
    made.folder.mkdir()
    assert [said[0] for said in lines(begin)] == ["init", "check", "run"]
    for said in lines(begin):
        made.call(said, *(ONE_CHECK if said[0] == "run" else ()))
    return made


@pytest.fixture
def here(decay, monkeypatch) -> Path:
    monkeypatch.chdir(decay.folder)
    return decay.folder


def test_it_leaves_what_the_tutorial_names(decay):
    assert (decay.run / "report.html").is_file()
    assert "simulate:" in (decay.run / "config.yaml").read_text()
    measured = decay.run / "sample" / "measured"
    for name in ("posterior.nc", "draws.csv", "draws.h5", "summary.csv", "pairs.png"):
        assert (measured / name).is_file(), name


def test_data_of_ones_own_are_inferred(decay):
    values = (decay.folder / "decay.csv").read_text().split()[1:]
    (decay.folder / "mydata.csv").write_text("\n".join(["y", *values]))
    (decay.folder / "signals.csv").write_text("\n".join(["signal", *values]))
    rows = [f"{person},{day},{y}" for person in "ab" for day in (1, 2) for y in values]
    (decay.folder / "trials.csv").write_text("\n".join(["person,day,y", *rows]))
    [block] = [block for block in tutorial() if "mydata.csv" in block.text]
    one, many, renamed = (
        decay.call(said, "--pictures", "0", "--draws", "100") for said in lines(block)
    )
    assert re.search(r"^rate ", one, re.M) and re.search(r"^rate ", renamed, re.M)
    assert "rate" in many
    with h5py.File(decay.run / "sample" / "trials" / "draws.h5") as file:
        assert file["theta/rate"].shape[0] == 4


def test_the_chapter_on_python_works_on_its_run(here):
    first, second = (block for block in blocks(PAGE["python"]))
    names: dict = {}
    exec(first.text, names)
    assert names["draws"].shape == (1, 1000, 3) and names["log_q"].shape == (1, 1000)
    exec(second.text, names)
    assert set(names["posterior"].data_vars) >= {"amplitude", "rate", "noise"}
    assert names["rate"].size == 4000


def test_the_chapter_on_exact_posteriors_works_on_its_run(decay, tmp_path):
    copied = Decay(tmp_path / "decay")
    shutil.copytree(decay.folder, copied.folder)
    likelihood, calls, _ = blocks(PAGE["exact"])
    with (copied.folder / "decay.py").open("a") as simulator:
        simulator.write(f"\n\n{likelihood.text}")
    accepted, reference, refined, compared = lines(calls)
    copied.call(accepted)
    assert "importance" in copied.call(reference, "--no-gate", "--draws", "200")
    copied.call(refined, "--draws", "200", "--pictures", "0")
    assert (copied.run / "sample" / "measured" / "refined.json").is_file()
    assert "C2ST" in copied.call(compared, within="runs/decay")


def test_the_check_of_the_chapter_on_extending_judges_its_run(decay, tmp_path):
    copied = Decay(tmp_path / "decay")
    shutil.copytree(decay.folder, copied.folder)
    key, check = blocks(PAGE["extend"])
    named = re.search(r"my_parts/\w+\.py", key.text)
    assert named
    (copied.folder / named[0]).parent.mkdir()
    (copied.folder / named[0]).write_text(check.text)
    with (copied.folder / "decay.yaml").open("a") as config:
        config.write(key.text)
    copied.call(["diagnose", "decay.yaml"])
    found = json.loads((copied.run / "diagnose" / "numbers.json").read_text())["values"]
    assert {"amplitude", "rate", "noise"} <= {
        value["parameter"] for value in found if value["name"] == "bias"
    }
