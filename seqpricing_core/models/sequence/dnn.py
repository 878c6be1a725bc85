"""DNN: the months of a window side by side, three hidden layers (*sequence*, model configuration)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from seqpricing_core.models.configs import DNN
from seqpricing_core.nn.sequence_batch import SequenceBatch
from seqpricing_core.nn.sequence_network import Linear, SequenceNetwork


class DNNNetwork(SequenceNetwork):
    """z = relu(W_3 relu(W_2 relu(W_1 vec(x_1 .. x_L) + b_1) + b_2) + b_3); a month without data is 0.

    Nothing can be shared between windows: a stock-month meets other weights at each of its places in them.
    """

    def __init__(self, config: DNN, inputs: int, precision: torch.dtype | None = None) -> None:
        super().__init__(config.hidden[-1], config.dropout, precision)
        sizes = [config.lookback * inputs, *config.hidden]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in itertools.pairwise(sizes))

    def project(self, x: Tensor) -> Tensor:
        """Characteristics as they are."""
        return x

    def represent(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        x = projected[batch.rows]
        if not batch.complete:
            x = x * batch.observed[..., None]
        z = x.flatten(1)
        for layer in self.layers:
            z = torch.relu(layer(z))
        return z
