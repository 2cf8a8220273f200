"""Names that the posterior file's format has for itself, wherever a variable gets its name."""

from __future__ import annotations

import pytest

from sbiwb.naming import reserved_because


@pytest.mark.parametrize("name", ["chain", "draw", "data_set", "mu_dim_0", "y_dim_12"])
def test_a_dimension_of_the_posterior_file_is_reserved(name):
    assert reserved_because(name) == "is the name of a dimension of the posterior file (netCDF)"


@pytest.mark.parametrize("name", ["chains", "drawn", "mu", "_dim_0", "mu_dim", "mu_dim_x", "x"])
def test_other_names_are_free(name):
    assert reserved_because(name) is None
