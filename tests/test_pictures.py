"""Pictures look the same whatever a user's settings of matplotlib are."""

from __future__ import annotations

import matplotlib

from sbiwb import pictures
from sbiwb.report.figures import to_png
from sbiwb.report.losses import loss_picture


def test_a_users_settings_change_no_pixel(monkeypatch):
    def drawn() -> bytes:
        pictures._use_defaults.cache_clear()
        return to_png(loss_picture([[1, 0.5, 0.6], [2, 0.4, 0.5]], 2))

    with matplotlib.rc_context():
        plain = drawn()
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "axes.grid": True}):
        assert drawn() == plain
