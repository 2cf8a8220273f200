"""Draws as CSV and HDF5: the same numbers to the last digit, read by others."""

from __future__ import annotations

import csv
import io

import h5py
import numpy as np

from sbiwb.report import (
    Moments,
    csv_tables,
    draws_csv,
    draws_hdf5,
    flat,
    summarise,
    summary_csv,
    too_long_for_csv,
)

RNG = np.random.default_rng(2)
THETA = {"v": RNG.normal(size=(2, 5)) * 1e-7, "beta": RNG.normal(size=(2, 5, 3)) * 1e9}
DERIVED = {"ratio": RNG.normal(size=(2, 5)) / 3}
LABELS = ["subject 1, conflict LC", 'subject "2"']
KEYS = {"subject": [1, 2], "conflict": ["LC", "HC"]}


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_and_hdf5_hold_the_same_draws_to_the_last_digit(tmp_path):
    rows = table(draws_csv({**THETA, **DERIVED}, labels=LABELS, keys=KEYS))
    path = tmp_path / "draws.h5"
    path.write_bytes(
        draws_hdf5(
            THETA, DERIVED, labels=LABELS, keys=KEYS, attributes={"run": "tiny"}, units={"v": "1/s"}
        )
    )
    with h5py.File(path) as file:
        v, beta, ratio = file["theta/v"][:], file["theta/beta"][:], file["derived/ratio"][:]
        assert file["labels"].asstr()[:].tolist() == LABELS and file["keys/subject"].asstr()[
            :
        ].tolist() == ["1", "2"]
        assert (
            file.attrs["run"] == "tiny"
            and file["theta/v"].attrs["units"] == "1/s"
            and file["theta/beta"].attrs["units"] == ""
        )
    for name, values in {
        "v": THETA["v"],
        "beta[2]": THETA["beta"][..., 2],
        "ratio": DERIVED["ratio"],
    }.items():
        np.testing.assert_array_equal(
            np.array([float(row[name]) for row in rows]).reshape(2, 5), values
        )
    np.testing.assert_array_equal(v, THETA["v"])
    np.testing.assert_array_equal(beta, THETA["beta"])
    np.testing.assert_array_equal(ratio, DERIVED["ratio"])
    assert list(rows[0]) == [
        "data_set",
        "subject",
        "conflict",
        "draw",
        "v",
        "beta[0]",
        "beta[1]",
        "beta[2]",
        "ratio",
    ]
    assert [row["draw"] for row in rows] == [str(i) for i in [*range(5), *range(5)]]
    assert {(row["data_set"], row["subject"], row["conflict"]) for row in rows} == {
        (LABELS[0], "1", "LC"),
        (LABELS[1], "2", "HC"),
    }


def test_the_same_draws_are_the_same_bytes():
    made = [
        draws_hdf5(THETA, DERIVED, labels=LABELS, keys=KEYS, attributes={"run": "tiny"})
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_too_many_rows_or_numbers_are_told(monkeypatch):
    assert too_long_for_csv(THETA) == ""
    monkeypatch.setattr(csv_tables, "MAX_ROWS", 9)
    assert too_long_for_csv(THETA).startswith(
        "draws.csv is left out: 2 data sets of 5 draws are 10 rows with 40 numbers (at most 9 rows"
    )
    monkeypatch.setattr(csv_tables, "MAX_ROWS", 10)
    assert too_long_for_csv(THETA) == ""
    monkeypatch.setattr(csv_tables, "MAX_NUMBERS", 39)
    assert "40 numbers" in too_long_for_csv(THETA)


def test_vector_valued_quantities_have_a_column_each():
    assert list(flat(THETA)) == ["v", "beta[0]", "beta[1]", "beta[2]"]
    np.testing.assert_array_equal(flat(THETA)["beta[1]"], THETA["beta"][..., 1])


def test_the_summary_has_the_grouping_columns_and_leaves_the_unknown_empty():
    columns = flat({**THETA, **DERIVED})
    rows = [
        row
        for i, label in enumerate(LABELS)
        for row in summarise(label, {k: v[i] for k, v in columns.items()}, {"v": Moments(0, 1)})
    ]
    found = table(summary_csv(rows, labels=LABELS, keys=KEYS))
    assert len(found) == 10 and list(found[0])[:6] == [
        "data_set",
        "subject",
        "conflict",
        "quantity",
        "mean",
        "sd",
    ]
    assert [row["conflict"] for row in found] == ["LC"] * 5 + ["HC"] * 5
    assert (
        found[0]["prior_sd"] == "1"
        and found[0]["contraction"] == "1"
        and found[1]["contraction"] == ""
    )
    assert float(found[9]["hdi_97%"]) == float(f"{rows[9].hdi[1]:.6g}")
