"""The ground floor: errors cross processes, streams are their own, records keep their rows, signals
are minded."""

from __future__ import annotations

import os
import pickle
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbiwb import errors, seeds, stopping
from sbiwb.files import stable_hash
from sbiwb.project.fingerprint import differences
from sbiwb.records import Pairs, Ragged, as_ragged, join

ERRORS = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, errors.SbiwbError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_cross_processes_with_their_three_parts(kind):
    if kind is errors.ConfigErrors:
        error = kind([errors.ConfigError("a", where="b", todo="c")])
        assert [str(one) for one in pickle.loads(pickle.dumps(error)).problems] == ["b  a  c"]
        return
    again = pickle.loads(pickle.dumps(kind("what", where="where", todo="todo")))
    assert (type(again), again.what, again.where, again.todo, str(again)) == (
        kind,
        "what",
        "where",
        "todo",
        "where  what  todo",
    )


def test_the_exit_codes_are_those_of_the_design():
    others = {errors.GateFailed: 3, errors.Stopped: 75}
    assert {kind: kind.exit_code for kind in ERRORS} == {
        kind: others.get(kind, 2) for kind in ERRORS
    }


def test_streams_keep_their_numbers():
    """Append only: another number for a name would change old runs."""
    assert list(seeds.STREAMS.values()) == list(range(len(seeds.STREAMS)))
    assert list(seeds.STREAMS)[:6] == ["train", "validation", "test", "init", "epoch", "draws"]
    assert list(seeds.STREAMS)[6:11] == ["ranks", "sample", "predictive", "preflight", "bands"]


def test_a_stream_gives_the_numbers_it_always_gave():
    assert seeds.generator(1978, "train", 17, 0).integers(2**32, size=3).tolist() == [
        484645700,
        898633534,
        2457441946,
    ]


def test_no_two_streams_are_alike():
    keys = [
        (seed, name, *position)
        for seed in (0, 1)
        for name in seeds.STREAMS
        for position in ((), (0,), (1,), (0, 0), (0, 1), (1, 0))
    ]
    firsts = [seeds.generator(seed, name, *position).random() for seed, name, *position in keys]
    assert len(set(firsts)) == len(keys)
    assert 0 <= seeds.torch_seed(seeds.generator(0, "init")) < 2**32


LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(lengths=LENGTHS, more=LENGTHS, data=st.data())
def test_ragged_rows_stay_themselves(lengths, more, data):
    arrays = [np.full((n, 2), i) for i, n in enumerate([*lengths, *more])]
    first, second = Ragged.of(arrays[: len(lengths)]), Ragged.of(arrays[len(lengths) :])
    joined = join([first, second])
    assert len(joined) == len(arrays) and all(
        np.array_equal(joined[i], one) for i, one in enumerate(arrays)
    )
    rows = data.draw(st.lists(st.integers(0, len(arrays) - 1)))
    taken = joined.take(rows)
    assert len(taken) == len(rows) and all(
        np.array_equal(taken[i], arrays[row]) for i, row in enumerate(rows)
    )
    padded, mask = joined.padded()
    assert mask.sum(1).tolist() == [*lengths, *more] and (padded[~mask] == 0).all()
    assert np.array_equal(padded[mask], joined.values)


def test_dense_parts_of_one_shape_stay_dense():
    assert isinstance(join([np.zeros((2, 3)), np.ones((1, 3))]), np.ndarray)
    mixed = join([np.zeros((2, 3)), np.ones((1, 4))])
    assert isinstance(mixed, Ragged) and mixed.lengths.tolist() == [3, 3, 4]
    assert as_ragged(np.zeros((2, 3, 5)))[1].shape == (3, 5)


def test_pairs_join_and_take():
    parts = [
        Pairs(
            {"a": np.arange(3.0) + 3 * i},
            {"n": np.full(3, i)},
            {"y": Ragged.of([np.zeros(1 + i)] * 3)},
        )
        for i in range(2)
    ]
    joined = Pairs.join(parts)
    taken = joined.take(np.array([5, 0]))
    assert (
        len(joined) == 6
        and taken.theta["a"].tolist() == [5, 0]
        and taken.context["n"].tolist() == [1, 0]
    )
    assert taken.x["y"].lengths.tolist() == [2, 1] and set(taken.variables) == {"y", "n"}


def test_a_polite_signal_raises_at_once_where_files_are_whole_anyway():
    with pytest.raises(errors.Stopped, match="stopped by SIGUSR1"), stopping.raise_on_signal():
        os.kill(os.getpid(), signal.SIGUSR1)
        pytest.fail("went on")


def test_a_signal_sets_a_flag_and_a_second_ctrl_c_ends_at_once():
    before = signal.getsignal(signal.SIGINT)
    with stopping.watch_signals(stopping.Flag()) as flag:
        flag.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(errors.Stopped, match="stopped by SIGTERM"):
            flag.check()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            flag.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("went on")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_hash_does_not_depend_on_the_order_of_keys():
    assert (
        stable_hash({"a": 1, "b": [1, 2]})
        == stable_hash({"b": [1, 2], "a": 1})
        != stable_hash({"a": 1, "b": [2, 1]})
    )


DIFFERENT = [
    ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b: 1 -> 2"]),
    ({"a": 1}, {"a": 1, "c": 3}, ["c: None -> 3"]),
    ({"a": "0" * 64}, {"a": "1" * 64}, ["a changed"]),
    ({"p": [["mu", {"loc": 0}]]}, {"p": [["mu", {"loc": 1}]]}, ["p.mu.loc: 0 -> 1"]),
    ({"p": [["a", 1], ["b", 2]]}, {"p": [["b", 2], ["a", 1]]}, ["p: order a, b -> b, a"]),
    ({"a": "x" * 100}, {"a": "y"}, [f"a: {'x' * 57}... -> y"]),
    ({"a": [1]}, {"a": [1]}, []),
]


@pytest.mark.parametrize(("old", "new", "told"), DIFFERENT)
def test_differences_name_their_keys(old, new, told):
    assert differences(old, new) == told
