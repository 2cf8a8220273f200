"""Every diagnostic: the same promises, whatever it measures."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from pydantic import ValidationError

from sbiwb.diagnostics import family
from sbiwb.diagnostics._judge import judge, to_json
from sbiwb.evidence import Draws
from tests.diagnostics.conjugate import normal


def constant(draws: Draws) -> Draws:
    return dataclasses.replace(draws, theta=np.ones_like(draws.theta), draws=np.ones_like(draws.draws), prior_var=np.zeros(2))


def spoiled(draws: Draws, bad: float) -> Draws:
    cloud = draws.draws.copy()
    cloud[3, 5, 0] = bad
    return dataclasses.replace(draws, draws=cloud)


def flat(draws: Draws) -> Draws:
    return dataclasses.replace(draws, draws=np.repeat(draws.draws[:, :1], draws.s, axis=1))


CASES = {
    "exact": lambda draws: draws,
    "float32": lambda draws: dataclasses.replace(draws, draws=draws.draws.astype(np.float32)),
    "constant parameter": constant,
    "all draws equal": flat,
    "no test pair": lambda draws: draws.at(np.arange(0)),
    "one test pair": lambda draws: draws.at(np.arange(1)),
    "two test pairs": lambda draws: draws.at(np.arange(2)),
    "nan": lambda draws: spoiled(draws, np.nan),
    "infinite": lambda draws: spoiled(draws, np.inf),
    "truth not finite": lambda draws: dataclasses.replace(draws, theta=np.where(draws.theta > 1, np.inf, draws.theta)),
    "leaked": lambda draws: dataclasses.replace(draws, leaked=np.array([0.3, 0.0])),
    "unknown prior variance": lambda draws: dataclasses.replace(draws, prior_var=np.full(2, np.nan)),
    "huge numbers": lambda draws: dataclasses.replace(draws, theta=draws.theta * 1e200, draws=draws.draws * 1e200),
}
UNJUDGED = ("constant parameter", "no test pair", "one test pair", "nan", "infinite", "truth not finite")


@pytest.fixture(params=family.names())
def kind(request):
    return request.param


@pytest.fixture(params=CASES)
def case(request):
    return request.param


def computed(kind: str, case: str = "exact"):
    config = family.parse(kind)
    return config, family.module(kind).compute(CASES[case](normal(60, 99, 2, seed=1)), config)


def test_numbers_are_plain_or_none_with_a_reason(kind, case):
    config, result = computed(kind, case)
    told = json.loads(json.dumps(to_json(judge([(kind, config, result)])), allow_nan=False))
    assert result.values and len(told["values"]) == len(result.values)
    for value in result.values:
        assert value.value is None or (isinstance(value.value, float) and np.isfinite(value.value))
        assert value.value is not None or value.reason
        assert value.name in result.definitions


@pytest.mark.parametrize("case", UNJUDGED)
def test_first_parameter_has_no_number(kind, case):
    _, result = computed(kind, case)
    own = [value for value in result.values if value.parameter == "theta_0"]
    assert all(value.value is None and value.p is None for value in own)


def test_trouble_of_one_parameter_stays_there(kind):
    _, result = computed(kind, "nan")
    assert all(value.value is not None for value in result.values if value.parameter == "theta_1")


def test_compute_is_pure(kind):
    draws = normal(40, 99, 2, seed=1)
    before = copy.deepcopy(draws)
    config, module = family.parse(kind), family.module(kind)
    first, second = module.compute(draws, config), module.compute(draws, config)
    np.testing.assert_array_equal(draws.draws, before.draws)
    assert_same(first, second)


def test_plot_draws_and_changes_nothing(kind, case):
    _, result = computed(kind, case)
    before = copy.deepcopy(result)
    figure = family.module(kind).plot(result)
    assert isinstance(figure, Figure)
    assert figure.get_suptitle()
    assert_same(result, before)


def test_plot_reads_the_result_alone(kind):
    _, result = computed(kind)
    figure = family.module(kind).plot(dataclasses.replace(result, names=("renamed", "theta_1"), values=result.values))
    assert any(axes.get_title(loc="left").startswith("renamed") for axes in figure.axes)


def test_result_is_frozen_and_options_are_described(kind):
    config, result = computed(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.values = ()
    assert all(field.description for field in type(config).model_fields.values())
    with pytest.raises(ValidationError):
        family.parse({"kind": kind, "toleranse": 0.1})


@pytest.mark.parametrize("d", [1, 3, 12])
def test_figure_grows_with_parameters(kind, d):
    module = family.module(kind)
    figure = module.plot(module.compute(normal(30, 99, d, seed=2), family.parse(kind)))
    figure.canvas.draw()
    width, height = figure.get_size_inches()
    assert 4 < width < 12 and height >= 2.3 * np.ceil(d / 4)


def test_long_names_keep_both_ends(kind):
    module, name = family.module(kind), "a_rather_long_parameter_name_in_units_of_days[12]"
    draws = dataclasses.replace(normal(30, 99, 2, seed=2), names=("theta_0", name))
    titles = [axes.get_title(loc="left") for axes in module.plot(module.compute(draws, family.parse(kind))).figure.axes]
    assert any(title.startswith("a_rather") and title.endswith("[12]") and len(title) <= 32 for title in titles)


@pytest.mark.slow
def test_fifty_parameters(kind):
    module = family.module(kind)
    figure = module.plot(module.compute(normal(30, 99, 50, seed=2), family.parse(kind)))
    figure.canvas.draw()
    assert len(figure.axes) >= 50


def test_one_new_file_is_a_new_diagnostic(tmp_path):
    path = tmp_path / "bias.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from sbiwb.families import Part\n"
        "from sbiwb.evidence import Value\n"
        "class Config(Part):\n    pass\n"
        "@dataclass(frozen=True)\n"
        "class Result:\n    values: tuple\n"
        "def compute(draws, config):\n"
        "    return Result((Value('bias', 'all', float((draws.draws.mean(1) - draws.theta).mean())),))\n"
    )
    config = family.parse(str(path))
    result = family.module(str(path)).compute(normal(40, 99, 2, seed=1), config)
    assert judge([("bias", config, result)])[0].verdict == "info"


def test_naming_the_checks_imports_no_heavy_package():
    code = (
        "import sys, sbiwb.diagnostics as d\n"
        "[d.family.config(name) for name in d.family.names()]\n"
        "print([m for m in ('torch', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def assert_same(first, second) -> None:
    for field in dataclasses.fields(first):
        np.testing.assert_equal(getattr(first, field.name), getattr(second, field.name))
