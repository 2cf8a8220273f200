"""Whatever a file of the user's holds, the readers of observations and simulations say so in our
errors."""

import pytest

from sbiwb.errors import CorruptFile, DataError
from sbiwb.store.foreign import foreign
from tests.faults import readers


def test_damaged_files_are_told_of_and_nothing_else_comes_out():
    assert readers.campaign(350, seed=0) == []


def test_an_error_that_is_not_ours_would_be_noticed(monkeypatch):
    def broken(*_):
        raise KeyError("offsets")

    monkeypatch.setattr(readers, "observe", broken)
    monkeypatch.setattr(readers, "CHANGES", [readers.truncated])
    (failure,) = readers.campaign(1, seed=0)
    assert failure == "0 .csv truncated _observe: KeyError: 'offsets'"


CUT = {
    ".npz": "Save plain arrays with numpy.savez.",
    ".h5": "Make the file again.",
    ".parquet": "Make the file again.",
}


@pytest.mark.parametrize(("end", "todo"), CUT.items())
def test_a_cut_file_of_simulations_is_named_with_what_to_do(tmp_path, end, todo):
    path = tmp_path / f"pairs{end}"
    path.write_bytes(readers.whole_files()[end][:-40])
    with pytest.raises(DataError) as caught:
        list(foreign(path).chunks(foreign(path).columns))
    assert caught.value.where == str(path) and todo in caught.value.todo


def test_a_flipped_byte_in_an_archive_is_named(tmp_path):
    data = bytearray(readers.whole_files()[".npz"])
    data[data.index(b"\x93NUMPY") + 90] ^= 1
    path = tmp_path / "pairs.npz"
    path.write_bytes(data)
    with pytest.raises(CorruptFile) as caught:
        list(foreign(path).chunks(["who", "y"]))
    assert caught.value.where.startswith(str(path)) and caught.value.todo.endswith("again.")
