"""The comparison's table and picture show what was computed."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pytest

from sbiwb.report import Compared, comparison_csv, comparison_picture, to_png

BEST = Compared(
    "large",
    -1.2,
    0.02,
    0.0,
    0.0,
    "best",
    "pass",
    0.02,
    "sbc of mu",
    80_000,
    14_000,
    420.0,
    1e6,
    65_905,
)
WORSE = replace(
    BEST,
    run="small",
    nlpd=-1.0,
    difference=0.2,
    difference_se=0.01,
    verdict="clearly worse",
    calibration="fail",
    worst_effect=0.1,
)
YOUNG = replace(
    BEST, run="young", nlpd=math.inf, nlpd_se=math.nan, difference=math.inf, difference_se=math.nan, verdict="clearly "
        "worse",
    calibration=None, worst_effect=None, worst="", steps=None, train_seconds=None,
)  # fmt: skip


def test_the_table_says_what_is_known_and_leaves_the_rest_empty():
    best, worse, young = csv.DictReader(io.StringIO(comparison_csv([BEST, WORSE, YOUNG])))
    assert (best["run"], best["nlpd"], best["training_pairs"], best["weights"]) == (
        "large",
        "-1.2",
        "80000",
        "65905",
    )
    assert (worse["verdict"], worse["difference"], worse["worst"]) == (
        "clearly worse",
        "0.2",
        "sbc of mu",
    )
    assert (young["calibration"], young["steps"], young["nlpd"]) == ("", "", "inf")


@pytest.mark.parametrize("rows", [[BEST, WORSE], [BEST, WORSE, YOUNG]])
def test_the_picture_has_a_line_for_each_run(rows):
    figure = comparison_picture(rows, 1.96)
    difference, effect, time = figure.axes
    assert [text.get_text() for text in difference.get_yticklabels()] == [row.run for row in rows]
    reached = [
        tuple(round(float(x), 6) for x in bar.get_paths()[0].vertices[:, 0])
        for bar in difference.collections
    ]
    assert reached == [
        (0, 0),
        (round(0.2 - 0.0196, 6), round(0.2 + 0.0196, 6)),
    ]  # a run without a finite number has no point
    assert [patch.get_width() for patch in effect.patches] == [
        row.worst_effect or 0 for row in rows
    ]
    assert [text.get_text() for text in effect.texts] == [
        row.calibration or "not diagnosed" for row in rows
    ]
    assert [patch.get_width() for patch in time.patches] == [
        (row.train_seconds or 0) / 60 for row in rows
    ]
    assert to_png(figure)[:4] == b"\x89PNG"
