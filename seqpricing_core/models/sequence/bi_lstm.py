"""Bi-LSTM: one LSTM reads a window forward, another backward (*sequence*, exhibit 3).

Both read months up to T only: what is backward is the order of reading, not the flow of time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqpricing_core.models.configs import BiLSTM
from seqpricing_core.nn import cells
from seqpricing_core.nn.recurrent_layers import RecurrentLayer
from seqpricing_core.nn.sequence_batch import SequenceBatch
from seqpricing_core.nn.sequence_network import SequenceNetwork


class BiLSTMNetwork(SequenceNetwork):
    """z = concat(forward state at T, backward state at 1); a second layer reads both states of the first."""

    def __init__(self, config: BiLSTM, inputs: int, precision: torch.dtype | None = None) -> None:
        size = config.hidden
        super().__init__(2 * size, config.dropout, precision)
        sizes = [inputs, *[2 * size] * (config.layers - 1)]
        self.ahead = nn.ModuleList(RecurrentLayer(cells.LSTM, below, size) for below in sizes)
        self.back = nn.ModuleList(RecurrentLayer(cells.LSTM, below, size) for below in sizes)

    def project(self, x: Tensor) -> Tensor:
        """(S, 2 G H) of both directions."""
        ahead, back = self._layers[0]
        return torch.cat([ahead.project(x), back.project(x)], dim=1)

    def represent(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        index: Tensor | None = batch.index
        both: tuple[Tensor, ...] = projected.chunk(2, dim=1)
        ahead_states = back_states = projected
        for place, (ahead, back) in enumerate(self._layers):
            if place:
                below = torch.cat([ahead_states, back_states], dim=1)
                both, index = (below, below), None
            ahead_states = ahead(both[0], batch.packed, index, precision=self.precision)
            back_states = back(both[1], batch.packed, index, backward=True, precision=self.precision)
        return torch.cat([ahead_states[batch.packed.last], back_states[batch.first_rows()]], dim=1)

    @property
    def _layers(self) -> list[tuple[RecurrentLayer, RecurrentLayer]]:
        pairs = zip(self.ahead, self.back, strict=True)
        return [(a, b) for a, b in pairs if isinstance(a, RecurrentLayer) and isinstance(b, RecurrentLayer)]
