"""Distances between two samples: draws in, one number out.

`c2st` is how well a classifier tells them apart, 0.5 if not at all, and `c2st_forest` how well
another does; `c2st_marginals` and `c2st_dependence` part it into columns and copula; `pqmass` is a
p-value, uniform if they are not different; `mmd2` the squared maximum mean discrepancy, 0 if not
different.
"""

from sbiwb.distances._c2st import c2st, c2st_many
from sbiwb.distances._cells import pqmass
from sbiwb.distances._discrepancy import mmd2
from sbiwb.distances._forest import c2st_forest
from sbiwb.distances._split import c2st_dependence, c2st_marginals

__all__ = [
    "c2st",
    "c2st_dependence",
    "c2st_forest",
    "c2st_many",
    "c2st_marginals",
    "mmd2",
    "pqmass",
]
