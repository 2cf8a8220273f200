"""Uncertain weights and ensembles through the verbs: resumed as uninterrupted, mixed draws,
epistemic shares, point networks."""

import json
import shutil
import signal

import numpy as np
import pytest
import torch

from sbiwb.errors import ConfigError, DataError
from sbiwb.project.network import member_seed
from sbiwb.project.observation_choice import named_observations
from sbiwb.project.trained import load_posterior
from sbiwb.training.checkpoint import read_checkpoint
from sbiwb.workflow.diagnose import diagnose
from sbiwb.workflow.sample import sample
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import Recorder, Tiny, copy, until

ENSEMBLE = {"kind": "ensemble", "members": 3}
BAYESIAN = {"kind": "bayesian", "init_logvar": -5, "weight_samples": 8}
CHECKS = [
    "sbc",
    "coverage",
    "tarp",
    "zscore_contraction",
    "recovery",
    "nrmse",
    "nlpd",
    "calibration_error",
]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Tiny:
    tiny = Tiny.write(tmp_path_factory.mktemp("simulated") / "p", {})
    simulate(tiny.open(), Recorder())
    return tiny


def project(simulated: Tiny, folder, uncertainty, **changes) -> Tiny:
    tiny = copy(simulated, folder)
    tiny.change({"model": {"uncertainty": uncertainty, **changes.pop("model", {})}, **changes})
    return tiny


def running(tiny: Tiny) -> dict[str, torch.Tensor]:
    """Weights after the last step, not averaged."""
    return read_checkpoint(sorted((tiny.run / "train").glob("checkpoint-*.pt"))[-1])["trainer"][
        "module"
    ]


def test_a_member_takes_the_steps_of_a_network_alone(simulated, tmp_path):
    together = project(simulated, tmp_path / "together", ENSEMBLE)
    train(together.open(), Recorder())
    found = running(together)
    for member in (0, 2):
        seed = member_seed(together.open().config.model, 0, member)
        alone = project(
            simulated, tmp_path / f"alone{member}", {"kind": "none"}, train={"seed": seed}
        )
        train(alone.open(), Recorder())
        for name, weight in running(alone).items():
            assert torch.allclose(found[f"estimators.{member}.{name}"], weight, atol=1e-5), name
    first, last = (found[f"estimators.{m}.summaries.0.net.0.weight"] for m in (0, 2))
    assert not torch.allclose(first, last, atol=1e-2)


@pytest.mark.parametrize(
    "uncertainty",
    [BAYESIAN, {**ENSEMBLE, "data": "bootstrap", "weights": "stacking"}],
    ids=["bayesian", "ensemble"],
)
def test_killed_and_resumed_is_uninterrupted_bit_for_bit(simulated, tmp_path, uncertainty):
    long = {"train": {"steps": 3000, "validate_every": 100, "checkpoint_every_s": 0.05}}
    one, other = (
        project(simulated, tmp_path / name, uncertainty, **long) for name in ("one", "other")
    )
    assert one.fork("train").wait() == 0
    child = other.fork("train")
    until(lambda: len(list((other.run / "train").glob("checkpoint-*.pt"))) == 2)
    child.kill_after(0.2, signal.SIGKILL)
    assert other.fork("train").wait() == 0
    a, b = running(one), running(other)
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    best = [read_checkpoint(tiny.run / "train/best.pt")["weights"] for tiny in (one, other)]
    assert all(torch.equal(best[0][key], best[1][key]) for key in best[0])
    if uncertainty["kind"] == "ensemble":  # shares are fitted at the end, and kept
        shares = load_posterior(one.run).shares
        assert np.ptp(shares) > 1e-3 and np.allclose(
            np.log(shares), best[0]["log_shares"].numpy(), atol=1e-5
        )


@pytest.fixture(scope="module", params=[BAYESIAN, ENSEMBLE], ids=["bayesian", "ensemble"])
def trained(simulated, tmp_path_factory, request) -> Tiny:
    train_ = {"steps": 500, "learning_rate": 5e-3, "validate_every": 100}
    tiny = project(
        simulated,
        tmp_path_factory.mktemp("trained") / "p",
        request.param,
        train=train_,
        diagnose={"draws": 99},
    )
    train(tiny.open(), Recorder())
    return tiny


def test_draws_and_density_are_those_of_the_mixture(trained):
    posterior = load_posterior(trained.run)
    x = {"y": np.array([[1.0, 0.5, 1.5, 1.0], [-2.0, 0.0, -1.0, -1.0]])}
    draws = posterior.sample(x, 40_000, 1)
    each = np.stack(list(posterior.sample_each(x, 20_000, 2)), axis=1)  # (N, W, S, D)
    assert np.allclose(draws.mean(1), each.mean((1, 2)), atol=0.02) and np.allclose(
        draws.var(1), each.reshape(2, -1, 1).var(1), atol=0.02
    )
    assert np.array_equal(posterior.sample(x, 50, 1), posterior.sample(x, 50, 1))
    one_each = posterior.sample({"y": np.zeros((3000, 4))}, 1, 3)[:, 0]
    assert (
        abs(one_each.var() / posterior.sample({"y": np.zeros((1, 4))}, 3000, 4)[0].var() - 1) < 0.15
    )  # not all from one network
    grid = np.linspace(-6, 6, 4001)[None, :, None].repeat(2, 0)
    mass = np.exp(posterior.log_prob(grid, x)).sum(1) * (grid[0, 1, 0] - grid[0, 0, 0])
    assert np.allclose(mass, 1, atol=2e-3)
    assert np.allclose(draws.mean(1)[:, 0], x["y"].sum(1) / 5, atol=0.5)  # 256 pairs


def test_the_epistemic_share_is_judged_without_being_asked_for_and_told_for_each_observation(
    trained,
):
    diagnose(trained.open(), recorder := Recorder())
    numbers = json.loads((trained.run / "diagnose/numbers.json").read_text())
    share = next(value for value in numbers["values"] if value["name"] == "epistemic_share")
    assert share["parameter"] == "mu" and 0 <= share["value"] < 0.8
    assert (trained.run / "diagnose/epistemic.png").is_file()
    trained.folder.joinpath("seen.csv").write_text("y\n30\n-30\n30\n-30\n")
    far = (
        sample(
            trained.open(), named_observations(trained.open(), None), recorder, draws=200, seed=0
        )[0]
        .rows[0]
        .epistemic
    )
    trained.folder.joinpath("seen.csv").write_text("y\n1.0\n0.5\n1.5\n1.0\n")
    near = (
        sample(
            trained.open(), named_observations(trained.open(), None), recorder, draws=200, seed=0
        )[0]
        .rows[0]
        .epistemic
    )
    assert (
        near is not None and far is not None and far > near + 0.05
    )  # data that training never saw
    header, line = (trained.run / "sample/seen/summary.csv").read_text().splitlines()[:2]
    assert abs(float(line.split(",")[header.split(",").index("epistemic_share")]) - near) < 1e-4
    assert (trained.run / "sample/seen/epistemic.png").stat().st_size > 5000


def test_an_ensemble_on_disk_shares_its_batches_and_refuses_the_bootstrap(simulated, tmp_path):
    disk = {"train": {"regime": "disk"}}
    tiny = project(simulated, tmp_path / "p", ENSEMBLE, **disk)
    assert np.isfinite(train(tiny.open(), Recorder()).facts.best_loss)
    tiny = project(simulated, tmp_path / "q", {**ENSEMBLE, "data": "bootstrap"}, **disk)
    with pytest.raises(ConfigError, match=r"needs all training pairs in memory"):
        train(tiny.open(), Recorder())


def test_metrics_and_progress_hold_the_divergence(simulated, tmp_path):
    tiny = project(simulated, tmp_path / "p", {**BAYESIAN, "kl_weight": 0.5})
    train(tiny.open(), recorder := Recorder())
    first, *_, last = [
        json.loads(line)["penalties"]["kl"]
        for line in (tiny.run / "train/metrics.jsonl").read_text().splitlines()
    ]
    assert 0 < last < first  # so large a factor draws the weights to their prior
    assert any("Uncertain: 597 of 597 weights" in line for line in recorder.said)
    assert (tiny.run / "train/log_variances.png").stat().st_size > 5000


def test_summaries_are_drawn_to_a_normal_distribution(simulated, tmp_path):
    spread = {}
    for weight in (0.0, 5.0):
        summary = {
            "kind": "mlp",
            "hidden": [16],
            "base_distribution": "normal",
            "mmd_weight": weight,
        }
        inputs = {"y": {"as": "vector", "summary": summary}}
        tiny = project(
            simulated,
            tmp_path / str(weight),
            {"kind": "none"},
            model={"inputs": inputs},
            train={"steps": 400, "learning_rate": 5e-3},
        )
        train(tiny.open(), Recorder())
        rng = np.random.default_rng(0)
        y = rng.normal(size=(2000, 1)) + rng.normal(size=(2000, 4))
        features = load_posterior(tiny.run).features({"y": y})
        spread[weight] = np.abs(features.mean(0)).max() + np.abs(features.std(0) - 1).max()
    assert spread[5.0] < 0.45 and spread[5.0] < 0.5 * spread[0.0]


@pytest.mark.parametrize("loss", ["mse", "quantile"])
def test_point_networks_run_to_the_end(simulated, tmp_path, loss):
    inference = {"kind": "point", "loss": loss, "hidden": [32]}
    changes = {
        "simulate": {"train": 4096, "validation": 500},
        "train": {"steps": 1500, "learning_rate": 5e-3},
        "diagnose": {"draws": 99, "checks": CHECKS},
    }
    tiny = project(
        simulated,
        tmp_path / "p",
        BAYESIAN if loss == "mse" else {"kind": "none"},
        model={"inference": inference},
        **changes,
    )
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    diagnosis = diagnose(tiny.open(), recorder := Recorder())
    judged = {judgment.check.split(" | ")[0] for judgment in diagnosis.judgments}
    assert {"recovery", "nrmse"} <= judged and not {"nlpd", "tarp"} & judged
    assert ("sbc" in judged) == (loss == "quantile") and any(
        "nlpd is left out" in line for line in recorder.said
    )
    row = sample(
        tiny.open(), named_observations(tiny.open(), None), Recorder(), draws=2000, seed=0
    )[0].rows[0]
    assert abs(row.mean - 0.8) < 0.2
    if loss == "quantile":
        assert abs(row.sd - 0.2**0.5) < 0.12
    with pytest.raises(DataError, match="no density"):
        load_posterior(tiny.run).log_prob(np.zeros((1, 1)), {"y": np.zeros((1, 4))})
    shutil.rmtree(tiny.folder)
