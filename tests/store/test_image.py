"""The image of a shard: the same bytes whoever looks on."""

import h5py
import numpy as np

from sbiwb.store.hdf5 import image

ARRAYS = {
    "theta/mu": np.arange(64.0),
    "x/y": np.ones((64, 4)),
    "x/z/values": np.ones((300, 2)),
    "x/z/offsets": np.arange(65),
}


def test_the_bytes_do_not_depend_on_who_holds_a_data_set(monkeypatch):
    """Dask's profiler keeps the frames that it samples, and with them their variables; Python would
    close them late."""
    before, held = image(ARRAYS, {"split": "train"}), []
    create = h5py.File.create_dataset

    def create_and_hold(*arguments, **options):
        held.append(create(*arguments, **options))
        return held[-1]

    monkeypatch.setattr(h5py.File, "create_dataset", create_and_hold)
    assert image(ARRAYS, {"split": "train"}) == before
    assert len(held) == len(ARRAYS)
