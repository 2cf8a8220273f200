"""Report: tables, pictures and files that people open."""

from sbiwb.report.figures import forest_picture, loss_picture, pairs_picture, predictive_picture, rates_picture, shown_picture, to_png
from sbiwb.report.netcdf import netcdf
from sbiwb.report.summary import Row, summarise

__all__ = [
    "Row",
    "forest_picture",
    "loss_picture",
    "netcdf",
    "pairs_picture",
    "predictive_picture",
    "rates_picture",
    "shown_picture",
    "summarise",
    "to_png",
]
