"""Every transform through one contract, then what is special to one."""

import json

import numpy as np
import pytest

from sbiwb.adapters import family
from sbiwb.errors import DataError

COUNTS = np.array([[0.0, 3.0], [2.0, 1.0], [1.0, 3.0], [0.0, 2.0]])
CASES = {  # kind: (options, training values)
    "clip": ({"low": 0.5, "high": 2.5}, COUNTS),
    "log": ({}, COUNTS + 1),
    "log1p": ({}, COUNTS),
    "one_hot": ({}, COUNTS),
    "sqrt": ({}, COUNTS),
    "standardize": ({}, COUNTS),
}
INVERTIBLE = ["log", "log1p", "one_hot", "sqrt", "standardize"]


def make(kind, values, **options):
    config = family.parse({"kind": kind, **options})
    return config.build(json.loads(json.dumps(config.measure(values))))


def test_every_transform_has_a_case():
    assert sorted(CASES) == family.names()


@pytest.mark.parametrize("kind", CASES)
def test_contract(kind):
    options, values = CASES[kind]
    before = values.copy()
    out = make(kind, values, **options).forward(values)
    assert out.dtype == np.float64 and out.shape[0] == len(values) and np.isfinite(out).all()
    assert np.array_equal(values, before)
    assert np.array_equal(make(kind, values, **options).forward(values[:1]), out[:1])  # row by row


@pytest.mark.parametrize("kind", INVERTIBLE)
def test_inverse(kind):
    options, values = CASES[kind]
    transform = make(kind, values, **options)
    assert np.allclose(transform.inverse(transform.forward(values)), values, atol=1e-12)


@pytest.mark.parametrize("kind", CASES)
def test_every_option_is_described_and_unknown_ones_are_refused(kind):
    options, _ = CASES[kind]
    assert all(field.description for field in family.config(kind).model_fields.values())
    with pytest.raises(ValueError, match="typo"):
        family.parse({"kind": kind, **options, "typo": 1})


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("log", 0.0, r"cannot take the log of 0 \(1 of 2 values\).*log1p"),
        ("log1p", -1.0, r"cannot take log1p of -1"),
        ("sqrt", -0.5, r"cannot take the square root of -0.5"),
        ("one_hot", 2.0, r"unknown category 2 \(1 of 2 values\).*0, 1"),
    ],
)
def test_refused_values_are_named(kind, value, message):
    transform = make(kind, np.array([[0.0], [1.0]]))
    with pytest.raises(DataError, match=message):
        transform.forward(np.array([[1.0], [value]]))


def test_standardize_is_by_channel_and_keeps_constants_finite():
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(5, 3, 1000), np.full(1000, 0.1)])
    out = make("standardize", values).forward(values)
    assert np.allclose(out.mean(0), 0, atol=1e-12) and np.allclose(out.std(0), [1, 0], atol=1e-12)


def test_one_hot_levels_by_channel():
    out = make("one_hot", COUNTS).forward(COUNTS[:1])
    assert out.tolist() == [[1, 0, 0, 0, 0, 1]]  # levels 0 1 2 | 1 2 3


@pytest.mark.parametrize(("categories", "width"), [(4, 4), ([-1, 1], 2)])
def test_one_hot_given_categories_need_not_occur(categories, width):
    ones = np.ones((3, 1))
    assert make("one_hot", ones, categories=categories).forward(ones).shape == (3, width)


def test_one_hot_refuses_a_continuous_variable():
    with pytest.raises(DataError, match="1500 different values"):
        family.parse("one_hot").measure(np.linspace(0, 1, 1500)[:, None])


@pytest.mark.parametrize(
    ("options", "message"), [({}, "needs"), ({"low": 2, "high": 1}, "low = 2.0 is not below high = 1.0"), ({"low": "a"}, "low")]
)
def test_clip_bounds(options, message):
    with pytest.raises(ValueError, match=message):
        family.parse({"kind": "clip", **options})


def test_one_hot_refuses_a_category_twice():
    with pytest.raises(ValueError, match="twice"):
        family.parse({"kind": "one_hot", "categories": [1, 1]})


def test_a_new_transform_is_one_file(tmp_path):
    part = tmp_path / "cube.py"
    part.write_text(
        "from sbiwb.adapters._transform import TransformConfig\n"
        "class Cube:\n"
        "    def forward(self, values):\n"
        "        return values**3\n"
        "class Config(TransformConfig):\n"
        "    def build(self, measured):\n"
        "        return Cube()\n"
    )
    assert make(str(part), np.ones((1, 1))).forward(np.array([[2.0]])) == 8
