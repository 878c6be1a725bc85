"""RNN: plain recurrent layers, z = h_T (*sequence*, eq. 4)."""

from __future__ import annotations

import torch

from seqpricing_core.models.configs import RNN
from seqpricing_core.nn import cells
from seqpricing_core.nn.last_state import LastStateNetwork


class RNNNetwork(LastStateNetwork):
    """Two layers; their cell is `cells.RNN`."""

    def __init__(self, config: RNN, inputs: int, precision: torch.dtype | None = None) -> None:
        super().__init__(cells.RNN, inputs, config.hidden, config.layers, config.dropout, precision)
