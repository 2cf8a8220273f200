"""Pictures for a paper: lines stay lines, letters stay letters, and the width is the one asked
for."""

from __future__ import annotations

import re
import zlib
from ctypes.util import find_library

import numpy as np
import pytest

from sbiwb.report import pairs_picture, to_svg
from sbiwb.report.journal_figures import (
    ONE_COLUMN,
    TWO_COLUMNS,
    journal_files,
    journal_renderer,
    width_of,
)
from sbiwb.report.page import Picture

needs_cairo = pytest.mark.skipif(find_library("cairo") is None, reason="no Cairo on this machine")


def pairs(columns: int) -> Picture:
    draws = np.random.default_rng(0).normal(size=(2_000, columns))
    labels = list(map("theta {}".format, range(columns)))
    return Picture("pairs", ".svg", to_svg(pairs_picture(draws, labels)))


def content_of(pdf: bytes) -> bytes:
    """What its streams say, unpacked."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    unpacked = b""
    for stream in streams:
        try:
            unpacked += zlib.decompress(stream)
        except zlib.error:
            unpacked += stream
    return pdf + unpacked


@needs_cairo
@pytest.mark.parametrize("width", [88.0, 180.0])
def test_a_pdf_has_the_width_its_letters_and_no_pixels(width):
    with journal_renderer() as renderer:
        files = journal_files(renderer, pairs(2), width)
    assert set(files) == {".pdf", ".png"}
    content = content_of(files[".pdf"])
    box = re.search(rb"/MediaBox \[\s*0 0 ([\d.]+) ([\d.]+)", content)
    assert float(box[1]) / 72 * 25.4 == pytest.approx(width, abs=0.1)
    assert (b"DejaVu" in content and b" Tj" in content) or b"TJ" in content
    assert b"/Subtype /Image" not in content
    assert int.from_bytes(files[".png"][16:20]) == round(width / 25.4 * 600)


def test_a_picture_takes_the_columns_that_it_needs():
    assert width_of(pairs(1)) == ONE_COLUMN
    assert width_of(pairs(5)) == TWO_COLUMNS
    assert width_of(Picture("own", ".png", b"")) == TWO_COLUMNS
