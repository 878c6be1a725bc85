"""Macro series as models read them: by the month they may be used for, not the month they describe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from seqpricing_core.months import Months, months_of
from seqpricing_core.panel.panel import Float64


@dataclass(frozen=True)
class MacroSeries:
    """Stationary macro series of consecutive months, M series.

    **Timing.** The row of month t holds what was known at the end of t-1: publication lags are already in it
    (`sources.macro`). A forecast of month t may therefore use rows up to t, and no later one.
    """

    names: tuple[str, ...]
    months: Months
    """(S,) the months t, consecutive."""
    values: Float64
    """(S, M) after the transformation to stationarity, in the units of the source; not standardised."""

    def __post_init__(self) -> None:
        if (np.diff(self.months.astype(np.int64)) != 1).any():
            raise ValueError(f"macro series must be of consecutive months. Got {self.months}")

    def between(self, first_year: int, last_year: int) -> MacroSeries:
        """The months of whole years."""
        years = self.months.astype("datetime64[Y]").astype(int) + 1970
        keep = slice(*np.searchsorted(years, [first_year, last_year + 1]))
        return MacroSeries(self.names, self.months[keep], self.values[keep])

    @classmethod
    def from_table(cls, table: pl.DataFrame) -> MacroSeries:
        """From what `sources.macro.read_macro` delivers, years below each other."""
        names = tuple(name for name in table.columns if name != "month")
        return cls(names, months_of(table["month"]), table.select(names).to_numpy().astype(np.float64))
