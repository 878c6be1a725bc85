"""Monthly returns as WRDS's web query exports them: one CSV, zip or parquet of CRSP's monthly stock file.

Where to get it: WRDS, CRSP, Stock / Monthly, with PERMNO, date, RET and, if they can be had, PERMCO, PRC,
SHROUT, VOL, CFACPR, CFACSHR, ASKHI, SHRCD, EXCHCD, SICCD, DLSTCD, DLRET; or the current layout's MthCalDt,
MthRet, MthPrc, MthCap and so on, whose returns hold the delisting return. Letters for missing returns (B, C)
and -66 to -99 are missing. Returns must be decimal.

Dropped: rows that repeat another in every column (exports with several events in a month). Two rows of a
month that differ are refused.
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
from seqpricing_core.sources import crsp
from seqpricing_core.sources.delisting import with_delisting_returns
from seqpricing_core.sources.vendor_files import (
    as_days,
    column_names,
    read_batches,
    refuse_duplicates,
    require_decimal,
)
from seqpricing_core.sources.year_files import YearFiles
from seqpricing_core.tables import STOCK_MONTHS, check_table

LEGACY = {
    "permno": "asset_id", "date": "day", "ret": "ret", "permco": "company_id", "prc": "prc",
    "askhi": "prc_high",
    "shrout": "outstanding", "vol": "volume", "cfacpr": "price_factor", "cfacshr": "share_factor",
    "exchcd": "exchange", "shrcd": "common_share", "siccd": "sic", "dlstcd": "delisting_code",
    "dlret": "delisting_return",
}  # fmt: skip
CURRENT = {
    "permno": "asset_id", "mthcaldt": "day", "mthret": "ret", "permco": "company_id", "mthprc": "prc",
    "mthcap": "capitalisation", "shrout": "outstanding", "mthvol": "volume", "mthcumfacpr": "price_factor",
    "mthcumfacshr": "share_factor", "primaryexch": "exchange", "siccd": "sic",
}  # fmt: skip
TEXT = ("day", "exchange_letter")


@dataclass(frozen=True)
class ReturnFile:
    """Stock months from one file of returns, cut by year into ``folder``."""

    date: ClassVar[str] = "day"
    """The column that decides the year."""

    path: Path
    folder: Path

    @property
    def years(self) -> YearFiles:
        return YearFiles(self.folder, (self.path,))

    @cached_property
    def _named(self) -> dict[str, str]:
        """Columns of the file that are known, to ours."""
        found = {name.lower(): name for name in column_names(self.path)}
        known = CURRENT if "mthret" in found else LEGACY
        lacking = [
            name for name, ours in known.items() if ours in ("asset_id", "day", "ret") and name not in found
        ]
        if lacking:
            raise InputError(
                f"missing column{'s' if len(lacking) > 1 else ''}: {', '.join(lacking)}",
                where=f"{self.path} (its columns: {', '.join(found.values())})",
                expected="permno, date and ret (or permno, MthCalDt and MthRet)",
                remedy="export these columns too",
            )
        return {found[name]: ours for name, ours in known.items() if name in found}

    def prepare(self) -> None:
        if not self.years.is_current():
            self.years.write(self._batches(), self.date)

    def _batches(self) -> Iterator[pl.DataFrame]:
        named = self._named
        text = {theirs for theirs, ours in named.items() if ours == "day" or theirs.lower() == "primaryexch"}
        kinds = {theirs: pa.string() if theirs in text else pa.float64() for theirs in named}
        for batch in read_batches(self.path, kinds):
            rows = batch.rename(named)
            rows = rows.with_columns(as_days(rows["day"], str(self.path)))
            yield rows.with_columns(pl.col("asset_id").cast(pl.Int64)).drop_nulls("asset_id")

    def inputs(self) -> set[str]:
        have = set(self._named.values())
        needs = {
            "ret": {"ret"}, "price": {"prc"}, "unadjusted_price": {"prc"}, "high": {"prc_high"},
            "market_equity": {"prc", "outstanding"}, "dollar_volume": {"prc", "volume"},
            "shares": {"outstanding"},
            "exchange": {"exchange"}, "common_share": {"common_share"}, "sic": {"sic"},
            "company_id": {"company_id"},
            "delisting_code": {"delisting_code"},
        }  # fmt: skip
        return {f"stock_months.{column}" for column, sources in needs.items() if sources <= have}

    def months(self, year: int) -> pl.DataFrame:
        """Canonical stock months; columns that the file lacks are null."""
        rows = self._rows(year)
        before = self._rows(year - 1).filter(pl.col("day").dt.month() == 12)
        where = f"{self.path}, {year}"
        require_decimal(rows, "ret", "day", where)
        both = pl.concat([before, rows])
        months = crsp.canonical_months(both)
        refuse_duplicates(months, ["asset_id", "month"], where)
        left = both.filter(pl.col("delisting_code").is_not_null()).select(
            "asset_id",
            pl.col("day").dt.month_end().alias("month"),
            "delisting_code",
            pl.when(pl.col("delisting_return") >= -1)
            .then(pl.col("delisting_return"))
            .alias("delisting_return"),
        )
        total = with_delisting_returns(months, left).filter(pl.col("month").dt.year() == year)
        return check_table(crsp.with_daily_columns(total, None), STOCK_MONTHS, where)

    def _rows(self, year: int) -> pl.DataFrame:
        """Rows of a year in CRSP's signs and single shares, every known column there."""
        found = self.years.read(year)
        layout: dict[str, type[pl.DataType]] = dict.fromkeys([*LEGACY.values(), "capitalisation"], pl.Float64)
        layout |= {"asset_id": pl.Int64, "day": pl.Date}
        letters = "mthret" in {name.lower() for name in self._named}
        if letters:
            layout["exchange"] = pl.String
        rows = pl.DataFrame(schema=layout) if found is None else found
        rows = rows.unique(maintain_order=True).with_columns(
            pl.lit(None, dtype=kind).alias(name) for name, kind in layout.items() if name not in rows.columns
        )
        hundred = 1.0 if letters else 100.0
        return rows.select(
            "asset_id", "day", "ret", "prc", "prc_high", "price_factor", "share_factor", "delisting_return",
            pl.col("company_id", "delisting_code").cast(pl.Int64),
            pl.col("capitalisation") * 1000.0,
            pl.col("outstanding") * 1000.0,
            pl.col("volume") * hundred,
            crsp.exchange_of_letter("exchange") if letters else crsp.exchange_of_code("exchange"),
            pl.when(pl.col("common_share").is_not_null())
            .then(pl.col("common_share").cast(pl.Int64).is_in(crsp.COMMON_SHARE_CODES)).alias("common_share"),
            crsp.sic("sic"),
        )  # fmt: skip
