"""What CRSP's columns mean, in either layout: signs, units, codes, adjustment factors.

- A negative price is the middle of bid and ask of a day without a trade: its size is the price.
- Legacy shares are thousands; legacy monthly volume is hundreds, daily volume single shares. CIZ volume is
  single shares in both files, CIZ market capitalisation thousands of dollars.
- Returns of -66, -77, -88, -99 are codes for a missing return.
- Price / cumulative price factor and shares x cumulative share factor are on one basis within a stock.
- Market equity is that of the share class (permno). The firm's own, which book-to-market is a ratio to, is
  the sum over its classes (``company_id``, CRSP's permco), as in Fama and French (1992) and Green, Hand,
  Zhang (2017).
"""

from __future__ import annotations

import polars as pl

COMMON_SHARE_CODES = (10, 11)


def price(column: str) -> pl.Expr:
    """CRSP's price without its bid-ask flag; zero means none."""
    size = pl.col(column).abs()
    return pl.when(size > 0).then(size)


def factor(column: str) -> pl.Expr:
    """A cumulative adjustment factor; zero or missing means none is known, and 1 is taken."""
    return pl.when(pl.col(column) > 0).then(pl.col(column)).otherwise(1.0)


def monthly_return(column: str) -> pl.Expr:
    return pl.when(pl.col(column).is_finite() & (pl.col(column) >= -1)).then(pl.col(column))


def exchange_of_code(column: str) -> pl.Expr:
    """Legacy ``exchcd``; 31 to 33 are the same exchanges, when-issued."""
    code = pl.col(column).cast(pl.Int64)
    return (
        pl.when(code.is_in([1, 31])).then(pl.lit("NYSE"))
        .when(code.is_in([2, 32])).then(pl.lit("AMEX"))
        .when(code.is_in([3, 33])).then(pl.lit("NASDAQ"))
        .when(code.is_not_null()).then(pl.lit("OTHER"))
        .alias(column)
    )  # fmt: skip


def exchange_of_letter(column: str) -> pl.Expr:
    """CIZ ``primaryexch``."""
    names = {"N": "NYSE", "A": "AMEX", "Q": "NASDAQ"}
    known = pl.col(column).replace_strict(names, default="OTHER")
    return pl.when(pl.col(column).is_not_null()).then(known).alias(column)


def sic(column: str) -> pl.Expr:
    """Four digits; 0 and 9999 are CRSP's "unknown"."""
    code = pl.col(column).cast(pl.Int32)
    return pl.when(code.is_between(1, 9998)).then(code).alias(column)


def canonical_months(rows: pl.DataFrame) -> pl.DataFrame:
    """Monthly rows with CRSP's signs and units made ours.

    Parameters
    ----------
    rows
        ``asset_id, company_id, day, ret, prc, outstanding`` (single shares), ``volume`` (single shares),
        ``price_factor, share_factor, exchange, common_share, sic`` and, where the vendor has it,
        ``capitalisation`` (USD) and ``prc_high`` (with the sign of ``prc``).
    """
    for column in ("capitalisation", "prc_high"):
        if column not in rows.columns:
            rows = rows.with_columns(pl.lit(None, dtype=pl.Float64).alias(column))
    unadjusted = price("prc")
    return rows.select(
        "asset_id",
        pl.col("day").dt.month_end().alias("month"),
        monthly_return("ret").alias("ret"),
        pl.coalesce(
            pl.when(pl.col("capitalisation") > 0).then(pl.col("capitalisation")),
            unadjusted * pl.when(pl.col("outstanding") > 0).then(pl.col("outstanding")),
        ).alias("market_equity"),
        (unadjusted / factor("price_factor")).alias("price"),
        (price("prc_high") / factor("price_factor")).alias("high"),
        (unadjusted * pl.when(pl.col("volume") >= 0).then(pl.col("volume"))).alias("dollar_volume"),
        (pl.when(pl.col("outstanding") > 0).then(pl.col("outstanding")) * factor("share_factor")).alias(
            "shares"
        ),
        unadjusted.alias("unadjusted_price"),
        "exchange",
        "common_share",
        "sic",
        "company_id",
    )


def canonical_days(rows: pl.DataFrame) -> pl.DataFrame:
    """Daily rows: ``asset_id, day, ret, prc, prc_high, prc_low, bid, ask, volume, outstanding, price_factor,
    share_factor``, in CRSP's signs, single shares.

    A day without a trade has volume 0 and the middle of the quotes for a price.
    """
    price_factor, share_factor = factor("price_factor"), factor("share_factor")
    volume = pl.when(pl.col("volume") >= 0).then(pl.col("volume"))
    return rows.select(
        "asset_id",
        "day",
        monthly_return("ret").alias("ret"),
        (price("prc") / price_factor).alias("price"),
        (price("prc_high") / price_factor).alias("high"),
        (price("prc_low") / price_factor).alias("low"),
        (volume * share_factor).alias("volume"),
        (price("prc") * volume).alias("dollar_volume"),
        (pl.when(pl.col("outstanding") > 0).then(pl.col("outstanding")) * share_factor).alias("shares"),
        (price("bid") / price_factor).alias("bid"),
        (price("ask") / price_factor).alias("ask"),
    )


def with_daily_columns(months: pl.DataFrame, aggregates: pl.DataFrame | None) -> pl.DataFrame:
    """Months beside what their days add up to; without days, the monthly file's own high and volume."""
    kinds = {
        "trading_days": pl.Int32, "zero_volume_days": pl.Int32, "sum_squared_daily_returns": pl.Float64,
        "maximum_daily_return": pl.Float64,
    }  # fmt: skip
    if aggregates is None:
        return months.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in kinds.items())
    joined = months.join(aggregates, on=["asset_id", "month"], how="left", suffix="_of_days")
    return joined.with_columns(
        pl.coalesce(f"{name}_of_days", name).alias(name) for name in ("high", "dollar_volume")
    ).drop("high_of_days", "dollar_volume_of_days")


def without_market_equity_of_others(months: pl.DataFrame) -> pl.DataFrame:
    """Common shares on the three exchanges keep their market equity (METHODS, section 1); unknown counts as
    other.

    Returns stay, so that momentum does not break when a stock moves for a while.
    """
    inside = pl.col("common_share") & pl.col("exchange").is_in(["NYSE", "AMEX", "NASDAQ"])
    return months.with_columns(pl.when(inside).then(pl.col("market_equity")).alias("market_equity"))
