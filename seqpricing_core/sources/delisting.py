"""Delisting returns, compounded into the month in which a stock left (METHODS, section 1).

A holder of a stock that is delisted gets what it was worth after its last day on the exchange. Vendors keep
that return apart from the monthly one (CRSP's ``dlret``), and lack it most often where it is worst: a missing
performance-related delisting return is -30% (Shumway 1997), on NASDAQ -55% (Shumway and Warther 1999).
"""

from __future__ import annotations

import polars as pl

MISSING_PERFORMANCE_RETURN = -0.30
MISSING_PERFORMANCE_RETURN_NASDAQ = -0.55

STILL_LISTED = 200
"""Codes below this say that the stock trades on (CRSP's 100)."""


def performance_related(code: pl.Expr) -> pl.Expr:
    """Codes 500 and 520 to 584: dropped by the exchange for want of price, capital, makers or reports."""
    return (code == 500) | code.is_between(520, 584)


def with_delisting_returns(stock_months: pl.DataFrame, delistings: pl.DataFrame) -> pl.DataFrame:
    """Total returns of the last months, and their codes.

    A delisting in month t belongs to the row of t: (1 + r_t)(1 + d) - 1; where r_t is missing, d alone. A
    stock whose last row is an earlier month (it stopped trading on the last day of that month) gets a row for
    month t with nothing but d: compounding it into the row before would tell that month what came after it. A
    delisting return that is missing and not performance-related leaves r_t as it is.

    **Timing.** Only rows of the delisting's own month change.

    Parameters
    ----------
    stock_months
        ``asset_id, month, ret, exchange`` and what else there is.
    delistings
        ``asset_id, month`` (month end), ``delisting_code`` (Int32), ``delisting_return`` (null where
        missing); one row per stock. Codes below 200 are ignored.

    Returns
    -------
    DataFrame
        The columns of ``stock_months`` and ``delisting_code``.
    """
    left = delistings.filter(pl.col("delisting_code") >= STILL_LISTED).select(
        "asset_id", "month", pl.col("delisting_code").cast(pl.Int32), "delisting_return"
    )
    # A month in which the stock has no row any more, right after its last one.
    last = stock_months.group_by("asset_id").agg(
        pl.col("month").max().alias("last_month"),
        pl.col("exchange").sort_by("month").last().alias("listed_on"),
    )
    after = left.join(last, on="asset_id").filter(
        pl.col("month") == pl.col("last_month").dt.offset_by("1mo").dt.month_end()
    )
    appended = pl.concat(
        [stock_months, after.select("asset_id", "month", exchange="listed_on")], how="diagonal"
    )
    missing = (
        pl.when(pl.col("exchange") == "NASDAQ")
        .then(MISSING_PERFORMANCE_RETURN_NASDAQ)
        .otherwise(MISSING_PERFORMANCE_RETURN)
    )
    delisting_return = pl.col("delisting_return").fill_null(
        pl.when(performance_related(pl.col("delisting_code"))).then(missing)
    )
    compounded = (1 + pl.col("ret").fill_null(0.0)) * (1 + delisting_return) - 1
    return (
        appended.join(left, on=["asset_id", "month"], how="left", maintain_order="left")
        .with_columns(
            pl.when(delisting_return.is_not_null()).then(compounded).otherwise(pl.col("ret")).alias("ret")
        )
        .drop("delisting_return")
    )
