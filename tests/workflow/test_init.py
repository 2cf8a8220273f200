"""`init`: three files that nobody else's are overwritten for, also after it was ended between
them."""

from __future__ import annotations

import pytest

from sbiwb.errors import DiskError, RunError
from sbiwb.workflow import init


def test_it_writes_three_files_and_a_second_call_changes_nothing(tmp_path):
    files = init.init("decay", tmp_path)
    assert [path.name for path in files] == ["decay.yaml", "decay.py", "decay.csv"]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert init.init("decay", tmp_path) == files
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("written", [0, 1, 2])
def test_after_an_end_between_its_files_the_same_call_goes_on(tmp_path, monkeypatch, written):
    whole = {path.name: path.read_bytes() for path in init.init("decay", tmp_path / "whole")}
    put_text, calls = init.put_text, []

    def put(path, text):
        if len(calls) == written:
            raise KeyboardInterrupt
        calls.append(path)
        put_text(path, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(init, "put_text", put)
        init.init("decay", tmp_path / "ended")
    again = init.init("decay", tmp_path / "ended")
    assert {path.name: path.read_bytes() for path in again} == whole


@pytest.mark.parametrize("name", ["decay.yaml", "decay.py", "decay.csv"])
def test_a_file_with_something_else_is_left_and_nothing_is_written(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match="exists already") as caught:
        init.init("decay", tmp_path)
    assert caught.value.where == str(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_of_that_name_is_told(tmp_path):
    (tmp_path / "decay.csv").mkdir()
    with pytest.raises(DiskError, match="Is a directory"):
        init.init("decay", tmp_path)


@pytest.mark.parametrize("name", ["a-b", "1a", "", "class", "../x"])
def test_a_name_that_python_cannot_have_is_refused(tmp_path, name):
    with pytest.raises(RunError, match="is no name for files and functions"):
        init.init(name, tmp_path)
