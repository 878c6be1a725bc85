"""Free public files: monthly price aggregates, quarterly statements, monthly factors.

Three files (parquet or CSV), as they circulate on public repositories:

- prices: one row per ticker and month (``ticker, Date, High, Close, Volume, n_days,
  n_zero_volume_days, sum_sq_daily_ret, max_daily_ret``), reduced from the "Huge Stock Market Dataset"
  (B. Marjanovic, Kaggle; split- and dividend-adjusted daily US prices);
- statements: the quarterly files that stockpup.com published, stacked, with a ``ticker`` column;
- factors: ``date, Mkt-RF, RF``, decimal, from Kenneth French's data library;
- optionally the index membership intervals of github.com/fja05680/sp500 (``ticker, start_date,
  end_date``): a stock then counts only while it was a member.

These price files hold mostly firms that were alive when they were made: an average return read from
them is not a finding (survivorship). Closes are adjusted for dividends paid later, and with them the level of
dollar volume: a mild look-ahead of the files, which no adapter can undo.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.sources.canonical_files import as_dates, refuse_rows
from seqpricing_core.storage import collect_table, require_columns, scan_table
from seqpricing_core.study import PublicFilesSource
from seqpricing_core.tables import FACTORS, ROW, STATEMENTS, STOCK_MONTHS, check_table

PRICE_COLUMNS = (
    "ticker", "Date", "High", "Close", "Volume", "n_days", "n_zero_volume_days",
    "sum_sq_daily_ret", "max_daily_ret",
)  # fmt: skip

STATEMENT_COLUMNS = {
    "Assets": "assets",
    "Current Assets": "current_assets",
    "Liabilities": "liabilities",
    "Current Liabilities": "current_liabilities",
    "Shareholders equity": "book_equity",
    "Cash at end of period": "cash",
    "Long-term debt": "long_term_debt",
    "Revenue": "revenue",
    "Earnings": "earnings",
    "Cash from operating activities": "operating_cash_flow",
    "Capital expenditures": "capital_expenditures",
    "Shares split adjusted": "shares",
}

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz-_."
"""A ticker read as a number in this alphabet is its asset_id: no table to keep, and no id changes
when firms are added. Eleven letters fit into 63 bits."""


def asset_id_of(ticker: str) -> int:
    """'brk-b' and 'BRK.B' and 'BRK_B' are one stock."""
    number = 0
    for letter in ticker.lower().replace(".", "-").replace("_", "-"):
        number = number * (len(ALPHABET) + 1) + ALPHABET.index(letter) + 1
    return number


def ticker_of(asset_id: int) -> str:
    """The inverse of `asset_id_of`, in upper case."""
    letters = []
    while asset_id:
        asset_id, digit = divmod(asset_id, len(ALPHABET) + 1)
        letters.append(ALPHABET[digit - 1])
    return "".join(reversed(letters)).upper()


@dataclass(frozen=True)
class PublicFiles:
    """Reads the files a study names; each method says what it drops and why."""

    source: PublicFilesSource

    def files(self) -> list[Path]:
        files = [self.source.prices, self.source.statements, self.source.factors]
        if self.source.index_members:
            files.append(self.source.index_members)
        for file in files:
            scan_table(file)
        return files

    def stock_months(self, year: int) -> pl.DataFrame:
        """Returns from adjusted closes of consecutive months; market equity as `_market_equity` says.

        Dropped: months whose close is missing or not positive; months with a return above
        ``maximum_monthly_return`` (bad ticks), and the return of the way back. Without market equity:
        months outside the index, where membership is given.
        """
        return self._stock_months.filter(pl.col("month").dt.year() == year)

    def statements(self, year: int) -> pl.DataFrame:
        return self._statements.filter(pl.col("available_from").dt.year() == year)

    def factors(self, year: int) -> pl.DataFrame:
        file = self.source.factors
        table = as_dates(require_columns(scan_table(file), ("date", "Mkt-RF", "RF"), file), ["date"], file)
        rows = table.filter(pl.col("date").dt.year() == year).select(
            pl.col("date").dt.month_end().alias("month"),
            risk_free=pl.col("RF").cast(pl.Float64),
            market_excess=pl.col("Mkt-RF").cast(pl.Float64),
        )
        return check_table(collect_table(rows, file), FACTORS, str(file))

    def stock_days(self, year: int) -> None:
        """The files hold months."""

    def factor_days(self, year: int) -> None:
        """The files hold months."""

    def inputs(self) -> frozenset[str]:
        months = ("ret", "market_equity", "price", "high", "dollar_volume", "trading_days",
                  "zero_volume_days", "sum_squared_daily_returns", "maximum_daily_return")  # fmt: skip
        return frozenset(
            {f"stock_months.{column}" for column in months}
            | {f"statements.{item}" for item in STATEMENT_COLUMNS.values()}
            | {"statements.quarterly", "factors.risk_free", "factors.market_excess"}
        )

    @cached_property
    def _stock_months(self) -> pl.DataFrame:
        file = self.source.prices
        table = require_columns(scan_table(file), PRICE_COLUMNS, file).with_row_index(ROW)
        table = as_dates(table, ["Date"], file)
        infinite = ~pl.col("Close").is_finite()
        refuse_rows(table, infinite, "Close", "a finite price", file, beside=("ticker", "Date"))
        prices = self._with_returns(self._prices_with_statements(table))
        rows = prices.join(self._market_equity(prices), on=["asset_id", "month"], how="left").select(
            ROW,
            "asset_id",
            "month",
            "ret",
            "market_equity",
            price="Close",
            high="High",
            dollar_volume=pl.col("Close") * pl.col("Volume"),
            trading_days=pl.col("n_days").cast(pl.Int32),
            zero_volume_days=pl.col("n_zero_volume_days").cast(pl.Int32),
            sum_squared_daily_returns=pl.col("sum_sq_daily_ret").cast(pl.Float64),
            maximum_daily_return=pl.col("max_daily_ret").cast(pl.Float64),
        )
        return check_table(self._members_only(collect_table(rows, file)), STOCK_MONTHS, str(file))

    def _with_returns(self, prices: pl.LazyFrame) -> pl.LazyFrame:
        """Returns of consecutive months; a bad tick is dropped, and the way back from it is no return."""
        return (
            self._with_flagged_returns(prices)
            .with_columns(ret=pl.when(~pl.col("way_back").fill_null(value=False)).then(pl.col("ret")))
            .filter(~pl.col("bad_tick"))
        )

    def _with_flagged_returns(self, prices: pl.LazyFrame) -> pl.LazyFrame:

        def before(column: str) -> pl.Expr:
            return pl.col(column).shift(1).over("ticker", order_by="month")

        most = self.source.maximum_monthly_return
        last_month = pl.col("month").dt.offset_by("-1mo").dt.month_end()
        return (
            prices.filter(pl.col("Close") > 0)
            .with_columns(pl.col("Close", "High").cast(pl.Float64))
            .with_columns(
                ret=pl.when(before("month") == last_month).then(pl.col("Close") / before("Close") - 1)
            )
            .with_columns(bad_tick=(pl.col("ret") > most).fill_null(value=False))
            .with_columns(way_back=before("bad_tick") & (pl.col("ret") < 1 / (1 + most) - 1))
        )

    def _prices_with_statements(self, table: pl.LazyFrame) -> pl.LazyFrame:
        """Prices of tickers that have statements: without them there is no market equity."""
        distinct = table.select(pl.col("ticker").cast(pl.String)).unique()
        tickers = collect_table(distinct, self.source.prices)
        ids = tickers.with_columns(asset_ids(tickers["ticker"], self.source.prices))
        known = ids.join(self._statements.select("asset_id").unique(), on="asset_id", how="semi")
        return table.with_columns(
            pl.col("ticker").cast(pl.String), pl.col("Date").dt.month_end().alias("month")
        ).join(known.lazy(), on="ticker", how="inner")

    def _market_equity(self, prices: pl.LazyFrame) -> pl.LazyFrame:
        """Market equity by month, from statements public by then and adjusted closes.

        Adjusted closes have the right returns and the wrong level. A statement gives the level
        (shares times the middle of the quarter's price range); the ratio of the month's close to the middle
        of the same quarter's closes carries it forward.
        """
        middle = prices.group_by("asset_id", quarter=_quarter(pl.col("month"))).agg(
            ((pl.col("Close").max() + pl.col("Close").min()) / 2).alias("middle")
        )
        levels = (
            self._statement_levels.lazy()
            .with_columns(_quarter(pl.col("period_end").dt.offset_by("-15d")).alias("quarter"))
            .join(middle, on=["asset_id", "quarter"], how="inner")
            .select("asset_id", "available_from", per_dollar=pl.col("level") / pl.col("middle"))
            .sort("available_from")
        )
        return (
            prices.select("asset_id", "month", "Close")
            .sort("month")
            .join_asof(
                levels, left_on="month", right_on="available_from", by="asset_id", tolerance="366d",
                check_sortedness=False,
            )
            .select("asset_id", "month", market_equity=pl.col("Close") * pl.col("per_dollar"))
        )  # fmt: skip

    @cached_property
    def _statement_table(self) -> pl.DataFrame:
        file = self.source.statements
        columns = ("ticker", "Quarter end", "Price", *STATEMENT_COLUMNS)
        table = require_columns(scan_table(file), columns, file)
        rows = collect_table(as_dates(table.with_row_index(ROW), ["Quarter end"], file), file)
        lag = f"{self.source.reporting_lag_months}mo"
        return rows.select(
            ROW,
            asset_ids(rows["ticker"], file),
            pl.col("Quarter end").alias("period_end"),
            # No filing date in the file: public this many months after the quarter (METHODS, 0).
            pl.col("Quarter end").dt.offset_by(lag).alias("available_from"),
            pl.col("Price").cast(pl.Float64),
            *(pl.col(theirs).cast(pl.Float64).alias(ours) for theirs, ours in STATEMENT_COLUMNS.items()),
        )

    @cached_property
    def _statements(self) -> pl.DataFrame:
        # A zero in these items of the file can mean "not reported".
        unsure = ("long_term_debt", "capital_expenditures")
        rows = self._statement_table.with_columns(
            pl.when(pl.col(item) != 0).then(pl.col(item)).alias(item) for item in unsure
        )
        return check_table(rows, STATEMENTS, str(self.source.statements))

    @property
    def _statement_levels(self) -> pl.DataFrame:
        """Market equity in the middle of each quarter; 'Shares split adjusted' goes with 'Price'."""
        levels = self._statement_table.with_columns(level=pl.col("shares") * pl.col("Price"))
        return levels.filter(pl.col("level") > 0)

    def left_out(self) -> pl.DataFrame:
        """``month`` and ``reason`` of each row of the price file that is not used, or not wholly."""
        file = self.source.prices
        table = as_dates(require_columns(scan_table(file), PRICE_COLUMNS, file), ["Date"], file)
        table = table.with_columns(pl.col("ticker").cast(pl.String), month=pl.col("Date").dt.month_end())
        known = self._prices_with_statements(table)
        flagged = self._with_flagged_returns(known)
        reasons = {
            "ticker without statements": table.join(known, on=["ticker", "month"], how="anti"),
            "close missing or not positive": known.filter(
                (pl.col("Close") > 0).fill_null(value=False).not_()
            ),
            "return above maximum_monthly_return": flagged.filter("bad_tick"),
            "way back from such a return: no return": flagged.filter("way_back"),
        }
        rows = [found.select("month", reason=pl.lit(reason)) for reason, found in reasons.items()]
        used = self._stock_months.select("asset_id", "month")
        if (intervals := self.index_members()) is not None:
            outside = used.join(members_by_month(used, intervals), on=["asset_id", "month"], how="anti")
            reason = pl.lit("outside the index: no market equity")
            rows.append(outside.lazy().select("month", reason=reason))
        return collect_table(pl.concat(rows), file)

    def index_members(self) -> pl.DataFrame | None:
        """``asset_id``, ``start_date``, ``end_date`` (null: still a member); None without such a file."""
        file = self.source.index_members
        if file is None:
            return None
        table = require_columns(scan_table(file), ("ticker", "start_date", "end_date"), file)
        intervals = collect_table(as_dates(table, ["start_date", "end_date"], file), file)
        ids = asset_ids(intervals["ticker"], file)
        return intervals.select(ids, "start_date", "end_date")

    def _members_only(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Forget the market equity of months in which the stock was not an index member at month end.

        The returns stay, so that momentum does not break; without market equity the stock is
        outside the universe of the next month.
        """
        intervals = self.index_members()
        if intervals is None:
            return rows
        inside = members_by_month(rows, intervals).with_columns(member=pl.lit(True))
        return (
            rows.join(inside, on=["asset_id", "month"], how="left")
            .with_columns(pl.when(pl.col("member")).then(pl.col("market_equity")).alias("market_equity"))
            .drop("member")
        )


def members_by_month(rows: pl.DataFrame, intervals: pl.DataFrame) -> pl.DataFrame:
    """``asset_id`` and ``month`` of those ``rows`` whose stock was in the index at the month's end."""
    return (
        rows.select("asset_id", "month")
        .join(intervals, on="asset_id")
        .filter(
            pl.col("start_date") <= pl.col("month"),
            pl.col("end_date").is_null() | (pl.col("month") <= pl.col("end_date")),
        )
        .select("asset_id", "month")
        .unique()
    )


def asset_ids(tickers: pl.Series, file: Path) -> pl.Series:
    """asset_id of each ticker; a ticker with a letter outside the alphabet is an `InputError`."""
    distinct = tickers.cast(pl.String).unique()
    known = set(ALPHABET)
    for ticker in distinct:
        if ticker is None or not 0 < len(ticker) <= 11 or set(ticker.lower()) - known:
            raise InputError(
                f"{ticker!r} is no ticker",
                where=f"{file}, column ticker",
                expected=f"1 to 11 of the characters {ALPHABET}",
                remedy="correct or drop the row",
            )
    ids = {ticker: asset_id_of(ticker) for ticker in distinct}
    return tickers.cast(pl.String).replace_strict(ids, return_dtype=pl.Int64).alias("asset_id")


def _quarter(day: pl.Expr) -> pl.Expr:
    return day.dt.year() * 4 + (day.dt.month() - 1) // 3
