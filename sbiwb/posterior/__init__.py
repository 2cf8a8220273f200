"""The trained posterior in the user's own units."""

from sbiwb.chunks import CHUNK_ROWS
from sbiwb.posterior._posterior import Posterior

__all__ = ["CHUNK_ROWS", "Posterior"]
