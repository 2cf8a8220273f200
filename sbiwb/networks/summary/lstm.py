"""Long short-term memory: for series of any length.

References:
    Hochreiter & Schmidhuber (1997), https://doi.org/10.1162/neco.1997.9.8.1735
"""

from __future__ import annotations

from torch import nn

from sbiwb.contracts import InputShape
from sbiwb.networks.summary._layers import require
from sbiwb.networks.summary._recurrent import Memory, Recurrent


class Config(Memory):
    """Size of the memory and how its states are read."""

    def build(self, shape: InputShape, features: int) -> Recurrent:
        require(shape, ["series"], "lstm")
        return self.network(nn.LSTM, shape, features)
