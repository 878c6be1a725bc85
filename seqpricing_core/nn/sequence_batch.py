"""Windows as networks take them: stock-months once, and where each window has its months."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqpricing_core.nn.packed import Packed
from seqpricing_core.panel.panel import Int64
from seqpricing_core.panel.sequences import Windows


@dataclass(frozen=True)
class SequenceBatch:
    """Windows, those with most months first. What they hold is looked up in a table of stock-months."""

    rows: Tensor
    """(B, L) int64, row of each month of the window in the table; 0 where there is none"""
    observed: Tensor
    """(B, L) bool"""
    packed: Packed
    index: Tensor
    """(A,) the same rows step after step, months without data left out, see `recurrent_layers`"""
    complete: bool
    """No month is missing in any window"""

    @classmethod
    def of(cls, windows: Windows, device: torch.device) -> SequenceBatch:
        """Windows must come with their lengths descending; rows are those of the table."""
        observed, aligned, lengths = windows.observed, windows.aligned(), windows.lengths
        lookback = observed.shape[1]
        sizes = np.searchsorted(-lengths, np.arange(-lookback, 0), side="right")
        complete = bool(observed.all())
        index = aligned.T.ravel() if complete else np.concatenate(
            [aligned[:size, step] for step, size in enumerate(sizes)]
        )  # fmt: skip
        rows = windows.rows if complete else np.where(observed, windows.rows, 0)
        return cls(
            torch.from_numpy(rows.astype(np.int64)).to(device),
            torch.from_numpy(observed).to(device),
            Packed(tuple(sizes.tolist())),
            torch.from_numpy(index.astype(np.int64)).to(device),
            complete,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def unpack(self, states: Tensor) -> Tensor:
        """(B, L, H) from packed (A, H); zeros before a window's first month. Gaps stay closed."""
        lookback, count = len(self.packed.sizes), len(self)
        full = states.new_zeros(lookback * count, states.shape[1])
        places = torch.cat(
            [torch.arange(size, device=states.device) + k * count for k, size in enumerate(self.packed.sizes)]
        )
        return full.index_copy(0, places, states).view(lookback, count, -1).transpose(0, 1)

    @property
    def reached(self) -> Tensor:
        """(B, L) bool, steps that hold a month once gaps are closed."""
        lengths = self.observed.sum(1, keepdim=True)
        steps = torch.arange(self.observed.shape[1], 0, -1, device=lengths.device)
        return steps <= lengths

    def first_rows(self) -> Tensor:
        """(B,) packed row of each window's first month with data."""
        starts = torch.tensor(self.packed.starts, device=self.rows.device)
        first = self.observed.shape[1] - self.observed.sum(1)
        return starts[first] + torch.arange(len(self), device=self.rows.device)


def longest_first(lengths: Int64) -> Int64:
    """Order by number of months, descending; equal ones keep theirs."""
    return np.argsort(-lengths, kind="stable")


def renumbered(windows: Windows, scratch: npt.NDArray[np.int32]) -> tuple[Windows, Int64]:
    """Windows over the table of only those rows that they hold, and these rows (S,).

    Parameters
    ----------
    scratch
        (n,) of any content; overwritten.
    """
    flat = windows.rows.ravel()
    held = np.flatnonzero(flat >= 0)
    values = flat[held]
    scratch[values] = held  # of equal rows the last one wins
    unique = values[scratch[values] == held]
    scratch[unique] = np.arange(len(unique), dtype=np.int32)
    places = np.full(flat.shape, -1, dtype=np.int32)
    places[held] = scratch[values]
    return Windows(places.reshape(windows.rows.shape)), unique.astype(np.int64)
