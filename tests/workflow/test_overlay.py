"""`compare` on folders of draws: equal normals are equal, a shifted one is told by the closed
forms, and other questions are refused."""

from __future__ import annotations

import contextlib
import csv
import json
import math

import h5py
import numpy as np
import pytest
from scipy.stats import norm

from sbiwb.errors import CorruptFile, DataError, RunError
from sbiwb.report import draws_hdf5
from sbiwb.steps.compare.overlaid_draws import overlay
from tests.tiny import Recorder

DRAWS = 2_000


def folder(run, place, theta, labels=("seen",), order=("slope", "bias")):
    """A folder as `sample` and `reference` write it, with draws (N, S, 2) of two parameters."""
    path = run / place
    path.mkdir(parents=True)
    columns = {name: theta[..., i] for i, name in enumerate(order)}
    (path / "draws.h5").write_bytes(
        draws_hdf5(columns, {}, labels=labels, attributes={}, units={"slope": "m"})
    )
    rows = [{"data_set": label, "name": name} for label in labels for name in order]
    (path / "summary.json").write_text(json.dumps({"format": 1, "rows": rows}))
    return path


def normal(seed, *, shift=0.0, scale=1.0, sets=1, draws=DRAWS):
    return shift + scale * np.random.default_rng(seed).normal(size=(sets, draws, 2)) * [1.0, 10.0]


def test_equal_normals_are_the_same(tmp_path):
    paths = [
        folder(tmp_path, "sample/seen", normal(0)),
        folder(tmp_path, "reference/nuts/seen", normal(1)),
    ]
    found = overlay(paths, Recorder())
    assert found.reference == "nuts" and found.folder == tmp_path / "compare/seen"
    (row,) = found.rows
    assert row.method == "amortized" and row.draws == found.draws == DRAWS
    assert list(row.shift) == ["slope", "bias"]  # as in the summary, not by the alphabet
    assert row.c2st == pytest.approx(0.5, abs=0.03) and abs(row.mmd2) < 0.003
    assert max(row.shift.values()) < 4 * math.sqrt(2 / DRAWS)
    assert all(abs(ratio - 1) < 4 / math.sqrt(DRAWS) for ratio in row.ratio.values())


def test_a_shifted_normal_is_told_by_the_closed_forms(tmp_path):
    """The best classifier between N(0, I) and N(m, I) is right with probability Phi(|m| / 2)."""
    moved = normal(0) + np.array([1.0, 0.0])
    paths = [
        folder(tmp_path, "reference/hmc/seen", normal(1)),
        folder(tmp_path, "reference/vi/seen", moved),
    ]
    found = overlay(paths, Recorder())
    (row,), (method,) = found.rows, found.methods
    assert found.reference == "hmc" and row.c2st == pytest.approx(norm.cdf(0.5), abs=0.03)
    assert (
        row.shift["slope"] == pytest.approx(1, abs=0.1)
        and row.shift["bias"] < 0.1
        and row.mmd2 > 0.05
    )
    assert method.farthest[0] == "slope" and method.shift == (row.shift["slope"],) * 2


def test_a_wider_normal_has_its_ratio_and_the_worst_data_set_is_named(tmp_path):
    labels, scales = ("a", "b"), np.array([1.0, 2.0])[:, None, None]
    exact = folder(tmp_path, "reference/nuts/many", normal(0, sets=2), labels)
    wide = folder(tmp_path, "sample/many", normal(1, sets=2) * scales, labels)
    found = overlay([exact, wide], Recorder())
    assert [row.data_set for row in found.rows] == ["a", "b"] and found.data_sets == 2
    (method,) = found.methods
    assert method.ratio[1] == pytest.approx(2, rel=0.1) and method.ratio[0] == pytest.approx(
        1.5, rel=0.1
    )
    assert method.c2st[1] == found.rows[1].c2st > method.c2st[0] > found.rows[0].c2st


def test_chains_are_thinned_over_their_whole_length(tmp_path):
    """The second half of a reference lies elsewhere: what compares only first halves would see
    nothing."""
    exact = normal(0, draws=200)
    exact[:, 100:] += [5.0, 50.0]
    paths = [
        folder(tmp_path, "reference/nuts/seen", exact),
        folder(tmp_path, "sample/seen", normal(1, draws=100)),
    ]
    found = overlay(paths, Recorder(), output=tmp_path / "out")
    assert found.draws == 100 and found.rows[0].c2st > 0.6


def test_files_say_what_is_returned(tmp_path):
    paths = [
        folder(tmp_path, f"reference/{name}/seen", normal(i))
        for i, name in enumerate(["nuts", "vi", "hmc"])
    ]
    found = overlay(paths, Recorder(), output=tmp_path / "out")
    told = json.loads((tmp_path / "out/compare.json").read_text())
    assert (
        told["reference"] == "nuts"
        and told["draws"] == DRAWS
        and [one["method"] for one in told["methods"]] == ["vi", "hmc"]
    )
    assert told["rows"][0]["c2st"] == found.rows[0].c2st and told["methods"][0]["c2st"] == {
        "mean": found.rows[0].c2st,
        "worst": found.rows[0].c2st,
    }
    with open(tmp_path / "out/compare.csv") as file:
        assert [float(row["sd_ratio[bias]"]) for row in csv.DictReader(file)] == pytest.approx(
            [row.ratio["bias"] for row in found.rows], rel=1e-5
        )
    assert (tmp_path / "out/overlay.png").read_bytes()[:4] == b"\x89PNG" and b"slope (m)" in (
        tmp_path / "out/overlay.svg"
    ).read_bytes()


def test_without_a_reference_the_first_is_held_against(tmp_path):
    found = overlay(
        [folder(tmp_path / run, "sample/seen", normal(i)) for i, run in enumerate("ab")],
        Recorder(),
        output=tmp_path / "out",
    )
    assert found.reference == str(tmp_path / "a/sample/seen") and found.rows[0].method == str(
        tmp_path / "b/sample/seen"
    )


def test_other_parameters_are_refused_with_their_names(tmp_path):
    paths = [
        folder(tmp_path, "sample/seen", normal(0)),
        folder(tmp_path, "reference/nuts/seen", normal(1), order=("slope", "offset")),
    ]
    with pytest.raises(RunError, match=r"other parameters.*lacks offset.*has bias besides"):
        overlay(paths, Recorder())


def test_other_data_sets_are_refused_with_their_names(tmp_path):
    paths = [
        folder(tmp_path, "sample/seen", normal(0)),
        folder(tmp_path, "reference/nuts/heard", normal(1), ("heard",)),
    ]
    with pytest.raises(RunError, match=r"other data sets.*lacks heard.*has seen besides"):
        overlay(paths, Recorder())


def test_what_cannot_be_compared_is_refused(tmp_path):
    exact = folder(tmp_path, "reference/nuts/seen", normal(0))
    run = tmp_path / "runs/x"
    run.mkdir(parents=True)
    with pytest.raises(RunError, match="holds no draws") as refused:
        overlay([exact, run], Recorder())
    assert refused.value.where == str(run)
    with pytest.raises(RunError, match="two different folders"):
        overlay([exact, exact], Recorder())
    lost = normal(1)
    lost[0, 3, 0] = np.nan
    with pytest.raises(DataError, match="1 draws are not finite, or beyond"):
        overlay([exact, folder(tmp_path, "sample/seen", lost)], Recorder())
    with pytest.raises(DataError, match="bias, slope never moves"):
        overlay(
            [exact, folder(tmp_path, "reference/aaa/seen", np.ones((1, DRAWS, 2)))][::-1],
            Recorder(),
        )
    with pytest.raises(DataError, match="too few"):
        overlay([exact, folder(tmp_path, "reference/vi/seen", normal(1, draws=20))], Recorder())
    (folder(tmp_path, "reference/hmc/seen", normal(2)) / "draws.h5").write_bytes(b"no")
    with pytest.raises(CorruptFile, match="cannot be read"):
        overlay([exact, tmp_path / "reference/hmc/seen"], Recorder())


DAMAGES = {
    "flipped bytes": ({}, "cannot be read"),
    "no parameters": ({"theta/bias": None, "theta/slope": None}, "holds no draws"),
    "no data sets": ({"labels": []}, "cannot be read"),
    "labels twice": ({"labels": ["seen", "seen"]}, r"has shape \(1, 2000\) for 2 data sets"),
    "one number": ({"theta/bias": 1.0}, "cannot be read"),
    "other draws": ({"theta/bias": np.zeros((1, 7))}, "different numbers of draws"),
    "text": ({"theta/bias": [["seen"] * DRAWS]}, "has type object, not numbers"),
    "complex": ({"theta/bias": np.zeros((1, DRAWS), complex)}, "has type complex128"),
    "larger than all": ({"theta/bias": np.full((1, DRAWS), 1e200)}, "2,000 draws are not finite"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_draws_are_named_with_what_is_wrong(tmp_path, damage):
    exact = folder(tmp_path, "reference/nuts/seen", normal(0))
    other = folder(tmp_path, "sample/seen", normal(1))
    changes, what = DAMAGES[damage]
    spoil(other / "draws.h5", changes)
    with pytest.raises((CorruptFile, DataError), match=what) as refused:
        overlay([exact, other], Recorder())
    assert refused.value.where == str(other / "draws.h5") and refused.value.todo


def spoil(path, changes):
    """Replaces data sets of a file, or, without any, 64 bytes of its first group's names."""
    if not changes:
        data = path.read_bytes()
        path.write_bytes(data.replace(b"HEAP", b"\xff" * 4))
    with h5py.File(path, "r+") if changes else contextlib.nullcontext() as file:
        for name, values in changes.items():
            del file[name]
            if values is not None:
                file[name] = values
