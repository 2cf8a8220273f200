"""Distances between two samples of equal size: draws in, one number out.

`c2st` is how well a classifier tells them apart, 0.5 if not at all; `mmd2` the squared maximum mean
discrepancy, 0 if not different.
"""

from sbiwb.distances._c2st import c2st, c2st_many
from sbiwb.distances._discrepancy import mmd2

__all__ = ["c2st", "c2st_many", "mmd2"]
