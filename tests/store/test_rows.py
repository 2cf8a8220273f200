"""Rows put into place: the same as joining the parts, whatever varies."""

from __future__ import annotations

import numpy as np
import pytest

from sbiwb.records import Pairs, Ragged
from sbiwb.store.arrays import flatten
from sbiwb.store.hdf5 import image
from sbiwb.store.rows import RowBuffer


def part(k: int, x) -> Pairs:
    return Pairs(
        {"mu": np.arange(2.0) + k},
        {"k": np.array([k, k])},
        {"y": x, "z": np.ones((2, 3), np.float32) * k},
    )


DENSE = [np.zeros((2, 3)), np.ones((2, 3))]
CASES = {
    "arrays": [np.zeros((2, 3)), np.ones((2, 3)), np.full((2, 3), 2.0)],
    "lists": [Ragged.of([np.zeros(1), np.ones(2)]), Ragged.of([np.zeros(3), np.ones(1)])],
    "arrays, then lists": [*DENSE, Ragged.of([np.zeros((1, ) ), np.ones((2, ))])],
    "lists, then arrays": [Ragged.of([np.zeros(1), np.ones(2)]), np.zeros((2, 4)), np.ones((2, 3))],
    "arrays of two lengths": [np.zeros((2, 3)), np.ones((2, 5)), np.ones((2, 3))],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_they_are_the_parts_joined_byte_for_byte(case):
    parts = [part(k, x) for k, x in enumerate(CASES[case])]
    rows = RowBuffer(2 * len(parts))
    for one in parts:
        rows.add(one)
    assert image(flatten(rows.pairs()), {}) == image(flatten(Pairs.join(parts)), {})


def test_fewer_rows_than_announced_are_no_shard():
    rows = RowBuffer(3)
    rows.add(part(0, np.zeros((2, 3))))
    with pytest.raises(ValueError, match="2 rows of 3"):
        rows.pairs()
