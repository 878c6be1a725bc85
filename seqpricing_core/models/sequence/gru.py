"""GRU: gated recurrent units, z = h_T (*sequence* prints no equations and names Chung et al. 2014)."""

from __future__ import annotations

import torch

from seqpricing_core.models.configs import GRU
from seqpricing_core.nn import cells
from seqpricing_core.nn.last_state import LastStateNetwork


class GRUNetwork(LastStateNetwork):
    """Two layers; their cell is `cells.GRU`."""

    def __init__(self, config: GRU, inputs: int, precision: torch.dtype | None = None) -> None:
        super().__init__(cells.GRU, inputs, config.hidden, config.layers, config.dropout, precision)
