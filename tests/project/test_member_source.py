"""What stands in the place of a simulator where the pairs are members of data sets."""

from __future__ import annotations

import numpy as np

from sbiwb.config.structure import DataSetMembers, Structure
from sbiwb.project import member_source as module
from sbiwb.project.member_source import MemberSource
from sbiwb.records import Pairs
from sbiwb.rundir import RunDir


def test_only_columns_without_levels_are_drawn_from_training_members(tmp_path, monkeypatch):
    members = DataSetMembers(
        members_of="trials",
        structure=Structure.model_validate({"as": "iid", "from": ["rt", "choice"]}),
        as_vector=False,
        values={"rt": "positive", "choice": [0.0, 1.0]},
        shapes={"rt": [6], "choice": [6]},
        given=["mu"],
        data_hash="",
        data_sets={"train": 2, "validation": 1, "test": 1},
    )
    known = {"rt": np.array([0.5, 2.0]), "choice": np.array([0.0, 1.0])}
    monkeypatch.setattr(module, "load_members", lambda *_: Pairs(known, {}, {}))
    prior = MemberSource(members, RunDir(tmp_path)).optional("prior")
    drawn = prior(100, np.random.default_rng(0))
    assert set(drawn) == {"rt"} and set(drawn["rt"].tolist()) == {0.5, 2.0}
