"""Returns of published factors: what alphas are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from seqpricing_core.errors import InputError

FACTORS: Final = ("market", "smb", "hml", "rmw", "cma", "momentum")
OTHER_NAMES: Final = {
    "date": "month", "Date": "month", "Mkt-RF": "market", "MktRF": "market", "market_excess": "market",
    "SMB": "smb", "HML": "hml", "RMW": "rmw", "CMA": "cma",
    "Mom": "momentum", "MOM": "momentum", "UMD": "momentum", "RF": "risk_free",
}  # fmt: skip
"""Kenneth French's column names, and the canonical ``factors`` table's, in our words."""


@dataclass(frozen=True)
class FactorReturns:
    """Monthly factor returns, decimal; the market in excess of the risk-free rate, the others long-short.

    Only the market is required: a simulated market has no other factor. A factor that a source lacks is
    absent, never zero, and what needs it says so.
    """

    table: pl.DataFrame
    """``month`` (month end, ascending, unique), ``market``, what there is of `FACTORS` and ``risk_free``."""

    @classmethod
    def from_table(cls, table: pl.DataFrame, where: str = "factor returns") -> FactorReturns:
        """From a table in our names, in Kenneth French's, or the canonical ``factors`` table.

        Dates may be any day of their month. A null is a month without that factor.

        Raises
        ------
        InputError
            No month or market column, a month twice, a value not finite, returns in percent.
        """
        renamed = table.rename({k: v for k, v in OTHER_NAMES.items() if k in table.columns})
        if missing := [c for c in ("month", "market") if c not in renamed.columns]:
            raise InputError(
                f"missing column(s): {', '.join(missing)}",
                where=f"{where} (its columns: {', '.join(table.columns)})",
                expected=f"month and market, and what there is of {', '.join(FACTORS[1:])}, risk_free",
                remedy="add or rename the columns; Kenneth French's names are understood",
            )
        known = [name for name in (*FACTORS, "risk_free") if name in renamed.columns]
        chosen = renamed.select(
            _month_ends(renamed["month"], where), pl.col(known).cast(pl.Float64)
        ).sort("month")  # fmt: skip
        _refuse_bad_values(chosen, where)
        # A column that holds nothing is a factor the source lacks.
        return cls(chosen.select(c for c in chosen.columns if c == "month" or chosen[c].count()))

    @classmethod
    def from_file(cls, path: Path) -> FactorReturns:
        """Read parquet or CSV."""
        try:
            table = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(
                f"the factor file cannot be read: {error}",
                where=str(path),
                expected="a parquet or CSV file of monthly factor returns",
                remedy="correct the path or replace the file",
            ) from error
        return cls.from_table(table, str(path))

    @property
    def factors(self) -> tuple[str, ...]:
        return tuple(name for name in FACTORS if name in self.table.columns)

    def lacking(self, factors: Sequence[str]) -> tuple[str, ...]:
        """Those of ``factors`` that this source does not have."""
        return tuple(name for name in factors if name not in self.table.columns)


def _month_ends(column: pl.Series, where: str) -> pl.Series:
    text = column.dtype == pl.String
    dates = column.str.to_date(strict=False) if text else column
    if not dates.dtype.is_temporal() or dates.null_count():
        first = column.filter(dates.is_null())[0] if dates.null_count() else column[0]
        raise InputError(
            f"the month {first!r} is no date",
            where=f"{where}, column month",
            expected="dates, or text such as 1963-07-31, any day of the month",
            remedy="convert the column",
        )
    return dates.cast(pl.Date).dt.month_end().alias("month")


def _refuse_bad_values(table: pl.DataFrame, where: str) -> None:
    twice = table.filter(table["month"].is_duplicated())
    if len(twice):
        raise InputError(
            "a month stands more than once",
            where=f"{where}, month {twice['month'][0]}",
            expected="each month once",
            remedy="drop the second row",
        )
    for name in table.columns[1:]:
        bad = table.filter(~pl.col(name).is_finite())
        if len(bad):
            raise InputError(
                f"{name} is {bad[name][0]}",
                where=f"{where}, month {bad['month'][0]}",
                expected="a finite decimal return, or nothing",
                remedy="correct the value, or leave it empty",
            )
    typical = table["market"].abs().median()
    if isinstance(typical, float) and typical > 0.3:
        raise InputError(
            f"half of the market returns are beyond {typical:.2f} a month",
            where=f"{where}, column market",
            expected="decimal returns: 0.01 is one percent",
            remedy="divide the columns by 100: Kenneth French's files are in percent",
        )
