"""What every source delivers: the canonical tables, year by year."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import polars as pl


class RawTables(Protocol):
    """An opened source. Rows of a year, checked against `seqpricing_core.tables`."""

    def files(self) -> list[Path]:
        """The files that everything else is computed from; their content is the data's fingerprint."""
        ...

    def stock_months(self, year: int) -> pl.DataFrame:
        """Months of ``year``."""
        ...

    def statements(self, year: int) -> pl.DataFrame:
        """Statements that became public in ``year``."""
        ...

    def factors(self, year: int) -> pl.DataFrame:
        """Months of ``year``."""
        ...

    def stock_days(self, year: int) -> pl.DataFrame | None:
        """Trading days of ``year``; None if the source has no days at all."""
        ...

    def factor_days(self, year: int) -> pl.DataFrame | None:
        """Trading days of ``year``; None if the source has no daily factors at all."""
        ...

    def inputs(self) -> frozenset[str]:
        """What the source fills, whatever the year: decides which characteristics there can be.

        Names of tables and columns other than keys: ``stock_months.sic``, ``stock_days.bid``,
        ``factor_days.size``, ``statements.inventory``, and ``statements.quarterly`` or ``statements.annual``.
        """
        ...
