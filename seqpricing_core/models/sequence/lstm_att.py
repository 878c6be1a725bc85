"""LSTM-ATT: the last state attends to the states of all months (*sequence*, eq. 12-15)."""

from __future__ import annotations

import torch
from torch import Tensor

from seqpricing_core.models.configs import LSTMAttention
from seqpricing_core.nn import cells
from seqpricing_core.nn.recurrent_layers import RecurrentStack, tanh
from seqpricing_core.nn.sequence_batch import SequenceBatch
from seqpricing_core.nn.sequence_network import SequenceNetwork
from seqpricing_core.nn.stack import uniform


class LSTMAttentionNetwork(SequenceNetwork):
    """z = sum_t alpha_t h_t,  alpha = softmax(v' tanh(W_1 h_t + W_2 h_T)), over the months with data."""

    def __init__(self, config: LSTMAttention, inputs: int, precision: torch.dtype | None = None) -> None:
        size = config.hidden
        super().__init__(size, config.dropout, precision)
        self.stack = RecurrentStack(cells.LSTM, inputs, size, config.layers)
        self.of_each = uniform(size, size, fan_in=size)
        self.of_last = uniform(size, size, fan_in=size)
        self.score = uniform(size, fan_in=size)

    def project(self, x: Tensor) -> Tensor:
        return self.stack.project(x)

    def represent(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        states, weights = self._attend(projected, batch)
        return (weights[..., None] * states).sum(1)

    def attend(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        """(B, L) alpha; where months are missing, those with data stand at the end."""
        return self._attend(projected, batch)[1]

    def _attend(self, projected: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """(B, L, H) states and (B, L) alpha."""
        packed_states = self.stack(projected, batch.packed, batch.index, precision=self.precision)
        states = batch.unpack(packed_states)
        last = packed_states[batch.packed.last] @ self.of_last.mT
        scores = tanh(states @ self.of_each.mT + last[:, None]) @ self.score  # eq. 15
        return states, torch.softmax(scores.masked_fill(~batch.reached, -torch.inf), dim=1)  # eq. 13
