"""A sample as tensors: stock-months month by month, their Gram matrices, and x up to each month."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqpricing_core.nn.losses import Pass
from seqpricing_core.panel.panel import Sample

PERCENT = 100.0
"""Networks see returns in percent. The l1 penalties of *memory*'s table .8 presuppose it: with decimal
returns the mean squared error is about 0.015 and the smallest penalty would cost more than any model
can gain. It also brings x to a scale on which recurrent cells respond."""


@dataclass(frozen=True)
class Batch:
    """Some months of a sample, in the order in which they were drawn."""

    stocks: Pass
    """[z 1] and r of each month; views, nothing is copied"""
    gram: Tensor
    """(B, P+1, P+1) float64, [Z 1]'[Z 1]"""
    cross: Tensor
    """(B, P+1) float64, [Z 1]'r"""
    squares: Tensor
    """(B,) float64, r'r"""
    x: Tensor
    """(S, Q) percent, all months of x that the sample holds"""
    ends: Tensor
    """(B,) position of each month in x"""
    count: int
    """Stock-months"""


class TrainingMonths:
    """The stock-months of a sample that have a return, held once, batches by reference.

    Characteristics are held in ``precision``, everything else in ``dtype``.
    """

    def __init__(
        self,
        sample: Sample,
        device: torch.device,
        block_mib: int,
        dtype: torch.dtype = torch.float32,
        precision: torch.dtype | None = None,
    ) -> None:
        panel = sample.panel.with_returns()
        n, width = panel.characteristics.shape
        z = torch.ones(n, width + 1, dtype=dtype)
        z.numpy()[:, :width] = panel.characteristics
        r = torch.from_numpy(panel.excess_return * PERCENT)
        rows = [panel.rows(t) for t in range(len(sample))]
        grams = [(z[t].double().mT @ z[t].double(), z[t].double().mT @ r[t], r[t] @ r[t]) for t in rows]
        self.gram, self.cross, self.squares = (
            torch.stack(parts).to(device) for parts in zip(*grams, strict=True)
        )
        z, r = z.to(device, precision or dtype), r.to(device, dtype)
        self.months = [(z[t], r[t]) for t in rows]
        self.sizes = np.diff(panel.offsets)
        self.x = torch.from_numpy(sample.managed.x * PERCENT).to(device, dtype)
        self._first = sample.lookback
        self._block = block_mib * 2**20 // z.element_size()

    def __len__(self) -> int:
        """Months."""
        return len(self.months)

    @property
    def total(self) -> int:
        """Stock-months."""
        return int(self.sizes.sum())

    def batch(self, months: npt.NDArray[np.int64]) -> Batch:
        """The months at these positions."""
        index = torch.from_numpy(months).to(self.x.device)
        return Batch(
            stocks=Pass([self.months[t] for t in months], self._block),
            gram=self.gram[index],
            cross=self.cross[index],
            squares=self.squares[index],
            x=self.x,
            ends=index + self._first,
            count=int(self.sizes[months].sum()),
        )
