"""Tables that programs write: missing values in every spelling, R's habits, and what is refused."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from sbiwb.simulation import csv_numbers, layout, source, syntax
from sbiwb.simulation.csv_numbers import BadOutput, NoHeader
from sbiwb.simulation.formats import decode

NAN = np.nan
READ = [
    (b"x\n1\nNA\n3\n", {"x": [1, NAN, 3]}),
    (b"x,y\n1,\n,2\n", {"x": [1, NAN], "y": [NAN, 2]}),
    (b"x\n1\n\n3\n\n", {"x": [1, NAN, 3]}),
    (b"x, y\n\n1, NaN\n\n", {"x": [1], "y": [NAN]}),
    (b"x\nnull\nNone\nn/a\n", {"x": [NAN, NAN, NAN]}),
    (b'"","x"\n"1",0.5\n"2",TRUE\n', {"x": [0.5, 1]}),
    (b"\xef\xbb\xbfx\r\n1\r\nFALSE\r\n", {"x": [1, 0]}),
    (b"y[0],y[1],z\n1,NA,3\n", {"y": [[1, NAN]], "z": [3]}),
]


@pytest.mark.parametrize(("data", "expected"), READ)
def test_what_is_unambiguous_is_read(data, expected):
    found = decode("csv", data)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


REFUSED = [
    (b"0.68\n1.2\n", NoHeader, "begins with the numbers 0.68 and not with names"),
    (b"1,2.5\n3,4\n", NoHeader, "begins with the numbers 1, 2.5 and not"),
    (b"x,x\n1,2\n", BadOutput, "has two columns named 'x'"),
    (b"x\nred\n", BadOutput, "could not convert string to float: 'red'"),
    (b"x,y\n1,2\n3\n", BadOutput, "has 1 fields in line 3, 2 in the first"),
]


@pytest.mark.parametrize(("data", "kind", "what"), REFUSED)
def test_the_rest_is_refused_with_the_line(data, kind, what):
    with pytest.raises(kind, match=what):
        decode("csv", data)


def test_json_has_the_words_of_r():
    """jsonlite writes NA as text."""
    found = decode("json", b'{"x": [1, "NA", null, true], "y": [[1], [2, "NA"]], "z": "NaN"}')
    np.testing.assert_array_equal(found["x"], [1, NAN, NAN, 1])
    np.testing.assert_array_equal(found["y"][1], [2, NAN])
    assert np.isnan(found["z"])


def test_the_examples_run():
    for module in (csv_numbers, layout, source, syntax):
        assert doctest.testmod(module, extraglobs={"np": np}).failed == 0
