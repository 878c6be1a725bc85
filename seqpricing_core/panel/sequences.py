"""A second index of the panel, (asset, month) -> row: sequences are gathered by it, never copied out.

A month's window of L months is L row numbers; the characteristics stay where they are, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from seqpricing_core.months import Months
from seqpricing_core.panel.panel import Int64

Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]
ABSENT = -1


@dataclass(frozen=True)
class Windows:
    """Rows of the last L months of some stocks, oldest month first; `ABSENT` where a month has no data."""

    rows: Int32
    """(B, L)"""

    @property
    def observed(self) -> Bool:
        """(B, L) months with data."""
        observed: Bool = self.rows != ABSENT
        return observed

    @cached_property
    def lengths(self) -> Int64:
        """(B,) number of months with data."""
        lengths: Int64 = np.count_nonzero(self.rows != ABSENT, axis=1).astype(np.int64)
        return lengths

    def aligned(self) -> Int32:
        """(B, L) the same, months with data moved to the end in their order: gaps are closed."""
        if int(self.lengths.sum()) == self.rows.size:
            return self.rows
        order = np.argsort(self.rows != ABSENT, axis=1, kind="stable")
        return np.take_along_axis(self.rows, order, axis=1)


@dataclass(frozen=True)
class SequenceIndex:
    """Where each asset's month is among the rows of a panel that is sorted by month, then asset."""

    table: Int32
    """(assets, T) row, or `ABSENT`; calendar months, whether or not the panel has rows in them"""
    asset: Int32
    """(n,) place in the table of each row's asset"""
    month: Int32
    """(n,) place of each row's month"""

    @classmethod
    def of(cls, months: Months, offsets: Int64, asset_id: Int64) -> SequenceIndex:
        """The index of n rows.

        Parameters
        ----------
        months
            (S,) ascending; a month between them that is left out has no data for anybody.
        offsets
            (S+1,) rows of each month.
        asset_id
            (n,)
        """
        assets, asset = np.unique(asset_id, return_inverse=True)
        place = (months - months[0]).astype(np.int32) if len(months) else np.empty(0, np.int32)
        month = np.repeat(place, np.diff(offsets)).astype(np.int32)
        table = np.full((len(assets), int(place[-1]) + 1 if len(place) else 0), ABSENT, dtype=np.int32)
        table[asset, month] = np.arange(len(asset_id), dtype=np.int32)
        return cls(table, asset.astype(np.int32), month)

    @property
    def nbytes(self) -> int:
        """Memory of the index."""
        return self.table.nbytes + self.asset.nbytes + self.month.nbytes

    def windows(self, rows: npt.NDArray[np.integer], lookback: int) -> Windows:
        """The ``lookback`` months up to each of ``rows`` (B,), its own month the last."""
        months = self.month[rows][:, None] + np.arange(1 - lookback, 1, dtype=np.int32)
        found = self.table[self.asset[rows][:, None], np.maximum(months, 0)]
        found[months < 0] = ABSENT
        return Windows(found)
