"""A run with a learned likelihood, verb by verb: it is emulated, judged, counted, verified, shown."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from sbiwb.cli.app import app
from sbiwb.diagnostics import sbc
from sbiwb.diagnostics._judge import holm
from sbiwb.errors import GateFailed, RunError
from sbiwb.numbers import read_numbers
from sbiwb.project.likelihoods import wanted
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.opening import open_project
from sbiwb.rundir import RunDir
from sbiwb.workflow import diagnose as diagnose_module
from sbiwb.workflow import predict as predict_module
from sbiwb.workflow.diagnose import Diagnosis, diagnose
from sbiwb.workflow.diagnose_networks import CheckedRun, checked_run
from sbiwb.workflow.predict import Predicted, predict
from sbiwb.workflow.report import report
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.status import status
from sbiwb.workflow.status_training import wanted_structures
from sbiwb.workflow.train_likelihoods import train_all, train_likelihoods
from sbiwb.workflow.verify import verify
from tests.diagnostics.conjugate import normal
from tests.report.reading import Read
from tests.tiny import Recorder, Tiny, copy

SETS = '''"""Sets of n normal numbers, and one number more."""


def simulate(mu, n, *, rng):
    sets = [m + rng.standard_normal(k) for m, k in zip(mu, n, strict=True)]
    return {"y": sets, "z": 3 * mu + rng.standard_normal(len(mu))}
'''
LIKELIHOOD = {
    "inference": {"kind": "nsf", "transforms": 1, "hidden": [16], "bins": 4, "linear": True},
    "uncertainty": {"kind": "none"},
    "train": {"steps": 300, "batch_size": 128, "learning_rate": 3e-3, "patience": None},
}
CHANGES = {
    "problem": {
        "constants": {},
        "context": {"n": {"kind": "uniform_integer", "low": 2, "high": 4}},
        "observations": {
            "people": {"file": "people.csv", "group_by": ["who"], "context": {"n": "rows"}}
        },
        "structure": {"y": "iid", "z": "joint"},
    },
    "model": {
        "inputs": {"y": {"as": "set", "summary": {"kind": "deepset", "hidden": 8}}},
        "drop": ["n", "z"],
        "likelihood": LIKELIHOOD,
    },
    "train": {"steps": 100},
    "diagnose": {"draws": 19, "checks": ["sbc", "nlpd"]},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tiny = Tiny.write(tmp_path_factory.mktemp("learned") / "it", CHANGES, SETS)
    text = tiny.yaml.read_text().replace("  constants:\n    n: 4\n", "")
    tiny.yaml.write_text(text.replace("    seen:\n      file: seen.csv\n", ""))
    people = "who,z,y\na,3,1.0\nb,2,0.5\na,3,0.0\nc,5,2\nb,2,1\nc,5,3\nb,2,1\n"
    (tiny.folder / "people.csv").write_text(people)
    simulate(tiny.open(), Recorder())
    list(train_all(tiny.open(), Recorder()))
    return tiny


# predict --emulate


def predicted(tiny: Tiny, name: str | None, **options) -> Predicted:
    project = tiny.open()
    observation = named_observations(project, name)[0] if name else None
    options = {"draws": 400, "seed": 5, **options}
    return predict(project, Recorder(), observation=observation, **options)


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(predict_module, "MAX_PICTURES", 0)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", ["people", None])
def test_emulated_data_are_like_simulated_ones(made, name):
    simulated = predicted(made, name, draws=2000)
    emulated = predicted(made, name, draws=2000, emulate=True)
    one, other = simulated.simulations.pairs, emulated.simulations.pairs
    np.testing.assert_array_equal(one.theta["mu"], other.theta["mu"])
    for observable in ("y", "z"):
        assert type(one.x[observable]) is type(other.x[observable])
        values = [
            np.asarray(getattr(x, "values", x)) for x in (one.x[observable], other.x[observable])
        ]
        assert values[0].dtype == values[1].dtype
        sd = values[0].std()
        assert values[1].mean() == pytest.approx(values[0].mean(), abs=0.15 * sd)
        assert values[1].std() == pytest.approx(sd, rel=0.15)
    with h5py.File(emulated.file) as file:
        assert file.attrs["made_by"] == "learned likelihood" and file["x/z"].shape[0] == len(one)
        assert set(json.loads(file.attrs["likelihood_weights"])) == {"y", "z"}
    with h5py.File(simulated.file) as file:
        assert file.attrs["made_by"] == "simulator"
    assert emulated.file.name == "predictive-emulated.h5" and simulated.file.is_file()


@pytest.mark.usefixtures("no_pictures")
def test_emulated_data_sets_are_as_large_as_the_observed_or_as_the_context_says(made):
    pairs = predicted(made, "people", draws=10, emulate=True).simulations.pairs
    assert pairs.x["y"].lengths.tolist() == [2] * 10 + [3] * 10 + [2] * 10
    longer = predicted(made, "people", draws=10, emulate=True, context={"n": 9})
    assert longer.file.name == "predictive-emulated-n=9.h5"
    assert set(longer.simulations.pairs.x["y"].lengths.tolist()) == {9}
    prior = predicted(made, None, draws=50, emulate=True).simulations.pairs
    np.testing.assert_array_equal(prior.x["y"].lengths, prior.context["n"])


@pytest.mark.usefixtures("no_pictures")
def test_the_same_seed_emulates_the_same_data(made):
    first, again, other = (
        predicted(made, "people", draws=10, emulate=True, seed=seed).simulations.pairs.x["z"]
        for seed in (5, 5, 6)
    )
    assert first.tolist() == again.tolist() != other.tolist()


def test_where_no_likelihood_is_learned_the_command_says_how(tmp_path, made):
    tiny = copy(made, tmp_path / "p")
    (tiny.run / "likelihood" / "z" / "train" / "best.pt").unlink()
    with pytest.raises(RunError, match="no learned likelihood") as error:
        predicted(tiny, "people", emulate=True)
    assert "problem: {structure:" in error.value.todo and "sbiwb train" in error.value.todo


def test_the_command_emulates(made):
    arguments = made.arguments("predict", "people", "--emulate", "--draws", "5")
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert "predictive-emulated.h5" in told.output.replace("\n", "")


# diagnose


def told(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def judged(made, tmp_path_factory):
    """A copy that is diagnosed, by the command."""
    tiny = copy(made, tmp_path_factory.mktemp("judged") / "it")
    return tiny, told(tiny.arguments("diagnose"))


@pytest.fixture
def quick_pictures(monkeypatch):
    monkeypatch.setattr(diagnose_module, "_pictures", lambda checked: iter(()))


def test_one_verdict_over_posterior_and_likelihoods(judged):
    tiny, _ = judged
    numbers = read_numbers(RunDir(tiny.run))
    tested = [value for value in numbers.values if value.p is not None]
    assert [value.p_adjusted for value in tested] == pytest.approx(
        holm([value.p for value in tested])
    )
    checks = {value.check.partition(" | ")[0] for value in numbers.values}
    assert checks == {
        *("sbc", "nlpd", "self_consistency"),
        *(f"likelihood {name}: {kind}" for name in "yz" for kind in ("sbc", "coverage", "tarp", "nlpd")),
    }  # fmt: skip
    assert [(one.name, one.columns) for one in numbers.likelihoods] == [
        ("likelihood y", ("y",)),
        ("likelihood z", ("z",)),
    ]
    assert {one.n for one in numbers.likelihoods} == {64}, "one member of each data set"


def test_what_is_judged_together_lies_with_each_network(judged):
    tiny, _ = judged
    numbers, own = (read_numbers(RunDir(run)) for run in (tiny.run, tiny.run / "likelihood" / "y"))
    together = [value for value in numbers.values if value.check.startswith("likelihood y: ")]
    assert [f"likelihood y: {value.check}" for value in own.values] == [
        value.check for value in together
    ]
    assert [value.p_adjusted for value in own.values] == [value.p_adjusted for value in together]
    assert (tiny.run / "likelihood/y/diagnose/sbc.png").is_file()
    assert (tiny.run / "diagnose/self_consistency.svg").is_file()
    provenance = json.loads((tiny.run / "diagnose/provenance.json").read_text())
    assert set(provenance["likelihood_weights"]) == {"likelihood y", "likelihood z"}


def test_the_command_shows_a_table_of_each_network(judged):
    _, output = judged
    headings = [line.split()[0:2] for line in output.splitlines() if "SBC p" in line]
    assert headings == [["parameter", "SBC"], ["likelihood", "y"], ["likelihood", "z"]]
    assert "likelihood y: nlpd" in output and "self_consistency  log evidence" in output


@pytest.mark.usefixtures("quick_pictures")
def test_a_likelihood_is_judged_alone_too(tmp_path, judged):
    tiny = copy(judged[0], tmp_path / "p")
    shutil.rmtree(tiny.run / "likelihood/y/diagnose")
    output = told(["diagnose", str(tiny.run / "likelihood/y")])
    assert "likelihood of y" in output and f"next:  sbiwb diagnose {tiny.run}" in output
    numbers = read_numbers(RunDir(tiny.run / "likelihood/y"))
    assert {value.check.partition(" | ")[0] for value in numbers.values} == {
        *("sbc", "coverage", "tarp", "nlpd")
    }


@pytest.mark.usefixtures("quick_pictures")
def test_the_gate_stops_at_a_wrong_likelihood_and_says_that_it_is_one(judged, monkeypatch):
    tiny, _ = judged
    checked = checked_run(tiny.open(), Recorder())
    config = sbc.Config()

    def with_ranks_of(network, **wrong):
        draws = replace(normal(400, 99, 1, seed=1, **wrong), names=network.draws.names)
        return replace(network, results=[("sbc", config, sbc.compute(draws, config))])

    posterior, (y, z) = with_ranks_of(checked.own), checked.likelihoods
    wrong = CheckedRun.of(posterior, [with_ranks_of(y, sd=0.5), with_ranks_of(z)])
    diagnosis = Diagnosis.of(wrong)
    assert diagnosis.verdict == "fail" and "likelihood y: sbc of y" in diagnosis.summary
    (advice,) = diagnosis.advice
    assert advice.finding == "The likelihood of y is off, not the posterior: too narrow in y."

    monkeypatch.setattr(diagnose_module, "checked_run", lambda *_: wrong)
    with pytest.raises(GateFailed, match="likelihood y: sbc of y") as error:
        diagnose(tiny.open(), Recorder(), gate=True)
    assert error.value.exit_code == 3 and "model.likelihood" in error.value.todo
    right = CheckedRun.of(posterior, [with_ranks_of(y), with_ranks_of(z)])
    monkeypatch.setattr(diagnose_module, "checked_run", lambda *_: right)
    assert diagnose(tiny.open(), Recorder(), gate=True).verdict == "pass"


@pytest.mark.usefixtures("quick_pictures")
def test_what_is_not_trained_or_of_another_problem_is_not_judged(tmp_path, judged):
    tiny, recorder = copy(judged[0], tmp_path / "p"), Recorder()
    (tiny.run / "likelihood/z/train/best.pt").unlink()
    config = tiny.run / "likelihood/y/config.yaml"
    data_hash = tiny.open().data_hash
    config.write_text(config.read_text().replace(data_hash, "a" * 64))
    found = diagnose(tiny.open(), recorder)
    assert found.likelihoods == {}
    assert {judgment.check.partition(" | ")[0] for judgment in found.judgments} == {"sbc", "nlpd"}
    assert "The likelihood of z is not trained yet, and not judged." in recorder.said
    assert any("of y is trained on another problem" in warning for warning in recorder.warned)


# status, verify, report, train --fresh


def test_status_says_how_far_each_likelihood_is(tmp_path, made):
    tiny = copy(made, tmp_path / "p")
    z, y = tiny.run / "likelihood/z", tiny.run / "likelihood/y"
    shutil.rmtree(z)
    (y / "train/best.pt").unlink()
    found = status(tiny.run)
    words = {one.name: one.words() for one in found.likelihoods}
    assert words["y"].startswith("step 300 of 300, validation loss ")
    assert words["z"] == "not trained yet"
    assert found.todo == f"sbiwb train {tiny.run}"
    output = told(["status", str(tiny.run)])
    assert "likelihood   y: step 300 of 300" in output and "z: not trained yet" in output
    whole = status(made.run)
    assert [one.words().partition(" loss")[0] for one in whole.likelihoods] == [
        "trained, best validation"
    ] * 2
    assert whole.todo == f"sbiwb diagnose {made.run}"


def test_status_of_a_likelihood_counts_data_sets(made):
    found = status(made.run / "likelihood/y")
    assert found.simulated["train"][:2] == (256, 256)
    assert found.trained is not None and found.todo == f"sbiwb diagnose {made.run}/likelihood/y"


@pytest.mark.parametrize("likelihood", ["auto", "none", LIKELIHOOD])
@pytest.mark.parametrize("effort", ["quick", "standard"])
@pytest.mark.parametrize("structure", [{}, {"y": "joint"}, {"y": "iid", "z": "joint"}])
def test_status_knows_what_training_wants(tmp_path, likelihood, effort, structure):
    from sbiwb.project.opening import write_config

    changes = {
        "effort": effort,
        "problem": {"structure": structure},
        "model": {"likelihood": likelihood},
    }
    project = Tiny.write(tmp_path, {"problem": {"structure": {}}}).open()
    document = project.config.model_dump(mode="json", by_alias=True)
    for section in ("problem", "model"):
        document[section] |= changes[section]
    config = type(project.config).model_validate({**document, "effort": effort})
    project = replace(project, config=config)
    write_config(project)
    assert wanted_structures(project.run) == list(wanted(project.config))


def test_verify_finds_a_damaged_checkpoint_and_training_mends_it(tmp_path, made):
    tiny = copy(made, tmp_path / "p")
    assert verify(tiny.run, Recorder()).checkpoints == 9
    best = tiny.run / "likelihood/y/train/best.pt"
    data = bytearray(best.read_bytes())
    data[len(data) // 2] ^= 4
    best.write_bytes(data)
    found = verify(tiny.run, Recorder())
    (trouble,) = found.troubles
    assert trouble.where == best and not found.is_whole and found.checkpoints == 8
    assert trouble.todo.startswith(f"Run `sbiwb train {tiny.run}`")
    list(train_likelihoods(tiny.open(), Recorder()))
    assert verify(tiny.run, Recorder()).is_whole


def test_the_report_shows_likelihoods(judged):
    tiny, _ = judged
    page = Read.of(report(tiny.run).read_text())
    assert (page.unbalanced, page.open) == ([], [])
    assert page.text.count("Likelihood of y") == 2, "judged, and how it was made"
    assert "likelihood y: sbc" in page.text and "train likelihood z" in page.text
    assert "of other weights" not in page.text
    words = [attributes["alt"] for _, attributes in page.tags("img")]
    assert "Training of the likelihood of z" in words


def test_the_report_says_where_a_likelihood_was_judged_with_other_weights(tmp_path, judged):
    tiny = copy(judged[0], tmp_path / "p")
    y, z = (tiny.run / f"likelihood/{name}/train/best.pt" for name in "yz")
    shutil.copy(z, y)
    text = Read.of(report(tiny.run).read_text()).text
    assert "The verdict and its pictures are of other weights than those trained last" in text


def test_fresh_sets_aside_trainings_of_likelihoods_again_and_again(tmp_path, made):
    tiny = copy(made, tmp_path / "p")
    project, first = tiny.open(), {}
    for number in (1, 2):
        first[number] = (tiny.run / "likelihood/y/train/best.pt").read_bytes()
        list(train_likelihoods(trained_shortly(project, number), Recorder(), fresh=True))
    for number, data in first.items():
        assert (tiny.run / f"likelihood/y/train.before-{number}/best.pt").read_bytes() == data
    last = (tiny.run / "likelihood/y/train/best.pt").read_bytes()
    assert len({*first.values(), last}) == 3


def trained_shortly(project, seed):
    """The same project with another seed of training, and few steps for its likelihoods."""
    model, likelihood = project.config.model, project.config.model.likelihood
    short = likelihood.model_copy(
        update={"train": likelihood.train.model_copy(update={"steps": 20})}
    )
    changes = {
        "train": project.config.train.model_copy(update={"seed": seed}),
        "model": model.model_copy(update={"likelihood": short}),
    }
    return replace(project, config=project.config.model_copy(update=changes))


def test_a_likelihood_is_a_run_that_opens(made):
    likelihood = open_project(made.run / "likelihood/y")
    assert likelihood.members.members_of == "y" and likelihood.data_run.path == made.run
