"""Draws of the test pairs: made once, block by block; a kill costs one block, damage is noticed,
memory is bounded."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pytest

from sbiwb.files import temporary
from sbiwb.project.splits import load_split
from sbiwb.project.trained import load_posterior, posterior_of
from sbiwb.seeds import generator
from sbiwb.steps.judge import draw_blocks as module
from sbiwb.steps.judge.draw_blocks import BLOCK, draw_test_posteriors
from sbiwb.workflow.diagnose_evidence import EvidenceMaker
from sbiwb.workflow.simulate import simulate
from sbiwb.workflow.train import train
from tests.tiny import Child, Recorder, Tiny, copy, digest

PAIRS = 2 * BLOCK + 44


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tiny = Tiny.write(
        tmp_path_factory.mktemp("drawn") / "p",
        {"train": {"steps": 20}, "simulate": {"test": PAIRS}},
    )
    simulate(tiny.open(), Recorder())
    train(tiny.open(), Recorder())
    read(tiny)
    return tiny


def read(tiny: Tiny, *settings: str):
    project, recorder = tiny.open(*settings), Recorder()
    posterior, pairs = posterior_of(project, recorder), load_split(project, "test")
    options = EvidenceMaker(project, recorder).draw_options()
    return draw_test_posteriors(posterior, project.prior, pairs, options, recorder), recorder


def digests(tiny: Tiny) -> dict[str, str]:
    return {path.name: digest(path) for path in sorted((tiny.run / "diagnose/draws").iterdir())}


def test_they_are_the_posterior_of_the_test_pairs(made):
    found, _ = read(made)
    x, posterior = load_split(made.open(), "test").variables, load_posterior(made.run)
    for block in range(3):
        rows = slice(block * BLOCK, min((block + 1) * BLOCK, PAIRS))
        again = posterior.sample({"y": x["y"][rows]}, 19, generator(0, "draws", block))
        np.testing.assert_array_equal(found.draws[rows], again)
        np.testing.assert_array_equal(
            found.log_prob_draws[rows], posterior.log_prob(again, {"y": x["y"][rows]})
        )
    assert found.draws.shape == (PAIRS, 19, 1) and found.leaked.tolist() == [0.0]


def test_they_are_made_once_and_again_for_other_weights_seeds_and_numbers(made, tmp_path):
    tiny = copy(made, tmp_path / "p")
    assert read(tiny)[1].advanced == {}
    for settings in (("diagnose.draws=39",), ("diagnose.seed=1",), ("simulate.test=200",)):
        assert read(tiny, *settings)[1].advanced["draw"] > 0
        assert read(tiny, *settings)[1].advanced == {}
    shutil.rmtree(tiny.run / "train")
    train(tiny.open("train.seed=9"), Recorder())
    assert read(tiny, "train.seed=9")[1].advanced == {"draw": PAIRS}


def test_fewer_test_pairs_leave_no_block_behind(made, tmp_path):
    tiny = copy(made, tmp_path / "p")
    assert read(tiny, "simulate.test=100")[0].draws.shape[0] == 100
    assert list(digests(tiny)) == ["block-000000.h5"]


def test_only_what_is_missing_or_damaged_is_made_again(made, tmp_path):
    tiny, before = copy(made, tmp_path / "p"), digests(made)
    folder = tiny.run / "diagnose/draws"
    (folder / "block-000000.h5").unlink()
    cut = folder / "block-000002.h5"
    cut.write_bytes(cut.read_bytes()[:-100])
    _, recorder = read(tiny)
    assert (
        recorder.advanced == {"draw": BLOCK + 44}
        and len(recorder.warned) == 1
        and "drawn again" in recorder.warned[0]
    )
    assert digests(tiny) == before


def test_a_flipped_bit_is_noticed(made, tmp_path):
    tiny, before = copy(made, tmp_path / "p"), digests(made)
    path = tiny.run / "diagnose/draws/block-000001.h5"
    data = bytearray(path.read_bytes())
    at = data.find(np.float64(read(made)[0].draws[slice(BLOCK, BLOCK + 1)][0, 0, 0]).tobytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
    assert "drawn again" in read(tiny)[1].warned[0]
    assert digests(tiny) == before


@pytest.mark.parametrize("after", [0, 1, 2])
def test_killed_while_it_writes_a_block_it_goes_on_there(made, tmp_path, after):
    tiny, before = copy(made, tmp_path / "p"), digests(made)
    folder = tiny.run / "diagnose/draws"
    shutil.rmtree(folder)

    def die_while_writing():
        real = module.put

        def put(path, data):
            if path.name == f"block-{after:06d}.h5":
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary(path).write_bytes(data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            real(path, data)

        module.put = put
        read(tiny)

    child = Child.start(die_while_writing, tmp_path / "log.txt")
    assert child.wait() == -signal.SIGKILL
    assert {path.name for path in folder.glob("block-*")} == {
        f"block-{block:06d}.h5" for block in range(after)
    }
    _, recorder = read(tiny)
    assert recorder.advanced == {"draw": PAIRS - after * BLOCK}
    assert {
        name: value for name, value in digests(tiny).items() if name.startswith("block")
    } == before


def test_from_disk_they_are_the_same_rows(made, monkeypatch):
    held, _ = read(made)
    monkeypatch.setattr(module, "HELD_BYTES", 0)
    on_disk, _ = read(made)
    assert not isinstance(on_disk.draws, np.ndarray) and on_disk.draws.shape == held.draws.shape
    for rows in (
        slice(0, 5),
        slice(BLOCK - 3, BLOCK + 3),
        slice(None),
        np.array([290, 1, 130, 1]),
        np.array([], int),
    ):
        np.testing.assert_array_equal(on_disk.draws[rows], held.draws[rows])


def test_threads_change_no_draw(made, tmp_path):
    tiny, before = copy(made, tmp_path / "p"), digests(made)
    shutil.rmtree(tiny.run / "diagnose")
    read(tiny, "machine.threads=3")
    assert digests(tiny) == before
