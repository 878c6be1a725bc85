"""Recurrent networks whose representation is the last layer's state at the last month."""

from __future__ import annotations

import torch
from torch import Tensor

from seqpricing_core.nn.cells import Cell
from seqpricing_core.nn.recurrent_layers import RecurrentStack
from seqpricing_core.nn.sequence_batch import SequenceBatch
from seqpricing_core.nn.sequence_network import SequenceNetwork


class LastStateNetwork(SequenceNetwork):
    """z = h_T"""

    def __init__(
        self,
        cell: type[Cell],
        inputs: int,
        hidden: int,
        layers: int,
        dropout: float,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden, dropout, precision)
        self.stack = RecurrentStack(cell, inputs, hidden, layers)

    def project(self, x: Tensor) -> Tensor:
        return self.stack.project(x)

    def represent(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        if not torch.is_grad_enabled():
            return self.stack.last_state(projected, batch.packed, batch.index)
        states: Tensor = self.stack(
            projected, batch.packed, batch.index, only_last=True, precision=self.precision
        )
        return states
