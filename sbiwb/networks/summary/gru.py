"""Gated recurrent unit: for series of any length, with a quarter fewer weights than lstm.

References:
    Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder,
    https://arxiv.org/abs/1406.1078
"""

from __future__ import annotations

from torch import nn

from sbiwb.contracts import InputShape
from sbiwb.networks.summary._layers import require
from sbiwb.networks.summary._recurrent import Memory, Recurrent


class Config(Memory):
    """Size of the memory and how its states are read."""

    def build(self, shape: InputShape, features: int) -> Recurrent:
        require(shape, ["series"], "gru")
        return self.network(nn.GRU, shape, features)
