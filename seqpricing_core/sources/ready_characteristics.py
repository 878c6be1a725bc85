"""Sources that deliver characteristics ready-made, and what such sources have in common.

A ready characteristic is taken as it is, at the month its source states; nothing of it is computed here.
Returns come from a file of monthly returns, risk-free rates from a file of factors; there are no statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl
import pyarrow as pa

from seqpricing_core.errors import InputError
from seqpricing_core.sources.french import FactorFiles
from seqpricing_core.sources.return_files import ReturnFile
from seqpricing_core.sources.vendor_files import as_days, read_batches, refuse_duplicates
from seqpricing_core.sources.year_files import YearFiles
from seqpricing_core.tables import STATEMENTS, check_table, with_optional_columns


@runtime_checkable
class ReadyCharacteristics(Protocol):
    """A source that also delivers characteristics."""

    def characteristics(self, year: int) -> pl.DataFrame:
        """``asset_id, month`` and one Float64 column per characteristic, null where missing; ``month`` lies
        in ``year``, and its end is when the row is known.
        """
        ...


@dataclass(frozen=True)
class ReadyTable:
    """One large file of characteristics by stock and month, cut by year into ``folder``."""

    path: Path
    folder: Path
    asset: str
    """The file's column of stocks,"""
    date: str
    """and that of dates."""
    names: dict[str, str]
    """Column of the file to characteristic."""
    months_until_known: int
    """Added to the date's month to get the month at whose end the row is known: -1 where the date is that of
    the return which the row prices."""

    @property
    def years(self) -> YearFiles:
        settings = f"{self.asset} {self.date} {self.names} {self.months_until_known}"
        return YearFiles(self.folder, (self.path,), settings)

    def prepare(self) -> None:
        if not self.years.is_current():
            self.years.write(self._batches(), "month")

    def _batches(self) -> Iterator[pl.DataFrame]:
        kinds = {self.asset: pa.float64(), self.date: pa.string()} | dict.fromkeys(self.names, pa.float64())
        for batch in read_batches(self.path, kinds):
            days = as_days(batch[self.date], str(self.path))
            month = days.dt.month_start().dt.offset_by(f"{self.months_until_known}mo").dt.month_end()
            rows = batch.with_columns(month.alias("__month")).drop_nulls([self.asset, "__month"])
            yield rows.select(
                pl.col(self.asset).cast(pl.Int64).alias("asset_id"),
                pl.col("__month").alias("month"),
                *(
                    pl.when(pl.col(theirs).is_finite()).then(pl.col(theirs)).alias(ours)
                    for theirs, ours in self.names.items()
                ),
            )

    def rows(self, year: int) -> pl.DataFrame:
        found = self.years.read(year)
        if found is None:
            kinds: dict[str, type[pl.DataType]] = {"asset_id": pl.Int64, "month": pl.Date}
            return pl.DataFrame(schema=kinds | dict.fromkeys(self.names.values(), pl.Float64))
        refuse_duplicates(found, ["asset_id", "month"], f"{self.path}, known in {year}")
        return found.sort("month", "asset_id")


@dataclass(frozen=True)
class ReadyCharacteristicFiles:
    """Characteristics, returns and factors from three files: a source."""

    table: ReadyTable
    returns: ReturnFile
    factor_files: FactorFiles
    last_return: str | None = None
    """A characteristic that is the return of the month it is known at the end of: proves the dates."""

    def prepare(self) -> None:
        """Cut the large files by year, once; check what their dates mean."""
        self.table.prepare()
        self.returns.prepare()
        self._check_dates()

    def files(self) -> list[Path]:
        return [self.table.path, self.returns.path, *self.factor_files.files()]

    def characteristics(self, year: int) -> pl.DataFrame:
        return self.table.rows(year)

    def stock_months(self, year: int) -> pl.DataFrame:
        return self.returns.months(year)

    def statements(self, year: int) -> pl.DataFrame:
        """None: the characteristics are there already."""
        required = {name: column.dtype.type for name, column in STATEMENTS.columns.items() if column.required}
        return check_table(
            with_optional_columns(pl.DataFrame(schema=required), STATEMENTS), STATEMENTS, str(year)
        )

    def factors(self, year: int) -> pl.DataFrame:
        return self.factor_files.months(year)

    def stock_days(self, year: int) -> None:
        """There are none."""

    def factor_days(self, year: int) -> pl.DataFrame | None:
        return self.factor_files.days(year)

    def inputs(self) -> frozenset[str]:
        return frozenset(self.returns.inputs() | self.factor_files.inputs())

    def _check_dates(self) -> None:
        """Refuse dates by which a row would know the return it prices.

        The last month's return stands among the characteristics. If it equals the return of the month after
        the one at whose end the row is said to be known, the row is later than the study says.
        """
        for year in self._sampled_years:
            known = self.characteristics(year)
            returns = self.stock_months(year).select("asset_id", "month", "ret")
            agree = {
                months: _agreement(known, returns, self.last_return or "", months) for months in (-1, 0, 1)
            }
            best = max(agree, key=lambda months: agree[months])
            if best != 0 and agree[best] > 0.8 and agree[best] > agree[0] + 0.3:
                raise InputError(
                    f"'{self.last_return}' is the return of the month "
                    + ("after" if best > 0 else "before")
                    + " the one the row is said to be known at the end of"
                    + (": a look into the future" if best > 0 else ""),
                    where=f"{self.table.path}, {year}: equal to that return in {agree[best]:.0%} of rows, "
                    f"to the return of the stated month in {agree[0]:.0%}",
                    expected="the last month's return at the month in which it is known",
                    remedy="change `month` in the study file between 'priced' and 'known'",
                )

    @cached_property
    def _sampled_years(self) -> list[int]:
        if self.last_return is None:
            return []
        both = sorted(set(self.table.years.years()) & set(self.returns.years.years()))
        return both[:: max(1, len(both) // 3)][:4]


def _agreement(known: pl.DataFrame, returns: pl.DataFrame, name: str, months: int) -> float:
    """Share of rows whose characteristic is the return ``months`` after the row's month."""
    moved = known.select(
        "asset_id", pl.col("month").dt.offset_by(f"{months}mo").dt.month_end(), pl.col(name).alias("value")
    )
    pairs = moved.join(returns, on=["asset_id", "month"]).drop_nulls()
    if len(pairs) < 10:
        return 0.0
    return float((pairs["value"] - pairs["ret"]).abs().lt(2e-4).mean() or 0.0)  # type: ignore[arg-type]
