"""What all networks of *sequence* share: a representation z of a window, and a linear forecast from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqpricing_core.nn.sequence_batch import SequenceBatch
from seqpricing_core.nn.stack import uniform


class SequenceNetwork(nn.Module):
    """r_hat = w'z + b (*sequence*, sequence representation and return forecasting), in percent.

    A network says what it computes of each stock-month alone, whatever window it stands in (`project`),
    and what of a window (`represent`).
    """

    def __init__(self, size: int, dropout: float, precision: torch.dtype | None = None) -> None:
        super().__init__()
        self.dropout, self.precision = dropout, precision
        """Precision of matrix products; None: that of the weights"""
        self.weight = uniform(1, size, fan_in=size)
        self.bias = uniform(1, fan_in=size)

    def project(self, x: Tensor) -> Tensor:
        """(S, C) from characteristics (S, P)."""
        raise NotImplementedError

    def represent(self, projected: Tensor, batch: SequenceBatch) -> Tensor:
        """(B, R) z"""
        raise NotImplementedError

    def attend(self, projected: Tensor, batch: SequenceBatch) -> Tensor | None:
        """(B, L) attention to each month of the window; None for a network without."""
        del projected, batch
        return None

    def forward(
        self, projected: Tensor, batch: SequenceBatch, generator: torch.Generator | None = None
    ) -> Tensor:
        """(B,) forecasts; with a generator some of z is dropped, as in training."""
        z = self.represent(projected, batch)
        if generator is not None and self.dropout > 0:
            kept = torch.rand(z.shape, generator=generator, device=z.device, dtype=z.dtype) >= self.dropout
            z = z * kept / (1 - self.dropout)
        return z @ self.weight[0] + self.bias[0]


class Linear(nn.Module):
    """W x + b."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = uniform(outputs, inputs, fan_in=inputs)
        self.bias = uniform(outputs, fan_in=inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(..., outputs)"""
        return nn.functional.linear(x, self.weight, self.bias)
