"""Files of observations, and the data sets made of them."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from sbiwb.config.model import Observation
from sbiwb.errors import ConfigError, CorruptFile, DataError
from sbiwb.project.observe import NamedObservation, observe
from sbiwb.records import Ragged
from sbiwb.simulation.layout import Observable
from sbiwb.store.tables import read_table

SCALAR = {"y": Observable("float64", (), False)}
THREE = {"y": Observable("float64", (3,), False)}
ANY = {"y": Observable("float64", (0,), True)}
PAIRS = {"y": Observable("float64", (0, 2), True)}


@pytest.fixture
def read(tmp_path):
    """Writes a file and reads it as data sets of a layout."""

    def make(name: str, content, layout, shapes=None, **what):
        path = tmp_path / name
        if isinstance(content, dict) and name.endswith(".npz"):
            np.savez(path, **content)
        elif isinstance(content, np.ndarray):
            np.save(path, content)
        elif name.endswith(".parquet"):
            parquet.write_table(pyarrow.table(content), path)
        elif isinstance(content, dict) and name.endswith("h5"):
            with h5py.File(path, "w") as file:
                for key, value in content.items():
                    file[key] = value
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        options = Observation.model_validate({"file": name, **what})
        return observe(NamedObservation("seen", options, tmp_path), layout, shapes or {})

    return make


ONE = [
    ("a.csv", "y\n1\n2\n3\n"),
    ("a.CSV", "\ufeffy, z\n1, a\n2, b\n3, c\n"),
    ("a.tsv", "z\ty\na\t1\nb\t2\nc\t3\n"),
    ("a.json", {"y": [1, 2, 3]}),
    ("a.npz", {"y": np.array([1, 2, 3])}),
    ("a.h5", {"y": np.array([1.0, 2, 3])}),
    ("a.npy", np.array([1, 2, 3])),
    ("a.parquet", {"y": [1, 2, 3], "z": ["a", "b", None]}),
]


@pytest.mark.parametrize(("name", "content"), ONE, ids=[name for name, _ in ONE])
def test_one_data_set_of_every_kind_of_file(read, name, content):
    found = read(name, content, THREE)
    assert found.labels == ("seen",)
    np.testing.assert_array_equal(found.x["y"], [[1, 2, 3]])


@pytest.mark.parametrize("name", ["a.json", "a.npz", "a.h5"])
def test_many_data_sets_by_the_first_axis(read, name):
    values = [[1, 2, 3], [4, 5, 6]]
    found = read(name, {"y": values if name == "a.json" else np.array(values)}, THREE)
    assert found.labels == ("seen 0", "seen 1")
    np.testing.assert_array_equal(found.x["y"], values)


def test_one_row_of_columns_is_a_vector(read):
    found = read("a.csv", "a,b,c\n1,2,3\n", THREE, columns={"y": ["a", "b", "c"]})
    np.testing.assert_array_equal(found.x["y"], [[1, 2, 3]])


def test_columns_side_by_side_are_channels(read):
    found = read("a.csv", "a,b\n1,2\n3,4\n", PAIRS, columns={"y": ["a", "b"]})
    np.testing.assert_array_equal(found.x["y"][0], [[1, 2], [3, 4]])


GROUPED = "who,when,y,n\n1,am,10,2\n2,am,20,3\n1,pm,30,2\n2,am,21,3\n1,am,11,2\n2,am,22,3\n"


def test_groups_of_two_columns(read):
    found = read(
        "a.csv", GROUPED, ANY, {"n": (), "m": ()}, group_by=["who", "when"], context={"m": "rows"}
    )
    assert found.labels == ("who 1, when am", "who 2, when am", "who 1, when pm")
    assert [found.x["y"][i].tolist() for i in range(3)] == [[10, 11], [20, 21, 22], [30]]
    assert found.context["n"].tolist() == [2, 3, 2] and found.context["m"].tolist() == [2, 3, 1]
    assert found.keys == {"who": ["1", "2", "1"], "when": ["am", "am", "pm"]}
    assert isinstance(found.x["y"], Ragged)


def test_context_of_the_yaml_holds_for_all(read):
    found = read("a.npz", {"y": np.zeros((4, 3))}, THREE, {"n": ()}, context={"n": 7})
    assert found.context["n"].tolist() == [7] * 4


def test_context_from_an_array(read):
    found = read("a.npz", {"y": np.zeros((2, 3)), "n": np.array([5, 6])}, THREE, {"n": ()})
    assert found.context["n"].tolist() == [5, 6]


BAD = [
    ("a.csv", "z\n1\n", {}, DataError, "has no column 'y'", "It has: z. Map them with `columns`."),
    (
        "a.csv",
        "# note\n\ny\n1\n# more\n# yet more\nnan\n3\n",
        {},
        DataError,
        "column 'y' holds 'nan' at line 7",
        "Give a finite number",
    ),
    ("a.csv", "y\n1\n\n3\n\n", {}, DataError, "column 'y' is empty in line 3", "Give the number"),
    (
        "a.csv",
        "1\n2\n3\n",
        {},
        DataError,
        "the first line holds numbers, not names of columns",
        "Add a line",
    ),
    ("a.csv", "y,z;w\n1,5;2\n", {}, DataError, "with ',' or ';' between", "Use commas"),
    ("a.npy", b"\x93NUMPY nothing", {}, DataError, "cannot be read as NPY", "numpy.save"),
    ("a.npz", {"y": np.zeros(3, complex)}, {}, DataError, "'y' holds complex128", "plain"),
    (
        "a.npz",
        {"y": np.zeros(3, "datetime64[s]")},
        {},
        DataError,
        "'y' holds datetime64[s] instead of numbers",
        "Save plain numbers.",
    ),
    ("a.json", b"[" * 100_000, {}, DataError, "cannot be read as {name: numbers}", "example"),
    ("a.json", b'{"y": 1' + b"0" * 400 + b"}", {}, DataError, "cannot be read as", "example"),
    ("a.csv", "y\nTRUE\nmaybe\nFALSE\n", {}, DataError, "holds 'TRUE' at line 2", ""),
    (
        "a.csv",
        "y\n1\n2\n3\n",
        {"columns": {"yy": "y"}},
        DataError,
        "columns names yy, which does not exist",
        "There are: y",
    ),
    (
        "a.csv",
        "y\n1\n2\n3\n",
        {"context": {"doze": 1.0}},
        DataError,
        "context names doze, which does not exist",
        "There are: none",
    ),
    (
        "a.csv",
        "y\n1\nNA\n3\n",
        {},
        DataError,
        "column 'y' holds 'NA' at line 3",
        "leave the row out",
    ),
    ("a.csv", "y\n1\ninf\n3\n", {}, DataError, "column 'y' holds 'inf' at line 3", ""),
    (
        "a.csv",
        "y,z\n1,2\n3\n",
        {},
        DataError,
        "line 3 has 1 values for 2 columns",
        "Mend that line.",
    ),
    ("a.csv", "y,y\n1,2\n", {}, DataError, "has two columns named 'y'", "Rename"),
    ("a.csv", "y\n", {}, DataError, "holds no data", "at least one row"),
    ("a.csv", "", {}, DataError, "holds no data", ""),
    ("a.csv", b"y\n\xff\n", {}, DataError, "is not UTF-8", "Save it as UTF-8."),
    (
        "a.csv",
        "y\n1\n2\n",
        {},
        DataError,
        "'y' has shape (2,), the simulator returns shape (3,)",
        "group_by",
    ),
    ("a.csv", "y\n1\n", {"group_by": ["who"]}, DataError, "has no column 'who'", "It has: y"),
    (
        "a.npz",
        {"y": np.zeros(3)},
        {"group_by": ["who"]},
        DataError,
        "only the rows of a CSV can be grouped",
        "first axis",
    ),
    (
        "a.npz",
        {"y": np.zeros((2, 4))},
        {},
        DataError,
        "'y' has shape (4,), the simulator returns shape (3,)",
        "",
    ),
    (
        "a.npz",
        {"y": np.array([1, np.nan, 2])},
        {},
        DataError,
        "column 'y' holds 'nan' at index (1,)",
        "",
    ),
    (
        "a.npz",
        {"y": np.array([None])},
        {},
        DataError,
        "cannot be read as NPZ",
        "plain numeric arrays",
    ),
    ("a.npz", b"PK nothing", {}, DataError, "cannot be read as NPZ", ""),
    ("a.json", [1, 2], {}, DataError, "cannot be read as {name: numbers}", "For example"),
    ("a.json", {"y": [[1, 2], [3]]}, {}, DataError, "cannot be read as {name: numbers}", ""),
    ("a.json", b"{", {}, DataError, "cannot be read as {name: numbers}", ""),
    ("a.h5", b"nothing", {}, CorruptFile, "is not a whole HDF5 file", ""),
    ("a.xlsx", b"", {}, DataError, "is no file of observations ('.xlsx')", "Use one of: .csv"),
]


@pytest.mark.parametrize(
    ("name", "content", "what", "error", "told", "todo"),
    BAD,
    ids=[f"{one[0]} {one[4]}" for one in BAD],
)
def test_what_does_not_fit_is_told(read, name, content, what, error, told, todo, tmp_path):
    with pytest.raises(error) as caught:
        read(name, content, THREE, **what)
    assert told in caught.value.what and todo in caught.value.todo
    assert caught.value.where.startswith(str(tmp_path / name))


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "a.csv")


def test_context_that_is_nowhere(read):
    with pytest.raises(DataError, match="says nothing of the context variable 'n'") as caught:
        read("a.csv", "y\n1\n2\n3\n", THREE, {"n": ()})
    assert "n: rows counts the rows" in caught.value.todo


def test_a_number_that_varies_within_a_data_set(read):
    with pytest.raises(DataError, match="'y' is one number a data set, but has 2 values"):
        read("a.csv", "y\n1\n2\n", SCALAR)
    assert read("a.csv", "y\n1\n1\n", SCALAR).x["y"].tolist() == [1]


def test_different_numbers_of_data_sets(read):
    with pytest.raises(DataError, match=r"has different numbers of data sets: \{'y': 3, 'n': 2\}"):
        read("a.npz", {"y": np.zeros((3, 3)), "n": np.array([1, 2])}, THREE, {"n": ()})


# context variables


def test_context_may_name_its_column(read):
    found = read("a.csv", "y,d\n1,5\n2,5\n3,5\n", THREE, {"dose": ()}, context={"dose": "d"})
    assert found.context["dose"].tolist() == [5]
    with pytest.raises(DataError, match="has no column 'doze'") as caught:
        read("a.csv", "y,d\n1,5\n2,5\n3,5\n", THREE, {"dose": ()}, context={"dose": "doze"})
    assert "It has: y, d." in caught.value.todo


def test_context_of_another_shape(read):
    content = {"y": np.zeros((2, 3)), "n": np.zeros((2, 2))}
    with pytest.raises(DataError, match=r"'n' has shape \(2, 2\), and is \(\) for each data set"):
        read("a.npz", content, THREE, {"n": ()})


def test_rows_of_arrays_that_have_none_in_common(read):
    content = {"y": np.zeros(3), "z": np.zeros(())}
    with pytest.raises(DataError, match="whose rows cannot be counted"):
        read("a.npz", content, THREE, {"n": ()}, context={"n": "rows"})


# what is assumed, and said


def test_long_numbers_of_subjects_stay_apart(read):
    found = read("a.csv", "who,y\n1000001,1\n1000002,2\n1000001.5,3\n", ANY, group_by=["who"])
    assert found.labels == ("who 1000001", "who 1000002", "who 1000001.5")


def test_true_and_false_are_1_and_0_and_it_is_said(read):
    content = "who,hit\nTRUE,TRUE\nFALSE,False\nTRUE,true\n"
    found = read("a.csv", content, ANY, columns={"y": "hit"}, group_by=["who"])
    assert found.labels == ("who TRUE", "who FALSE")
    assert [found.x["y"][i].tolist() for i in range(2)] == [[1, 1], [0]]
    assert found.notes == ("in column hit, TRUE is 1 and FALSE is 0",)


def test_true_and_false_with_gaps_where_there_may_be_some(read):
    layout = {"y": Observable("float64", (3,), False, missing=True)}
    found = read("a.csv", "y,z\nTRUE,1\nNA,2\nFALSE,3\n", layout)
    np.testing.assert_array_equal(found.x["y"], [[1, np.nan, 0]])


@pytest.mark.parametrize("values", [[True, False, True], [True, False, None]])
def test_booleans_of_parquet(read, values):
    layout = {"y": Observable("float64", (3,), False, missing=True)}
    found = read("a.parquet", {"y": values}, layout)
    expected = [np.nan if value is None else float(value) for value in values]
    np.testing.assert_array_equal(found.x["y"], [expected])


def test_rows_of_parquet_are_grouped_and_a_bad_one_is_named(read):
    content = {"who": ["a", "b", "a"], "y": [1.0, 2.0, 3.0]}
    found = read("a.parquet", content, ANY, group_by=["who"])
    assert found.labels == ("who a", "who b") and found.x["y"][0].tolist() == [1, 3]
    with pytest.raises(DataError, match="column 'y' holds 'x' at row 1"):
        read("a.parquet", {"y": ["1", "x"]}, ANY)


def test_parquet_without_its_package(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError) as caught:
        read("a.parquet", {"y": [1]}, ANY)
    assert 'pip install "sbiwb[parquet]"' in caught.value.todo


def test_a_single_array_is_the_only_observable_whatever_its_name(read):
    found = read("a.npy", np.ones((2, 3)), THREE)
    np.testing.assert_array_equal(found.x["y"], np.ones((2, 3)))
    with pytest.raises(
        DataError, match="holds one array, and the simulator returns y, z"
    ) as caught:
        read("a.npy", np.ones(3), {**THREE, "z": THREE["y"]})
    assert "numpy.savez" in caught.value.todo


def test_columns_that_are_left_out_are_named(read):
    found = read("a.csv", "b,y,a\n1,1,0\n1,2,0\n1,3,0\n", THREE)
    assert found.notes == ("columns a, b are not used",)
