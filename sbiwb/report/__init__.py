"""Report: tables, pictures and files that people open."""

from sbiwb.report._fields import Fields
from sbiwb.report._svg import to_both, to_svg
from sbiwb.report.csv_tables import draws_csv, flat, summary_csv, too_long_for_csv
from sbiwb.report.draws_file import draws_hdf5
from sbiwb.report.figures import to_png
from sbiwb.report.forest import Forest, forest_picture
from sbiwb.report.losses import loss_picture, rates_picture
from sbiwb.report.netcdf import netcdf
from sbiwb.report.overlay import Distance, overlay_csv, overlay_picture
from sbiwb.report.pair_plot import pairs_picture
from sbiwb.report.published import PublishedTable
from sbiwb.report.ranking import Compared, comparison_csv, comparison_picture
from sbiwb.report.scoreboard import (
    Line,
    Score,
    Spread,
    published_tables,
    scoreboard,
    scoreboard_csv,
    scoreboard_markdown,
    scoreboard_picture,
)
from sbiwb.report.simulated import (
    predictive_picture,
    shown_picture,
    shown_simulations,
    simulated_picture,
)
from sbiwb.report.summary import Moments, Row, moments, summarise
from sbiwb.report.weights import log_variances_picture, shares_picture

__all__ = [
    "Compared",
    "Distance",
    "Fields",
    "Forest",
    "Line",
    "Moments",
    "PublishedTable",
    "Row",
    "Score",
    "Spread",
    "comparison_csv",
    "comparison_picture",
    "draws_csv",
    "draws_hdf5",
    "flat",
    "forest_picture",
    "log_variances_picture",
    "loss_picture",
    "moments",
    "netcdf",
    "overlay_csv",
    "overlay_picture",
    "pairs_picture",
    "predictive_picture",
    "published_tables",
    "rates_picture",
    "scoreboard",
    "scoreboard_csv",
    "scoreboard_markdown",
    "scoreboard_picture",
    "shares_picture",
    "shown_picture",
    "shown_simulations",
    "simulated_picture",
    "summarise",
    "summary_csv",
    "to_both",
    "to_png",
    "to_svg",
    "too_long_for_csv",
]
