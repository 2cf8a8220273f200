"""Learned likelihoods of every structure against the exact density."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from sbiwb.errors import ConfigError, DataError, RunError
from sbiwb.project.likelihoods import check_structures, likelihood_projects, wanted
from sbiwb.project.member_rows import is_vector, member_rows
from sbiwb.project.opening import open_project
from sbiwb.project.splits import load_split
from sbiwb.project.trained_likelihood import likelihood_of, load_likelihood
from sbiwb.records import Ragged
from sbiwb.training.checkpoint import read_checkpoint
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from sbiwb.workflow.train_likelihoods import train_likelihoods
from tests.tiny import Recorder

SIMULATORS = """
import numpy as np


def members(mu, sigma, *, rng):
    lengths = rng.integers(2, 9, len(mu))
    return {"y": [m + s * rng.standard_normal(k) for m, s, k in zip(mu, sigma, lengths)]}


def points(mu, sigma, *, rng):
    noise = rng.standard_normal((len(mu), 3, 2))
    noise[..., 1] += noise[..., 0]
    return {"y": (mu[:, None, None] + sigma[:, None, None] * noise).reshape(len(mu), 6)}


def listed(mu, sigma, *, rng):
    return {"y": mu[:, None] * np.arange(4) + sigma[:, None] * rng.standard_normal((len(mu), 4))}


def steps(mu, sigma, *, rng):
    y = np.zeros((len(mu), 200))
    for t in range(200):
        before = y[:, t - 1] if t else 0.0
        y[:, t] = 0.9 * np.tanh(mu) * before + sigma * rng.standard_normal(len(mu))
    return {"y": y[:, :, None]}


def walk(mu, sigma, *, rng):
    return {"y": np.cumsum(mu[:, None] + sigma[:, None] * rng.standard_normal((len(mu), 4)), 1)}


def mixed(mu, sigma, *, rng):
    choice = (rng.random((len(mu), 6)) < 1 / (1 + np.exp(-mu))[:, None]).astype(int)
    rt = np.exp(0.3 * choice + sigma[:, None] * rng.standard_normal((len(mu), 6)))
    return {"rt": rt, "choice": choice}


def counts(mu, sigma, *, rng):
    return {"y": rng.poisson(20 * np.exp(0.3 * mu)[:, None], (len(mu), 5))}
"""


def normal(y: np.ndarray, mu: float, sigma: float) -> np.ndarray:
    return stats.norm.logpdf(y, mu, sigma)


def of_points(y: np.ndarray, mu: float, sigma: float) -> np.ndarray:
    cov = sigma**2 * np.array([[1.0, 1.0], [1.0, 2.0]])
    return stats.multivariate_normal([mu, mu], cov).logpdf(y.reshape(3, 2))


def of_list(y: np.ndarray, mu: float, sigma: float) -> np.ndarray:
    return normal(y, mu * np.arange(4), sigma).sum(keepdims=True)


def of_steps(y: np.ndarray, mu: float, sigma: float) -> np.ndarray:
    before = np.concatenate([[0.0], y[:-1, 0]])
    return normal(y[:, 0], 0.9 * np.tanh(mu) * before, sigma)


def of_walk(y: np.ndarray, mu: float, sigma: float) -> np.ndarray:
    return normal(np.diff(y, prepend=0.0), mu, sigma)


def of_counts(y: np.ndarray, mu: float, sigma: float) -> np.ndarray:
    return stats.poisson.logpmf(y, 20 * np.exp(0.3 * mu)).sum(keepdims=True)


CASES: dict[str, tuple[object, Callable[..., np.ndarray], float]] = {
    # function: (structure, exact density of each member, nats a member it may miss)
    "members": ({"y": "iid"}, normal, 0.03),
    "points": ({"y": {"as": "iid", "columns": 2}}, of_points, 0.08),
    "listed": ({"y": "independent"}, of_list, 0.3),
    "steps": ({"y": "markov"}, of_steps, 0.03),
    "walk": ({"y": "autoregressive"}, of_walk, 0.05),
    "counts": ({"y": "independent"}, of_counts, 0.15),
}


def write(folder, function, structure, **train):
    (folder / "simulator.py").write_text(SIMULATORS)
    document = {
        "name": function,
        "problem": {
            "simulator": f"simulator.py:{function}",
            "parameters": {
                "mu": {"kind": "normal"},
                "sigma": {"kind": "uniform", "low": 0.3, "high": 2.0},
            },
            "structure": structure,
        },
        "simulate": {"train": 1_500, "validation": 100, "test": 60},
        "model": {
            "likelihood": {
                "inference": {"kind": "nsf", "transforms": 2, "linear": True},
                "uncertainty": {"kind": "none"},
                "train": {
                    "steps": 1_200, "batch_size": 256, "learning_rate": 3e-3, "patience": None,
                    **train,
                },
            }
        },
    }  # fmt: skip
    path = folder / f"{function}.yaml"
    path.write_text(yaml.safe_dump(document))
    return open_project(path, runs=folder / "runs")


def trained(folder, function, structure, **train):
    project = write(folder, function, structure, **train)
    simulate(project, Recorder())
    list(train_likelihoods(project, Recorder()))
    return project


def data_set(x, row):
    return {name: values[row] for name, values in x.items()}


@pytest.mark.parametrize("function", CASES)
def test_every_structure_learns_the_exact_density(tmp_path, function):
    structure, exact, allowed = CASES[function]
    project = trained(tmp_path, function, structure)
    likelihood = likelihood_of(project, Recorder())
    test = load_split(project, "test")
    theta = project.prior.stack(test.theta)
    missed = []
    for row, point in enumerate(theta):
        (own,) = likelihood.log_probs(point[None], test.x, {}, row).values()
        expected = exact(np.asarray(data_set(test.x, row)["y"]), *point)
        assert own.shape == (1, len(expected))
        missed.append(expected.mean() - own.mean())
    assert np.mean(missed) == pytest.approx(0, abs=allowed)


def test_choices_and_times_are_one_density_with_a_gradient(tmp_path):
    structure = {"trials": {"from": ["rt", "choice"], "as": "iid"}}
    project = trained(tmp_path, "mixed", structure)
    likelihood = likelihood_of(project, Recorder())
    test = load_split(project, "test")
    theta = project.prior.stack(test.theta)
    learned = likelihood.log_prob(theta[:, None], test.x)[:, 0]
    p = 1 / (1 + np.exp(-theta[:, :1]))
    log_p = np.where(test.x["choice"] == 1, np.log(p), np.log1p(-p))
    log_rt = np.log(test.x["rt"])
    exact = log_p + normal(log_rt, 0.3 * test.x["choice"], theta[:, 1:]) - log_rt
    assert (exact.sum(1) - learned).mean() / 6 == pytest.approx(0, abs=0.06)
    impossible = {"rt": test.x["rt"][:1], "choice": np.full((1, 6), 2)}
    assert np.isneginf(likelihood.log_prob(theta[:1, None], impossible)).all()

    points = torch.tensor(theta[:5], requires_grad=True)
    value = likelihood.log_prob_torch(points, test.x, {}, 0)
    (gradient,) = torch.autograd.grad(value.sum(), points)
    assert value.detach().numpy() == pytest.approx(
        likelihood.log_prob(theta[None, :5], {k: v[:1] for k, v in test.x.items()})[0], rel=1e-5
    )
    for column in range(2):
        step = np.zeros(2)
        step[column] = 1e-3
        up, down = (
            likelihood.log_prob((theta[:5] + sign * step)[None], test.x)[0] for sign in (1, -1)
        )
        assert gradient[:, column].numpy() == pytest.approx((up - down) / 2e-3, rel=0.05, abs=0.05)


def test_data_drawn_from_a_likelihood_have_the_simulators_form(tmp_path):
    project = trained(tmp_path, "members", {"y": "iid"})
    likelihood = likelihood_of(project, Recorder())
    theta = np.array([[2.0, 0.5]] * 400)
    drawn = likelihood.sample(theta, {}, {"y": np.full(400, 5)}, np.random.default_rng(0))["y"]
    assert isinstance(drawn, Ragged) and (drawn.lengths == 5).all()
    assert drawn.values.mean() == pytest.approx(2.0, abs=0.08)
    assert drawn.values.std() == pytest.approx(0.5, rel=0.2)


def test_series_are_drawn_step_after_step(tmp_path):
    project = trained(tmp_path, "steps", {"y": "markov"})
    likelihood = likelihood_of(project, Recorder())
    theta = np.array([[3.0, 1.0]] * 20)
    drawn = likelihood.sample(theta, {}, {}, np.random.default_rng(0))["y"]
    assert drawn.shape == (20, 200, 1)
    lagged = np.corrcoef(drawn[:, 50:-1, 0].ravel(), drawn[:, 51:, 0].ravel())[0, 1]
    assert lagged == pytest.approx(0.9 * np.tanh(3.0), abs=0.05)


def test_training_of_a_likelihood_resumes_to_the_same_bits(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole = trained(tmp_path / "a", "points", CASES["points"][0], steps=200)
    project = write(tmp_path / "b", "points", CASES["points"][0], steps=200)
    simulate(project, Recorder())
    (likelihood,) = likelihood_projects(project)

    class Killed(Exception):
        pass

    def kill(event):
        if event.step >= 100:
            raise Killed

    with pytest.raises(Killed):
        train(likelihood, Recorder(), on_validated=kill)
    list(train_likelihoods(project, Recorder()))
    states = [
        read_checkpoint(p.run.likelihood / "y" / "train" / "best.pt")["weights"]
        for p in (whole, project)
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ({"z": "iid"}, "z does not exist"),
        ({"a": {"from": ["y"], "as": "iid"}, "y": "iid"}, "y has two structures"),
    ],
)
def test_a_structure_must_fit_the_observables(tmp_path, structure, message):
    project = write(tmp_path, "members", structure)
    with pytest.raises(ConfigError, match=message):
        check_structures(project.config, {"y": np.zeros((2, 3))})


def test_every_observable_needs_a_structure(tmp_path):
    project = write(tmp_path, "mixed", {"rt": "iid"})
    x = {"rt": np.zeros((2, 3)), "choice": np.zeros((2, 3))}
    with pytest.raises(ConfigError, match="says nothing of choice") as error:
        check_structures(project.config, x)
    assert "choice: joint" in error.value.todo


def test_a_joint_density_has_one_length(tmp_path):
    x = {"y": Ragged.of([np.zeros(2), np.zeros(3)])}
    structure = write(tmp_path, "members", {"y": "joint"}).config.problem.structure["y"]
    with pytest.raises(DataError, match="length of its own") as error:
        member_rows("y", structure, x, as_vector=is_vector(structure, x.values()))
    assert "iid" in error.value.todo


def test_likelihoods_are_learned_where_they_pay(tmp_path):
    project = write(tmp_path, "members", {"y": "iid"})

    def config(likelihood, effort="standard", structure=None):
        model = project.config.model.model_copy(update={"likelihood": likelihood})
        changes = {"model": model, "effort": effort}
        if structure is not None:
            problem = project.config.problem.model_copy(update={"structure": structure})
            changes["problem"] = problem
        return project.config.model_copy(update=changes)

    joint = {"y": project.config.problem.structure["y"].model_copy(update={"as_": "joint"})}
    assert wanted(config("auto")) and not wanted(config("none"))
    assert not wanted(config("auto", "quick")) and not wanted(config("auto", structure=joint))
    assert wanted(config(project.config.model.likelihood, "quick", joint))


def test_a_run_without_a_likelihood_says_how_to_get_one(tmp_path):
    with pytest.raises(RunError, match="no learned likelihood") as error:
        load_likelihood(tmp_path)
    assert "structure" in error.value.todo
