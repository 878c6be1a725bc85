"""LSTM: long short-term memory, z = h_T (*sequence*, eq. 6-10)."""

from __future__ import annotations

import torch

from seqpricing_core.models.configs import LSTM
from seqpricing_core.nn import cells
from seqpricing_core.nn.last_state import LastStateNetwork


class LSTMNetwork(LastStateNetwork):
    """Two layers; their cell is `cells.LSTM`."""

    def __init__(self, config: LSTM, inputs: int, precision: torch.dtype | None = None) -> None:
        super().__init__(cells.LSTM, inputs, config.hidden, config.layers, config.dropout, precision)
