"""What is chosen from the data: inputs, chains, networks and training, each with a truth."""

from __future__ import annotations

import numpy as np
import pytest

from sbiwb.config import RunConfig
from sbiwb.errors import ConfigError
from sbiwb.records import Pairs, Ragged
from sbiwb.steps.choose import neighbours
from sbiwb.steps.choose.chains import chain_of
from sbiwb.steps.choose.choose import LINEAR, Chooser
from sbiwb.steps.choose.halving import Tournament
from sbiwb.steps.choose.sizes import Task

RNG = np.random.default_rng(14)
N = 600


RNG_VECTOR = {"x": np.random.default_rng(1).standard_normal((500, 3))}


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order():
    RNG.bit_generator.state = np.random.default_rng(14).bit_generator.state


def config(model=None, train=None, effort="standard", pairs=10_000, **problem):
    return RunConfig.model_validate(
        {
            "name": "chosen",
            "effort": effort,
            "problem": {
                "simulator": "none.py",
                "parameters": {"mu": {"kind": "normal"}},
                **problem,
            },
            "simulate": {"train": pairs},
            "model": model or {},
            "train": train or {},
        }
    )


def chosen(x, known=None, **options):
    pairs = Pairs({"mu": np.zeros(N)}, known or {}, x)
    return Chooser(config(**options), pairs, parameters=1).choose()


def keys(choices):
    return {choice.key: choice.value for choice in choices.choices}


def autoregression(phi, steps):
    series = np.zeros((len(phi), steps))
    for t in range(1, steps):
        series[:, t] = phi * series[:, t - 1] + RNG.standard_normal(len(phi))
    return series


def sets(lengths, draw):
    return Ragged.of([draw(int(length)) for length in lengths])


def test_a_short_list_of_numbers_goes_to_the_flow_as_it_is():
    choices = chosen({"x": RNG.standard_normal((N, 3))})
    section = choices.model["inputs"]["x"]
    assert (section["as"], section["summary"]["kind"]) == ("vector", "identity")
    assert [part["kind"] for part in section["transforms"]] == ["standardize"]
    assert choices.model["uncertainty"]["members"] == 5


def test_what_the_yaml_says_stands_and_the_rest_is_chosen():
    model = {
        "inputs": {"x": {"transforms": ["asinh"]}},
        "inference": {"kind": "nsf", "bins": 5},
        "uncertainty": "none",
    }
    choices = chosen({"x": RNG.standard_normal((N, 3))}, model=model, train={"batch_size": 33})
    assert choices.model["inputs"]["x"]["transforms"][0]["kind"] == "asinh"
    assert choices.model["inference"]["bins"] == 5
    assert choices.model["inference"]["transforms"] == 5
    assert choices.model["uncertainty"]["kind"] == "none"
    assert choices.train["batch_size"] == 33
    told = keys(choices)
    assert "model.inputs.x.transforms" not in told and "train.batch_size" not in told
    assert told["model.inputs.x.as"] == "vector"


def test_members_of_varying_number_need_one_word_and_the_error_says_which():
    lengths = RNG.integers(20, 60, N)
    exchangeable = sets(lengths, lambda size: RNG.standard_normal(size))
    series = sets(lengths, lambda size: autoregression(np.full(1, 0.7), size)[0])
    with pytest.raises(ConfigError, match="no more alike") as error:
        chosen({"rt": exchangeable, "choice": sets(lengths, lambda size: np.ones(size))})
    assert "rt_choice: {from: [rt, choice], as: set}" in error.value.todo
    with pytest.raises(ConfigError, match="neighbours are correlated") as error:
        chosen({"y": series})
    assert "y: {as: series}" in error.value.todo


def test_the_one_word_is_enough():
    lengths = RNG.integers(20, 60, N)
    x = {"y": sets(lengths, lambda size: np.exp(2 * RNG.standard_normal(size)))}
    model = {"inputs": {"y": {"as": "set"}}}
    dose = RNG.uniform(size=N)
    choices = chosen(x, {"n": lengths.astype(float), "dose": dose}, model=model)
    section = choices.model["inputs"]["y"]
    assert section["summary"]["kind"] == "deepset"
    assert section["broadcast"] == ["dose"]  # but not the number of members
    assert section["transforms"]["y"][0]["kind"] == "box_cox"
    assert set(choices.model["inputs"]) == {"y", "n", "dose"}


def test_lists_in_order_are_joined_and_may_be_read_as_a_series():
    phi = RNG.uniform(-0.9, 0.9, N)
    x = {"hare": autoregression(phi, 30), "lynx": autoregression(phi, 30)}
    pairs = Pairs({"mu": np.zeros(N)}, {}, x)
    chooser = Chooser(config(), pairs, parameters=1, try_out=lambda model, train: [0.0] * 50)
    tried = {"hare_lynx": ["mlp", "lstnet", "transformer"], LINEAR: ["true", "false"]}
    assert chooser.trials() == tried
    quick = Chooser(config(effort="quick"), pairs, parameters=1)
    assert quick.trials() == {}


def test_a_trial_takes_the_network_that_does_best_and_says_so():
    x = {"y": autoregression(np.full(N, 0.8), 30)}

    def try_out(model, train):
        assert train.patience is None and model.uncertainty.kind == "none"
        better = model.inputs["y"].as_ == "series"
        return RNG.standard_normal(200) - 3 * better

    pairs = Pairs({"mu": np.zeros(N)}, {}, x)
    choices = Chooser(config(), pairs, parameters=1, try_out=try_out).choose()
    assert choices.model["inputs"]["y"]["as"] == "series"
    of_networks = [trial for trial in choices.trials if trial.input == "y"]
    assert len(of_networks) == 5  # three, then two
    assert choices.trials[0].loss < -2 < choices.trials[2].loss


def decay_trial(best: float, steps: list[int]):
    """Losses that grow with the distance of the decay's logarithm from the best one's."""

    def try_out(model, train):
        assert model.uncertainty.kind == "none" and train.patience is None
        steps.append(train.steps)
        return RNG.standard_normal(200) + 2 * abs(np.log(train.weight_decay / best))

    return try_out


@pytest.mark.parametrize("best", [0.21, 0.63, 1.9])
def test_of_few_pairs_the_weight_decay_that_does_best_is_taken(best):
    pairs, steps = Pairs({"mu": np.zeros(N)}, {}, {"x": RNG.standard_normal((N, 3))}), list[int]()
    chooser = Chooser(config(pairs=1000), pairs, 1, try_out=decay_trial(best, steps))
    choices = chooser.choose()
    assert choices.train["weight_decay"] == best
    assert {one.input for one in choices.trials} == {LINEAR, "train.weight_decay"}
    why = {choice.key: choice.why for choice in choices.choices}
    assert why["train.weight_decay"] == "best in a trial"
    members, train = choices.model["uncertainty"]["members"], choices.train
    assert sum(steps) <= members * train["patience"] * train["validate_every"] * (1 / 4 + 1 / 5)


@pytest.mark.parametrize(
    "options",
    [
        {"pairs": 100},
        {"pairs": 100_000},
        {"effort": "quick"},
        {"train": {"weight_decay": 0.01}},
        {"model": {"inference": "maf"}},
    ],
)
def test_weight_decay_is_not_tried_where_it_is_known_or_written(options):
    pairs = Pairs({"mu": np.zeros(N)}, {}, {"x": RNG.standard_normal((N, 3))})
    chooser = Chooser(config(**options), pairs, 1, try_out=lambda model, train: [0.0] * 50)
    assert "train.weight_decay" not in chooser.trials()
    assert "train.weight_decay" not in {trial.input for trial in chooser.choose().trials}


@pytest.mark.parametrize("better", [True, False])
def test_a_regression_comes_first_where_the_pairs_say_so(better):
    def try_out(model, train):
        return RNG.standard_normal(200) - 0.5 * (model.inference.linear == better)

    pairs = Pairs({"mu": np.zeros(N)}, {}, {"x": RNG.standard_normal((N, 3))})
    chooser = Chooser(config(), pairs, 1, try_out=try_out)
    assert chooser.trials()[LINEAR] == ["true", "false"]
    assert ("linear: true" in keys(chooser.choose())["model.inference"]) == better
    few = Chooser(config(pairs=100), pairs, 1, try_out=lambda model, train: 1 / 0)
    assert "linear: true" in keys(few.choose())["model.inference"]
    quick = Chooser(config(effort="quick"), pairs, 1, try_out=lambda model, train: 1 / 0)
    assert LINEAR not in quick.trials()
    written = {"inference": {"kind": "nsf", "transforms": 2}}
    as_written = Chooser(config(model=written), pairs, 1, try_out=try_out)
    assert LINEAR not in as_written.trials()
    assert not as_written.choose().model["inference"].get("linear", False)


def test_weight_decay_falls_with_the_number_of_pairs():
    decays = []
    for pairs in (100, 1000, 10_000, 100_000, 10**7):
        decays.append(float(keys(chosen(RNG_VECTOR, pairs=pairs))["train.weight_decay"]))
    assert decays == [2.0, 0.63, 0.2, 0.02, 0.001]


def test_only_a_flow_of_its_own_splines_has_a_temperature():
    assert "temperature: fitted" in keys(chosen(RNG_VECTOR))["model.inference"]
    circular = chosen(RNG_VECTOR, model={"inference": "ncsf"})
    assert "temperature" not in circular.model["inference"]


def test_pictures_and_constants_and_categories():
    x = {"image": RNG.standard_normal((N, 16, 16)), "always": np.full((N, 2), 7.0)}
    context = {"group": RNG.integers(0, 3, N)}
    categories = {"group": {"kind": "categorical", "probabilities": [0.2, 0.3, 0.5]}}
    choices = chosen(x, context, context=categories)
    image, group = choices.model["inputs"]["image"], choices.model["inputs"]["group"]
    assert (image["as"], image["axes"], image["summary"]["kind"]) == ("grid", 2, "conv2d")
    assert choices.model["inference"]["temperature"] == "columns"  # vectors have one for all
    assert group["transforms"][0]["kind"] == "one_hot"
    assert choices.model["drop"] == ["always"]
    assert keys(choices)["model.drop"] == "[always]"


def test_chains_say_what_they_mend():
    assert chain_of(RNG.standard_normal((N, 2))).parts == ("standardize",)
    skewed = chain_of(np.exp(3 * RNG.standard_normal((N, 1))))
    assert skewed.parts[0] == {"kind": "box_cox", "zeros": True}
    empty = np.where(RNG.uniform(size=(N, 1)) < 0.5, 0.0, np.exp(RNG.standard_normal((N, 1))))
    assert chain_of(empty).parts == ("standardize",)
    assert skewed.why == "positive and skewed"
    assert "heavy_tails" in chain_of(RNG.standard_cauchy((N, 1))).parts
    mixed = np.column_stack([np.full(N, 2.0), RNG.standard_normal(N)])
    assert chain_of(mixed).parts == ("drop_constant", "standardize")
    gaps = np.where(RNG.uniform(size=(N, 1)) < 0.3, np.nan, RNG.standard_normal((N, 1)))
    assert chain_of(gaps, missing=True).parts == ("standardize", "nan_to_mask")


def test_neighbours_are_told_from_any_two_members():
    noise = RNG.standard_normal((N, 20))
    common = RNG.standard_normal((N, 1))
    loadings = RNG.standard_normal((3, 20))
    factors = RNG.standard_normal((N, 3)) @ loadings
    assert not neighbours.of_columns(noise).is_ordered
    assert not neighbours.of_columns(common + noise).is_ordered
    assert not neighbours.of_columns(factors + noise).is_ordered
    alternating = autoregression(RNG.uniform(-0.9, 0.9, N), 30)
    assert neighbours.of_columns(alternating).is_ordered
    assert neighbours.of_columns(np.where(RNG.uniform(size=(N, 30)) < 0.3, np.nan, alternating))
    lengths = RNG.integers(4, 40, 100)
    binary = sets(lengths, lambda size: (RNG.uniform(size=size) < 0.2).astype(float))
    assert not neighbours.of_members(binary).is_ordered


def test_the_test_of_order_holds_its_level():
    rejected = 0
    for _ in range(50):
        members = Ragged.of([RNG.standard_normal(12) for _ in range(20)])
        rejected += neighbours.of_members(members).is_ordered
    assert rejected <= 3  # P(more | 50 at 1 %) = 0.2 %


def test_halving_keeps_to_its_steps_and_prefers_the_likeliest_where_nothing_is_proven():
    spent = []

    def losses(name, steps):
        spent.append(steps)
        return RNG.standard_normal(100)

    tournament = Tournament("x", ["a", "b", "c", "d"], losses, 6_000)
    assert tournament.play() in ("a", "b", "c", "d")
    assert sum(spent) <= 6_000
    same = np.zeros(100)
    assert Tournament("x", ["a", "b"], lambda name, steps: same, 1_000).play() == "a"
    failing = {"a": np.full(100, np.nan), "b": same}
    assert Tournament("x", ["a", "b"], lambda name, steps: failing[name], 1_000).play() == "b"


@pytest.mark.parametrize("pairs", [300, 10_000, 1_000_000])
def test_more_effort_never_trains_less(pairs):
    def cost(effort):
        task = Task(parameters=5, pairs=pairs, members=1, attentive=False, effort=effort)
        return task.networks * task.steps * task.batch_size

    assert cost("quick") < cost("standard") < cost("best") <= 10 * cost("standard")


def test_the_same_data_give_the_same_choice():
    x = {"y": autoregression(np.full(N, 0.5), 40), "z": RNG.standard_cauchy((N, 3))}
    assert chosen(x) == chosen(x)
