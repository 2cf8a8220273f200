"""Diagnostics: posterior draws in, numbers out; and a picture of the numbers. One file per check, its name is the `kind`.

A check is a module with `Config`, `compute(draws, config) -> Result` and `plot(result) -> Figure`. `judge` turns the results
of all checks together into verdicts.
"""

from sbiwb.diagnostics._judge import Judgment, judge, overall, to_json
from sbiwb.families import Family

__all__ = ["Judgment", "family", "judge", "overall", "to_json"]

family = Family("sbiwb.diagnostics", "diagnostic")
