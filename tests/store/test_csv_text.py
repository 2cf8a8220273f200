"""Text of columns as other programs write it: read where it is unambiguous, told what was
assumed."""

from pathlib import Path

import pytest

from sbiwb.errors import DataError
from sbiwb.store.csv_text import read_csv

SEMICOLONS = "columns are parted by semicolons"
POINT = "a comma is a decimal point"
ROW_NAMES = "the first column has no name and is taken for names of the rows"
LAST = "an empty last column is left out"


def columns(content, name="a.csv"):
    data = content if isinstance(content, bytes) else content.encode()
    table = read_csv(Path(name), data)
    return {column: table.column(i) for i, column in enumerate(table.names)}, table.notes


PLAIN = {"a": ["1", "3"], "b": ["2", "4"]}
HALVES = {"a": ["1.5", "-2.5e3"], "b": ["2", "4"]}


@pytest.mark.parametrize(
    ("content", "expected", "notes"),
    [
        ("a,b\n1,2\n3,4\n", PLAIN, ()),
        ("a,b\r1,2\r3,4\r", PLAIN, ()),
        ("a,b\r\n1,2\r\n3,4", PLAIN, ()),
        ("\ufeffa,b\n1,2\n3,4\n", PLAIN, ()),
        ("a,b\n1,2\n3,4\n".encode("utf-16"), PLAIN, ("the text is UTF-16",)),
        ("\ufeffa,b\n1,2\n3,4\n".encode("utf-16-be"), PLAIN, ("the text is UTF-16",)),
        ("a;b\n1;2\n3;4\n", PLAIN, (SEMICOLONS,)),
        ("a\tb\n1\t2\n3\t4\n", PLAIN, ("columns are parted by tabs",)),
        ("a;b\n1,5;2\n-2,5e3;4\n", HALVES, (SEMICOLONS, POINT)),
        ("a\tb\n1,5\t2\n-2,5e3\t4\n", HALVES, ("columns are parted by tabs", POINT)),
        ("# by R\na,b,\n1,2,\n\n3,4,\n", PLAIN, (LAST,)),
        ("a,b\n1,2,\n3,4,\n", PLAIN, (LAST,)),
        ("a,b,\n1,2\n3,4\n", PLAIN, (LAST,)),
        ('"","a","b"\n"1",1,2\n"2",3,4\n', PLAIN, (ROW_NAMES,)),
        ("a,b\none,1,2\ntwo,3,4\n", PLAIN, (ROW_NAMES,)),
        ('"a" "b"\n"1" 1 2\n"2" 3 4\n', PLAIN, ("columns are parted by spaces", ROW_NAMES)),
        ("a b\n1   2\n3   4\n", PLAIN, ("columns are parted by spaces",)),
        ("reaction time\n1\n3\n", {"reaction time": ["1", "3"]}, ()),
        ("a,note\n1,\n3,\n", {"a": ["1", "3"], "note": ["", ""]}, ()),
        ("when;a\n0,125;1\n", {"when": ["0.125"], "a": ["1"]}, (SEMICOLONS, POINT)),
    ],
)
def test_what_is_unambiguous_is_read_and_told(content, expected, notes):
    assert columns(content) == (expected, notes)


def test_lines_are_those_of_the_file():
    table = read_csv(Path("a.csv"), b"# note\r\ra,b\r1,2\r\r3,4\r")
    assert (table.header, table.lines) == (3, (4, 6))


def test_tabs_of_a_tsv_need_no_word():
    assert columns("a\tb\n1\t2\n3\t4\n", "a.tsv") == (PLAIN, ())


@pytest.mark.parametrize(
    ("content", "what", "where"),
    [
        ("y\n1,5\n2,5\n", "line 2 has 2 values for 1 columns", "a.csv"),
        ("a,b\n5,1,2\n7,3,4\n", "line 2 has 3 values for 2 columns", "a.csv"),
        ("a,b\n1,2\n3\n", "line 3 has 1 values for 2 columns", "a.csv"),
        ("a;b\n1,5;2.5\n", "holds '1,5' as well as '2.5': is the comma a decimal one?", "a.csv"),
        ("a;b\n1,500;2\n", "holds '1,500': does the comma part thousands", "a.csv"),
        ("a, kg;b\n1,5;2\n", "can be read with ',' or ';' between the columns", "a.csv"),
        ("1,2\n3,4\n", "the first line holds numbers, not names of columns", "a.csv:1"),
        ("# x\na,a\n3,4\n", "has two columns named 'a'", "a.csv:2"),
        (b"a,b\n1,\xe42\n", "is not UTF-8 (invalid continuation byte at byte 6)", "a.csv"),
        (b"\xff\xfea\0,\0b", "is not UTF-16 (truncated data at byte 6)", "a.csv"),
        (b"a,b\n1,\x002\n", "holds a zero byte at place 6, which is no text", "a.csv"),
        ("y\n1\n\n3\n", "column 'y' is empty in line 3", "a.csv"),
    ],
)
def test_what_is_ambiguous_or_broken_is_refused(content, what, where):
    with pytest.raises(DataError) as caught:
        columns(content)
    assert what in caught.value.what and caught.value.where == where and caught.value.todo
