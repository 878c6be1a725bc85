"""A plain panel of your own: one parquet or CSV file with stocks, months, returns and characteristics, by
your names.

Where to get it: it is yours. ``columns`` gives your names for ``asset_id`` (a whole number), ``month``,
``ret`` and, where there, ``market_equity`` (USD) and the other columns of `tables.STOCK_MONTHS`;
``characteristics`` gives those of the characteristics. ``month: priced`` says that a row pairs
characteristics with the return they price (their month is then the one before); ``month: known`` that both
are of one month, and the return of the next month is priced.

``returns: percent`` divides by 100; ``excess_returns: true`` adds the risk-free rate back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import polars as pl
import pyarrow as pa

from seqpricing_core.errors import InputError
from seqpricing_core.source_configs import MappedFilesSource
from seqpricing_core.sources.french import FactorFiles
from seqpricing_core.sources.ready_characteristics import ReadyCharacteristicFiles, ReadyTable
from seqpricing_core.sources.return_files import ReturnFile
from seqpricing_core.sources.vendor_files import as_days, read_batches, refuse_duplicates, require_decimal
from seqpricing_core.sources.year_files import YearFiles
from seqpricing_core.tables import STOCK_MONTHS, check_table, required_columns

_KINDS = {pl.Float64: pa.float64(), pl.Int32: pa.float64(), pl.Int64: pa.float64(), pl.Boolean: pa.bool_()}


@dataclass(frozen=True)
class MappedReturns(ReturnFile):
    """Stock months from a file with a column map."""

    date: ClassVar[str] = "month"

    columns: tuple[tuple[str, str], ...] = ()
    """Ours, theirs."""
    percent: bool = False
    factors: FactorFiles | None = None
    """Risk-free rates to add to excess returns."""

    @property
    def years(self) -> YearFiles:
        return YearFiles(self.folder, (self.path,), str(self.columns))

    @cached_property
    def _named(self) -> dict[str, str]:
        return {theirs: ours for ours, theirs in self.columns}

    def inputs(self) -> set[str]:
        return {f"stock_months.{ours}" for ours, _ in self.columns if ours not in ("asset_id", "month")}

    def _batches(self) -> Iterator[pl.DataFrame]:
        types = {ours: STOCK_MONTHS.columns[ours].dtype.type for ours, _ in self.columns}
        kinds = {theirs: _KINDS.get(types[ours], pa.string()) for ours, theirs in self.columns}
        for batch in read_batches(self.path, kinds):
            rows = batch.rename(self._named)
            rows = rows.with_columns(as_days(rows["month"], str(self.path)).dt.month_end())
            yield rows.with_columns(
                pl.col(ours).cast(kind)
                for ours, kind in types.items()
                if ours != "month" and kind != pl.String
            )

    def months(self, year: int) -> pl.DataFrame:
        where = f"{self.path}, {year}"
        rows = self.years.read(year)
        kinds = {name: STOCK_MONTHS.columns[name].dtype.type for name in required_columns(STOCK_MONTHS)}
        if rows is None:
            rows = pl.DataFrame(schema=kinds)
        refuse_duplicates(rows, ["asset_id", "month"], where)
        if self.percent:
            rows = rows.with_columns(pl.col("ret") / 100)
        require_decimal(rows, "ret", "month", where)
        if self.factors is not None:
            rows = (
                rows.join(self.factors.months(year).select("month", "risk_free"), on="month", how="left")
                .with_columns(pl.col("ret") + pl.col("risk_free"))
                .drop("risk_free")
            )
        lacking = [name for name in kinds if name not in rows.columns]
        return check_table(
            rows.with_columns(pl.lit(None, dtype=kinds[name]).alias(name) for name in lacking),
            STOCK_MONTHS,
            where,
        )


def open_mapped_files(source: MappedFilesSource, folder: Path) -> ReadyCharacteristicFiles:
    """``folder`` takes the file cut by year, once for returns and once for characteristics."""
    unknown = [ours for ours in source.columns if ours not in STOCK_MONTHS.columns]
    lacking = [ours for ours in ("asset_id", "month", "ret") if ours not in source.columns]
    if unknown or lacking:
        raise InputError(
            f"unknown column '{unknown[0]}'" if unknown else f"no column for '{lacking[0]}'",
            where="the study file, key source.columns",
            expected=f"asset_id, month, ret and any of {', '.join(STOCK_MONTHS.columns)}",
            remedy="write our name, a colon, your name; characteristics stand under source.characteristics",
        )
    table = ReadyTable(
        source.panel,
        folder / "characteristics_by_year",
        asset=source.columns["asset_id"],
        date=source.columns["month"],
        names={theirs: ours for ours, theirs in source.characteristics.items()},
        months_until_known=-1 if source.month == "priced" else 0,
    )
    factors = FactorFiles(source.factors)
    returns = MappedReturns(
        source.panel,
        folder / "returns_by_year",
        tuple(source.columns.items()),
        percent=source.returns == "percent",
        factors=factors if source.excess_returns else None,
    )
    return ReadyCharacteristicFiles(table, returns, factors)
