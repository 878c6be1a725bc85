"""Daily prices of free vendors: one file per ticker in a folder, or one long file; CSV, zip or parquet.

Where to get it: any vendor of daily bars (Stooq's bulk files, Yahoo exports, the "Huge Stock Market Dataset"
on Kaggle; ``<ticker>.us.txt`` is that set's naming) with ``Date, Open, High, Low, Close, Volume``, and
``ticker`` in a long file. Name other columns in ``columns``, ``adjusted_close`` among them: returns then come
from it, prices from ``close``. Statements come from the SEC (`sec_statements`), factors from Kenneth French
(`french`).

Returns are those of consecutive trading days; over a gap of more than ten days there is none. A month's
return compounds its days, and is missing for the month in which a stock begins. No delisting returns: these
vendors have none, and most have few firms that died (survivorship).

Prices as they traded (``adjusted: false``) are put on one basis with the ``splits`` given. Market equity is
price times the newest filed shares; it needs ``splits`` too, to bring shares to the basis of the prices, and
prices that are not adjusted for dividends. Without, there is no market equity, and a universe must not
require size.

Dropped: rows without a positive close; days of a ticker before 1900. A day that stands twice is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
import pyarrow as pa

from seqpricing_core.errors import InputError
from seqpricing_core.source_configs import DailyFilesSource
from seqpricing_core.sources.daily_aggregates import aggregate_days
from seqpricing_core.sources.french import FactorFiles
from seqpricing_core.sources.public_files import asset_ids
from seqpricing_core.sources.sec_statements import read_statements, source_files
from seqpricing_core.sources.vendor_files import as_days, column_names, read_batches, refuse_duplicates
from seqpricing_core.sources.year_files import YearFiles
from seqpricing_core.storage import collect_table, require_columns, scan_table
from seqpricing_core.tables import STATEMENTS, STOCK_DAYS, STOCK_MONTHS, check_table, with_optional_columns

NAMES = {
    "ticker": "ticker", "day": "Date", "high": "High", "low": "Low", "close": "Close", "volume": "Volume",
    "adjusted_close": "Adj Close",
}  # fmt: skip
SUFFIXES = (".us.txt", ".csv.gz", ".parquet", ".csv", ".txt", ".zip")
LONGEST_GAP_DAYS = 10


@dataclass(frozen=True)
class DailyFiles:
    """Stock days and, from them, stock months."""

    source: DailyFilesSource
    folder: Path

    def files(self) -> list[Path]:
        others = [self.source.factors, self.source.factor_days, self.source.splits]
        statements = source_files(self.source.statements) if self.source.statements else []
        return [*self._price_files, *statements, *(file for file in others if file is not None)]

    def prepare(self) -> None:
        """Cut the prices by year, once."""
        if not self._years.is_current():
            self._years.write(self._batches(), "day")

    def stock_days(self, year: int) -> pl.DataFrame:
        return check_table(self._days(year), STOCK_DAYS, f"{self.source.prices}, {year}")

    def stock_months(self, year: int) -> pl.DataFrame:
        days = self._days(year)
        closing = (
            days.sort("asset_id", "day")
            .group_by("asset_id", pl.col("day").dt.month_end().alias("month"), maintain_order=True)
            .agg(
                pl.when(pl.col("ret").is_not_null().all())
                .then((1 + pl.col("ret")).product() - 1)
                .alias("ret"),
                pl.col("price").last(),
                pl.col("unadjusted_price").last(),
            )
        )
        rows = closing.join(aggregate_days(days), on=["asset_id", "month"]).sort("month")
        rows = self._with_market_equity(rows)
        return check_table(rows, STOCK_MONTHS, f"{self.source.prices}, {year}")

    def statements(self, year: int) -> pl.DataFrame:
        return self._statements.filter(pl.col("available_from").dt.year() == year)

    def factors(self, year: int) -> pl.DataFrame:
        return self._factors.months(year)

    def factor_days(self, year: int) -> pl.DataFrame | None:
        return self._factors.days(year)

    def inputs(self) -> frozenset[str]:
        months = {"ret", "price", "high", "dollar_volume", "trading_days", "zero_volume_days",
                  "sum_squared_daily_returns", "maximum_daily_return", "unadjusted_price"}  # fmt: skip
        if self.source.splits and self.source.statements:
            months |= {"market_equity", "shares"}
        found = {f"stock_months.{column}" for column in months}
        found |= {
            f"stock_days.{column}" for column in ("ret", "price", "high", "low", "volume", "dollar_volume")
        }
        filled = [c for c in self._statements.columns if self._statements[c].is_not_null().any()]
        found |= {f"statements.{column}" for column in filled if column in STATEMENTS.columns}
        kinds = {3: "statements.quarterly", 12: "statements.annual"}
        found |= {kinds[months] for months in self._statements["period_months"].unique()}
        return frozenset((found | self._factors.inputs()) - {
            "statements.asset_id", "statements.period_end", "statements.available_from",
        })  # fmt: skip

    @cached_property
    def _factors(self) -> FactorFiles:
        return FactorFiles(self.source.factors, self.source.factor_days)

    @cached_property
    def _statements(self) -> pl.DataFrame:
        if self.source.statements is None:
            required = {name: c.dtype.type for name, c in STATEMENTS.columns.items() if c.required}
            return with_optional_columns(pl.DataFrame(schema=required), STATEMENTS)
        rows = read_statements(self.source.statements)
        if self._splits is None:
            return rows.with_columns(shares=pl.lit(None, dtype=pl.Float64))
        factor = self._later_splits(rows, "period_end")
        return rows.with_columns(pl.col("shares") * factor).select(rows.columns)

    @cached_property
    def _price_files(self) -> list[Path]:
        prices = self.source.prices
        if not prices.is_dir():
            return [prices]
        found = sorted(file for file in prices.iterdir() if _ticker_of(file) and file.stat().st_size)
        if not found:
            raise InputError(
                "no price file in the folder",
                where=str(prices),
                expected=f"files <ticker> with an ending of {', '.join(SUFFIXES)}",
                remedy="unpack the vendor's archive there, or correct the path",
            )
        return found

    @cached_property
    def _years(self) -> YearFiles:
        settings = f"{sorted(self.source.columns.items())}"
        return YearFiles(self.folder / "days_by_year", tuple(self._price_files), settings)

    def _batches(self) -> Iterator[pl.DataFrame]:
        long = not self.source.prices.is_dir()
        for file in self._price_files:
            names = self._names(file, long=long)
            kinds = {
                theirs: pa.string() if ours in ("ticker", "day") else pa.float64()
                for ours, theirs in names.items()
            }
            for batch in read_batches(file, kinds):
                rows = batch.rename({theirs: ours for ours, theirs in names.items()})
                ticker = rows["ticker"] if long else pl.repeat(_ticker_of(file), len(rows), eager=True)
                day = as_days(rows["day"], str(file))
                yield (
                    rows.with_columns(day, asset_ids(ticker, file))
                    .select(
                        "asset_id",
                        "day",
                        *(
                            (pl.col(name) if name in names else pl.lit(None, dtype=pl.Float64)).alias(name)
                            for name in ("high", "low", "close", "volume", "adjusted_close")
                        ),
                    )
                    .filter(
                        pl.col("day") >= pl.date(1900, 1, 1), pl.col("close") > 0, pl.col("close").is_finite()
                    )
                )

    def _names(self, file: Path, *, long: bool) -> dict[str, str]:
        """Ours to theirs, of the columns that are there or must be."""
        unknown = [ours for ours in self.source.columns if ours not in NAMES]
        if unknown:
            raise InputError(
                f"unknown column '{unknown[0]}'",
                where="the study file, key source.columns",
                expected=", ".join(NAMES),
                remedy="write our name, a colon, your name",
            )
        present = {name.lower() for name in column_names(file)}
        named = NAMES | self.source.columns
        required = {"day", "close", *(["ticker"] if long else []), *self.source.columns}
        return {
            ours: theirs
            for ours, theirs in named.items()
            if ours in required or (theirs.lower() in present and ours != "ticker")
        }

    @cached_property
    def _splits(self) -> pl.DataFrame | None:
        """``asset_id, split`` (first day on the new basis) and the product of the ratios from then on."""
        file = self.source.splits
        if file is None:
            return None
        table = collect_table(require_columns(scan_table(file), ("ticker", "date", "ratio"), file), file)
        rows = table.select(
            asset_ids(table["ticker"], file),
            as_days(table["date"], str(file)).alias("split"),
            pl.col("ratio").cast(pl.Float64),
        )
        if len(rows.filter(~(pl.col("ratio") > 0))):
            raise InputError(
                "a split ratio that is not positive",
                where=str(file),
                expected="2 for two new shares per old one, 0.1 for one new share per ten old ones",
                remedy="correct the ratio",
            )
        return rows.sort("asset_id", "split")

    def _later_splits(self, rows: pl.DataFrame, day: str) -> pl.Series:
        """New shares per share of ``day``, by the splits after it."""
        splits = self._splits
        if splits is None or not len(splits):
            return pl.repeat(1.0, len(rows), eager=True)
        later = (
            rows.select("asset_id", day)
            .with_row_index("__row")
            .join(splits, on="asset_id")
            .filter(pl.col("split") > pl.col(day))
            .group_by("__row")
            .agg(pl.col("ratio").product())
        )
        index = rows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("__row"))
        return index.join(later, on="__row", how="left", maintain_order="left")["ratio"].fill_null(1.0)

    def _days(self, year: int) -> pl.DataFrame:
        """Days of a year on one basis, with returns; the first one reaches back into the year before."""
        parts = [self._years.read(y) for y in (year - 1, year)]
        rows = (
            pl.concat([part for part in parts if part is not None])
            if any(p is not None for p in parts)
            else None
        )
        if rows is None:
            rows = pl.DataFrame(schema={"asset_id": pl.Int64, "day": pl.Date} | dict.fromkeys(
                ("high", "low", "close", "volume", "adjusted_close"), pl.Float64))  # fmt: skip
        refuse_duplicates(rows, ["asset_id", "day"], f"{self.source.prices}, {year - 1} to {year}")
        rows = rows.sort("asset_id", "day")
        factor = pl.lit(1.0) if self.source.adjusted else self._later_splits(rows, "day")
        rows = rows.with_columns(factor.alias("factor"))
        for_returns = pl.coalesce("adjusted_close", pl.col("close") / pl.col("factor"))
        day_before, value_before = (
            pl.col("day").shift(1).over("asset_id"),
            for_returns.shift(1).over("asset_id"),
        )
        near = (pl.col("day") - day_before).dt.total_days() <= LONGEST_GAP_DAYS
        volume = pl.when(pl.col("volume") >= 0).then(pl.col("volume"))
        return (
            rows.with_columns(pl.when(near).then(for_returns / value_before - 1).alias("ret"))
            .filter(pl.col("day").dt.year() == year)
            .select(
                "asset_id", "day", "ret",
                (pl.col("close") / pl.col("factor")).alias("price"),
                *((pl.when(pl.col(n) > 0).then(pl.col(n)) / pl.col("factor")).alias(n) for n in ("high",
                "low")),
                (volume * pl.col("factor")).alias("volume"),
                (pl.col("close") * volume).alias("dollar_volume"),
                (pl.lit(None,
                dtype=pl.Float64) if self.source.adjusted else pl.col("close")).alias("unadjusted_price"),
            )
        )  # fmt: skip

    def _with_market_equity(self, months: pl.DataFrame) -> pl.DataFrame:
        """Price times the newest shares that were public at the month's end; not older than a year."""
        if self._splits is None or self.source.statements is None:
            return months.with_columns(pl.lit(None, dtype=pl.Float64).alias("market_equity"))
        filed = (
            self._statements.filter(pl.col("shares") > 0)
            .sort("available_from", "period_end")
            .select("asset_id", "available_from", "shares")
        )
        return (
            months.join_asof(
                filed, left_on="month", right_on="available_from", by="asset_id", tolerance="366d",
                check_sortedness=False,
            )
            .with_columns(market_equity=pl.col("price") * pl.col("shares"))
            .drop("available_from")
        )  # fmt: skip


def _ticker_of(file: Path) -> str | None:
    return next((file.name.removesuffix(end) for end in SUFFIXES if file.name.endswith(end)), None)
