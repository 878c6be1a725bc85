"""Characteristics from prices and volume, all known at the end of the month.

Shifts are calendar months: `compute.py` fills gaps, so that a row is a month.
Rolling windows demand every month in them; a stock with gaps has no momentum over the gap.
"""

from __future__ import annotations

from typing import TypeAlias

import polars as pl

Entry: TypeAlias = tuple[str, str, str, pl.Expr]
"""Name, formula, paper, expression."""

GHZ = "Green, Hand, Zhang (2017)"


def _rolling(column: pl.Expr, months: int, before: int = 0) -> pl.Expr:
    """Sum over ``months`` months that end ``before`` months ago."""
    return column.shift(before).rolling_sum(months, min_samples=months).over("asset_id", order_by="month")


def _mean(column: pl.Expr, months: int) -> pl.Expr:
    return column.rolling_mean(months, min_samples=months).over("asset_id", order_by="month")


def _std(column: pl.Expr, months: int) -> pl.Expr:
    return column.rolling_std(months, min_samples=months).over("asset_id", order_by="month")


def _momentum(months: int, before: int) -> pl.Expr:
    """Compound return over ``months`` months that end ``before`` months ago."""
    return _rolling(pl.col("ret").log1p(), months, before).exp() - 1


_turnover = pl.col("dollar_volume") / pl.when(pl.col("market_equity") > 0).then(pl.col("market_equity"))
_amihud = pl.col("ret").abs() / (pl.col("dollar_volume") / 1e6)

MARKET: dict[str, Entry] = {
    "mom_1": ("1-month momentum (reversal)", "r[t-1]", "Jegadeesh (1990)", pl.col("ret")),
    "mom_6": (
        "6-month momentum",
        "compound r[t-6 .. t-2]",
        "Jegadeesh, Titman (1993)",
        _momentum(5, 1),
    ),
    "mom_12": (
        "12-month momentum",
        "compound r[t-12 .. t-2]",
        "Jegadeesh (1990)",
        _momentum(11, 1),
    ),
    "mom_36": (
        "36-month momentum (long-term reversal)",
        "compound r[t-36 .. t-13]",
        "De Bondt, Thaler (1985)",
        _momentum(24, 12),
    ),
    "chmom": (
        "Change in 6-month momentum",
        "compound r[t-6 .. t-1] - compound r[t-12 .. t-7]",
        "Gettleman, Marks (2006)",
        _momentum(6, 0) - _momentum(6, 6),
    ),
    "high52": (
        "Nearness to the 52-week high",
        "price / highest price of 12 months",
        "George, Hwang (2004)",
        pl.col("price") / pl.col("high").rolling_max(12, min_samples=12).over("asset_id", order_by="month"),
    ),
    "retvol": (
        "Return volatility",
        "root mean square of the month's daily returns",
        "Ang et al. (2006)",
        (pl.col("sum_squared_daily_returns") / pl.col("trading_days")).sqrt(),
    ),
    "maxret": (
        "Maximum daily return",
        "largest daily return of the month",
        "Bali, Cakici, Whitelaw (2011)",
        pl.col("maximum_daily_return"),
    ),
    "retvol_12": (
        "Volatility of monthly returns",
        "standard deviation of r over 12 months",
        GHZ,
        _std(pl.col("ret"), 12),
    ),
    "mvel1": ("Size", "log market equity", "Banz (1981)", pl.col("market_equity").log()),
    "dolvol": (
        "Dollar trading volume",
        "log dollar volume of month t-2",
        "Chordia et al. (2001)",
        pl.col("dollar_volume").shift(1).over("asset_id", order_by="month").log(),
    ),
    "turn": (
        "Share turnover",
        "mean of dollar volume / market equity over 3 months",
        "Datar, Naik, Radcliffe (1998)",
        _mean(_turnover, 3),
    ),
    "stdturn": (
        "Volatility of liquidity (share turnover)",
        "standard deviation of monthly turnover over 12 months (the papers: of daily turnover)",
        "Chordia et al. (2001)",
        _std(_turnover, 12),
    ),
    "ill": (
        "Illiquidity",
        "mean of |r| / dollar volume (USD m) over 12 months (the papers: over days)",
        "Amihud (2002)",
        _mean(_amihud, 12),
    ),
    "zerotrade": (
        "Zero trading days",
        "(days without volume + (1/turnover)/480000) * 21 / trading days",
        "Liu (2006)",
        (pl.col("zero_volume_days") + 1 / _turnover / 480_000) * 21 / pl.col("trading_days"),
    ),
}
