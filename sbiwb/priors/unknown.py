"""A parameter of imported simulations whose prior nobody can draw from again.

It is known by the imported values alone.
"""

from __future__ import annotations

from sbiwb.priors import joint


class Config(joint.Config):
    """Options of a parameter of imported simulations, with bounds that all its values keep."""
