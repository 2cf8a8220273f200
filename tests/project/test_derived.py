"""Derived quantities: each has a name of its own that every file can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sbiwb.errors import SimulatorError
from sbiwb.priors import Prior
from sbiwb.priors import family as priors
from sbiwb.project.derived import DerivedQuantities

PRIOR = Prior({"mu": priors.parse("normal").build()})
REFUSED = [
    ("mu", "is a parameter's name already", "mu_1"),
    ("chain", "is the name of a dimension of the posterior file (netCDF)", "chain_1"),
    ("rate_dim_0", "is the name of a dimension of the posterior file (netCDF)", "rate_dim_0_1"),
    ("a/b", "cannot be stored: the character '/' cannot stand in a name", "a_b"),
    ("a\nb", r"cannot be stored: the character '\n' cannot stand in a name", "a_b"),
    ("", "cannot be stored under that name", "name_1"),
    ("..", "cannot be stored under that name", "name_1"),
    (3, "cannot be stored under that name", "3"),
]


@pytest.mark.parametrize(("name", "reason", "other"), REFUSED)
def test_a_name_is_refused_before_anything_is_simulated(name, reason, other):
    quantities = DerivedQuantities(PRIOR, lambda mu: {name: mu**2}, Path("sim.py"))
    with pytest.raises(SimulatorError) as refused:
        quantities.check(0)
    assert refused.value.what == f"derived() returns {name!r}, which {reason}"
    assert refused.value.where == "sim.py"
    assert refused.value.todo == f"Give the quantity another name, such as {other!r}."


@pytest.mark.parametrize("name", ["x", "R 0", "a.b", "mu[0]", "größe"])
def test_any_other_name_stays(name):
    quantities = DerivedQuantities(PRIOR, lambda mu: {name: mu**2}, Path("sim.py"))
    theta = np.arange(6.0).reshape(2, 3, 1)
    found = quantities.of(theta)
    assert list(found) == ["mu", name]
    np.testing.assert_array_equal(found[name], theta[..., 0] ** 2)
