"""Every diagnostic: the same promises, whatever it measures and whatever evidence it takes."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from pydantic import ValidationError

from sbiwb.diagnostics import family
from sbiwb.diagnostics._judge import judge, to_json
from sbiwb.evidence import KINDS, Draws
from tests.diagnostics.conjugate import full, normal
from tests.diagnostics.evidence_makers import MAKERS, QUICK


def taken(kind: str) -> str:
    return family.config(kind).takes


def plots(module: ModuleType) -> list[Callable[[Any], Figure]]:
    return [
        function
        for name, function in vars(module).items()
        if name == "plot" or name.startswith("plot_")
    ]


KINDS_OF_CHECKS = family.names()
ON_DRAWS = [kind for kind in KINDS_OF_CHECKS if taken(kind) == "draws"]
BY_PARAMETER = [
    kind for kind in ON_DRAWS if kind not in ("tarp", "nlpd")
]  # a panel and numbers for each parameter


def constant(draws: Draws) -> Draws:
    return dataclasses.replace(
        draws,
        theta=np.ones_like(draws.theta),
        draws=np.ones_like(draws.draws),
        prior_var=np.zeros(2),
    )


def spoiled(draws: Draws, bad: float) -> Draws:
    cloud = draws.draws.copy()
    cloud[3, 5, 0] = bad
    return dataclasses.replace(draws, draws=cloud)


def flat(draws: Draws) -> Draws:
    return dataclasses.replace(draws, draws=np.repeat(draws.draws[:, :1], draws.s, axis=1))


def bare(draws: Draws) -> Draws:
    return normal(60, 99, 2, seed=1)


CASES: dict[str, Callable[[Draws], Draws]] = {
    "exact": lambda draws: draws,
    "draws and truth alone": bare,
    "float32": lambda draws: dataclasses.replace(draws, draws=draws.draws.astype(np.float32)),
    "constant parameter": constant,
    "all draws equal": flat,
    "no test pair": lambda draws: draws.at(np.arange(0)),
    "one test pair": lambda draws: draws.at(np.arange(1)),
    "two test pairs": lambda draws: draws.at(np.arange(2)),
    "nan": lambda draws: spoiled(draws, np.nan),
    "infinite": lambda draws: spoiled(draws, np.inf),
    "truth not finite": lambda draws: dataclasses.replace(
        draws, theta=np.where(draws.theta > 1, np.inf, draws.theta)
    ),
    "leaked": lambda draws: dataclasses.replace(draws, leaked=np.array([0.3, 0.0])),
    "unknown prior variance": lambda draws: dataclasses.replace(
        draws, prior_var=np.full(2, np.nan)
    ),
    "huge numbers": lambda draws: dataclasses.replace(
        draws, theta=draws.theta * 1e200, draws=draws.draws * 1e200
    ),
    "q excludes a truth": lambda draws: dataclasses.replace(
        draws, log_prob_theta=np.where(np.arange(60) == 3, -np.inf, 0.0)
    ),
    "q is not a number": lambda draws: dataclasses.replace(
        draws, log_prob_theta=np.full(60, np.nan), log_prob_draws=np.full((60, 99), np.nan)
    ),
    "nothing predicted": lambda draws: dataclasses.replace(
        draws, ridge_prediction=np.full((60, 2), np.nan)
    ),
    "the data say nothing": lambda draws: dataclasses.replace(
        draws, ridge_prediction=np.zeros((60, 2))
    ),
    "truth outside the support": lambda draws: dataclasses.replace(
        draws, unconstrain=lambda theta: np.where(theta > 1, np.nan, theta)
    ),
}
UNJUDGED = (
    "constant parameter",
    "no test pair",
    "one test pair",
    "nan",
    "infinite",
    "truth not finite",
)


@pytest.fixture(params=KINDS_OF_CHECKS)
def kind(request):
    return request.param


def computed(kind: str, evidence: Any = None) -> tuple[Any, Any]:
    config = family.parse({"kind": kind, **QUICK.get(kind, {})})
    return config, family.module(kind).compute(
        MAKERS[taken(kind)]() if evidence is None else evidence, config
    )


def case_of(case: str) -> Draws:
    return CASES[case](MAKERS["draws"]())


def assert_told(kind: str, config: Any, result: Any) -> None:
    """Plain finite numbers, or none with a reason; every name has a definition."""
    told = json.loads(json.dumps(to_json(judge([(kind, config, result)])), allow_nan=False))
    assert result.values and len(told["values"]) == len(result.values)
    for value in result.values:
        assert value.value is None or (isinstance(value.value, float) and np.isfinite(value.value))
        assert value.value is not None or value.reason
        assert value.p is None or 0 < value.p <= 1
        assert value.name in result.definitions


def test_every_kind_of_evidence_has_a_maker():
    assert MAKERS.keys() == KINDS.keys()
    assert all(isinstance(make(), KINDS[name]) for name, make in MAKERS.items())


def test_it_takes_known_evidence(kind):
    assert taken(kind) in KINDS


def test_numbers_are_plain_or_none_with_a_reason(kind):
    config, result = computed(kind)
    assert_told(kind, config, result)
    assert any(value.value is not None for value in result.values)


def test_compute_is_pure(kind):
    evidence = MAKERS[taken(kind)]()
    before = copy.deepcopy(evidence)
    _, first = computed(kind, evidence)
    _, second = computed(kind, evidence)
    assert_same(evidence, before)
    assert_same(first, second)


def test_plots_draw_and_change_nothing(kind):
    _, result = computed(kind)
    assert_plots(kind, result)


def test_result_is_frozen_and_options_are_described(kind):
    config, result = computed(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.values = ()
    assert all(field.description for field in type(config).model_fields.values())
    with pytest.raises(ValidationError):
        family.parse({"kind": kind, "toleranse": 0.1})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ON_DRAWS)
def test_any_draws_give_numbers_or_reasons(kind, case):
    config, result = computed(kind, case_of(case))
    assert_told(kind, config, result)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ON_DRAWS)
def test_any_draws_give_pictures(kind, case):
    _, result = computed(kind, case_of(case))
    assert_plots(kind, result)


def assert_plots(kind: str, result: Any) -> None:
    before = copy.deepcopy(result)
    for plot in plots(family.module(kind)):
        figure = plot(result)
        assert isinstance(figure, Figure) and figure.get_suptitle()
    assert_same(result, before)


@pytest.mark.parametrize("case", UNJUDGED)
@pytest.mark.parametrize("kind", ON_DRAWS)
def test_first_parameter_has_no_number(kind, case):
    _, result = computed(kind, case_of(case))
    own = [
        value
        for value in result.values
        if value.parameter == "theta_0" and value.name != "leaked_share"
    ]
    assert all(value.value is None and value.p is None for value in own)
    assert own or kind not in BY_PARAMETER


@pytest.mark.parametrize("kind", ON_DRAWS)
def test_trouble_of_one_parameter_stays_there(kind):
    _, result = computed(kind, case_of("nan"))
    assert all(value.value is not None for value in result.values if value.parameter == "theta_1")


@pytest.mark.parametrize("kind", ON_DRAWS)
def test_draws_of_one_column_stay_as_they_are(kind):
    draws = full(40, 99, 1, seed=1)
    before = copy.deepcopy(draws)
    computed(kind, draws)
    assert_same(draws, before)


@pytest.mark.parametrize("kind", BY_PARAMETER)
def test_plot_reads_the_result_alone(kind):
    _, result = computed(kind, normal(60, 99, 2, seed=1))
    figure = family.module(kind).plot(
        dataclasses.replace(result, names=("renamed", "theta_1"), values=result.values)
    )
    assert any(axes.get_title(loc="left").startswith("renamed") for axes in figure.axes)


@pytest.mark.parametrize("d", [1, 3, 12])
@pytest.mark.parametrize("kind", BY_PARAMETER)
def test_figure_grows_with_parameters(kind, d):
    _, result = computed(kind, normal(30, 99, d, seed=2))
    width, height = family.module(kind).plot(result).get_size_inches()
    assert 4 < width < 12 and height >= 2.3 * np.ceil(d / 4)


@pytest.mark.parametrize("kind", ON_DRAWS)
def test_figures_can_be_rendered(kind):
    _, result = computed(kind)
    for plot in plots(family.module(kind)):
        plot(result).canvas.draw()


@pytest.mark.parametrize("kind", BY_PARAMETER)
def test_long_names_keep_both_ends(kind):
    name = "a_rather_long_parameter_name_in_units_of_days[12]"
    _, result = computed(
        kind, dataclasses.replace(normal(30, 99, 2, seed=2), names=("theta_0", name))
    )
    titles = [axes.get_title(loc="left") for axes in family.module(kind).plot(result).axes]
    assert any(
        title.startswith("a_rather") and title.endswith("[12]") and len(title) <= 32
        for title in titles
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", BY_PARAMETER)
def test_fifty_parameters(kind):
    _, result = computed(kind, full(30, 99, 50, seed=2))
    for plot in plots(family.module(kind)):
        figure = plot(result)
        figure.canvas.draw()
        assert len(figure.axes) >= 50 or plot.__name__ == "plot_hpd"


def test_one_new_file_is_a_new_diagnostic(tmp_path):
    path = tmp_path / "bias.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from sbiwb.contracts import DiagnosticPart\n"
        "from sbiwb.evidence import Value\n"
        "class Config(DiagnosticPart):\n    pass\n"
        "@dataclass(frozen=True)\n"
        "class Result:\n    values: tuple\n    definitions = {}\n"
        "def plot(result):\n    return None\n"
        "def compute(draws, config):\n"
        "    return Result((Value('bias', 'all', float((draws.draws.mean(1) - "
        "draws.theta).mean())),))\n"
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


def assert_same(first: Any, second: Any) -> None:
    """Equal to the last digit, field by field."""
    if dataclasses.is_dataclass(first):
        assert type(first) is type(second)
        for field in dataclasses.fields(first):
            assert_same(getattr(first, field.name), getattr(second, field.name))
    elif isinstance(first, Mapping):
        assert first.keys() == second.keys()
        for name in first:
            assert_same(first[name], second[name])
    elif isinstance(first, tuple | list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_equal(first, second)
