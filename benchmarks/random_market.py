"""Random canonical tables of any size: no truth in them, but everything that makes real tables difficult.

For benchmarks and for tests that compare two ways to compute the same. Months, days and statements are drawn
independently of each other. Stocks enter, leave and pause; items are missing, zero or negative; statements
come late, several on one day, restated, of odd fiscal quarters, some firms with quarters only or years only.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl

from seqpricing_core.tables import (
    BALANCE_ITEMS,
    EXCHANGES,
    FACTOR_DAYS,
    FLOW_ITEMS,
    STATEMENTS,
    STOCK_DAYS,
    STOCK_MONTHS,
    check_table,
)

SIGNED = ("book_equity", "earnings", "operating_cash_flow", "operating_income", "pretax_income",
          "income_taxes", "current_income_taxes")  # fmt: skip


def random_months(stocks: int, first_year: int, last_year: int, seed: int = 0) -> pl.DataFrame:
    """``stock_months``; every optional column is there."""
    random = np.random.default_rng(seed)
    months = _months(first_year, last_year)
    total = len(months)
    start = np.where(random.random(stocks) < 0.7, 0, random.integers(0, total, stocks))
    stop = np.where(random.random(stocks) < 0.8, total, start + random.integers(6, total + 6, stocks))
    place = np.arange(total)
    alive = (place >= start[:, None]) & (place < stop[:, None]) & (random.random((stocks, total)) > 0.004)
    stock, month = np.nonzero(alive)
    n = len(stock)
    price = np.exp(random.normal(3, 0.5, n))
    equity = np.exp(random.normal(20, 1.5, stocks))[stock] * np.exp(random.normal(0, 0.1, n))
    sic = random.choice([1311, 2834, 3571, 3674, 4911, 6021, 7372], stocks)[stock]
    table = pl.DataFrame(
        {
            "asset_id": 10_001 + stock,
            "month": pl.Series(months)[month],
            "ret": np.maximum(random.standard_t(4, n) * 0.08 + 0.01, -0.95),
            "market_equity": equity,
            "price": price,
            "high": price * np.exp(np.abs(random.normal(0, 0.1, n))),
            "dollar_volume": equity * np.exp(random.normal(-3, 0.5, n)),
            "trading_days": random.integers(18, 23, n).astype(np.int32),
            "zero_volume_days": random.integers(0, 3, n).astype(np.int32),
            "sum_squared_daily_returns": random.gamma(2, 0.005, n),
            "maximum_daily_return": random.gamma(2, 0.02, n),
            "shares": equity / price,
            "unadjusted_price": price * random.choice([1.0, 2.0, 4.0], stocks)[stock],
            "exchange": np.array(EXCHANGES)[random.integers(0, 4, stocks)[stock]],
            "common_share": (random.random(stocks) < 0.9)[stock],
            # Some firms change their industry halfway.
            "sic": np.where((stock % 9 == 0) & (month > total // 2), 7372, sic).astype(np.int32),
            # Every tenth stock is a second class of the one before it.
            "company_id": np.where(stock % 10 == 9, stock - 1, stock),
        }
    )
    thin = {"ret": 0.003, "market_equity": 0.01, "dollar_volume": 0.005, "high": 0.005, "trading_days": 0.01,
            "sic": 0.01, "exchange": 0.01, "common_share": 0.01, "company_id": 0.05,
            "unadjusted_price": 0.01, "shares": 0.01, "maximum_daily_return": 0.01}  # fmt: skip
    table = _with_gaps(table, thin, random)
    zero = {"dollar_volume": 0.003, "market_equity": 0.001}
    return check_table(_with_gaps(table, zero, random, 0.0), STOCK_MONTHS, "random months")


def random_statements(stocks: int, first_year: int, last_year: int, seed: int = 0) -> pl.DataFrame:
    """``statements`` of stocks 10,001 to 10,000 + ``stocks``; quarters and years."""
    random = np.random.default_rng([seed, 1])
    quarters = [dt.date(y, m, d) for y in range(first_year - 1, last_year + 1)
                for m, d in ((3, 31), (6, 30), (9, 30), (12, 31))]  # fmt: skip
    stock, quarter = (part.ravel() for part in np.indices((stocks, len(quarters))))
    n, shape = len(stock), (stocks, len(quarters))
    items = {}
    for item in (*BALANCE_ITEMS, *FLOW_ITEMS):
        size = np.exp(np.cumsum(random.normal(0.01, 0.08, shape), axis=1) + random.normal(5, 1, (stocks, 1)))
        scale = 0.25 if item in FLOW_ITEMS else 1.0
        sign = np.where(random.random(n) < 0.15, -1.0, 1.0) if item in SIGNED else 1.0
        items[item] = size.ravel() * scale * sign * 1e6
    end = pl.Series(quarters)[quarter]
    # Odd fiscal quarters close a month earlier; some weeks-based years a few days late.
    shift = np.where(stock % 7 == 3, -31, np.where(random.random(n) < 0.05, 8, 0))
    period_end = (end + pl.Series(shift).cast(pl.Duration("ms")) * 86_400_000).cast(pl.Date)
    lag = np.where(random.random(n) < 0.05, random.integers(90, 400, n), random.integers(20, 80, n))
    quarterly = pl.DataFrame({
        "asset_id": 10_001 + stock, "period_end": period_end,
        "available_from": (period_end + pl.Series(lag).cast(pl.Duration("ms")) * 86_400_000).cast(pl.Date),
        "period_months": np.full(n, 3, dtype=np.int32), **items,
    })  # fmt: skip
    years = (
        quarterly.with_columns(pl.Series("q", quarter))
        .with_columns(pl.col(item).rolling_sum(4).over("asset_id", order_by="q") for item in FLOW_ITEMS)
        .filter(pl.col("q") % 4 == 3, pl.col("asset_id") % 5 != 0)
        .with_columns(pl.lit(12, dtype=pl.Int32).alias("period_months"))
        .drop("q")
    )
    filed = pl.concat([quarterly.filter(pl.col("asset_id") % 11 != 0), years])
    filed = filed.filter(pl.Series(random.random(len(filed)) > 0.02))
    filed = _with_gaps(filed, dict.fromkeys((*BALANCE_ITEMS, *FLOW_ITEMS), 0.01), random)
    zero = ("long_term_debt", "convertible_debt", "inventory", "research_development", "liabilities")
    filed = _with_gaps(filed, dict.fromkeys(zero, 0.02), random, 0.0)
    again = filed.filter(pl.Series(random.random(len(filed)) < 0.05)).with_columns(
        pl.col("available_from").dt.offset_by("70d"),
        *(pl.col(item) * 3 for item in (*BALANCE_ITEMS, *FLOW_ITEMS)),
    )
    key = ["asset_id", "period_end", "period_months", "available_from"]
    filed = pl.concat([filed, again]).unique(key, keep="first", maintain_order=True)
    return check_table(filed, STATEMENTS, "random statements")


def random_days(stocks: int, year: int, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``stock_days`` and ``factor_days`` of one year, of stocks 10,001 to 10,000 + ``stocks``."""
    random = np.random.default_rng([seed, 2, year])
    weekdays = pl.date_range(dt.date(year, 1, 2), dt.date(year, 12, 31), "1d", eager=True)
    days = weekdays.filter((weekdays.dt.weekday() <= 5) & pl.Series(random.random(len(weekdays)) > 0.03))
    factors = random.standard_t(4, (3, len(days))) * np.array([[0.008], [0.004], [0.004]])
    loadings = np.random.default_rng([seed, 3]).normal(
        [1.0, 0.3, 0.2], [0.4, 0.4, 0.4], (stocks, 3)
    )  # the same in every year
    ret = loadings @ factors + random.standard_t(5, (stocks, len(days))) * 0.018 + 0.0002
    stock, day = np.nonzero(random.random(ret.shape) > 0.01)
    n = len(stock)
    price = np.exp(random.normal(3, 0.05, n))
    spread = random.gamma(2, 0.005, n)
    volume = np.exp(random.normal(11, 0.8, n))
    table = pl.DataFrame({
        "asset_id": 10_001 + stock, "day": days[day], "ret": np.maximum(ret[stock, day], -0.9),
        "price": price, "high": price * (1 + spread), "low": price / (1 + spread), "volume": volume,
        "dollar_volume": volume * price, "shares": np.exp(15 + 0.3 * (stock % 7)) * np.ones(n),
        "bid": price * (1 - spread / 3), "ask": price * (1 + spread / 3),
    })  # fmt: skip
    gaps = {"ret": 0.003, "volume": 0.003, "dollar_volume": 0.003, "bid": 0.01, "high": 0.003, "price": 0.003}
    table = _with_gaps(table, gaps, random)
    table = _with_gaps(table, {"volume": 0.003, "dollar_volume": 0.003}, random, 0.0)
    market = pl.DataFrame({
        "day": days, "risk_free": np.full(len(days), 0.0001), "market_excess": factors[0],
        "size": factors[1], "value": factors[2],
    })  # fmt: skip
    return check_table(table, STOCK_DAYS, "random days"), check_table(market, FACTOR_DAYS, "random days")


def random_tables(stocks: int, years: range, seed: int = 0) -> dict[str, pl.DataFrame]:
    """Canonical tables of these years by name, days among them; all but the monthly factors."""
    days = [random_days(stocks, year, seed) for year in years]
    return {
        "stock_months": random_months(stocks, years.start, years.stop - 1, seed),
        "statements": random_statements(stocks, years.start, years.stop - 1, seed),
        "stock_days": pl.concat(of_stocks for of_stocks, _ in days),
        "factor_days": pl.concat(factors for _, factors in days),
    }


def _months(first_year: int, last_year: int) -> pl.Series:
    return pl.date_range(
        dt.date(first_year, 1, 1), dt.date(last_year, 12, 1), "1mo", eager=True
    ).dt.month_end()


def _with_gaps(
    table: pl.DataFrame, shares: dict[str, float], random: np.random.Generator, value: float | None = None
) -> pl.DataFrame:
    """The table with this share of each column's rows replaced."""
    return table.with_columns(
        pl.when(pl.Series(random.random(len(table)) < share))
        .then(pl.lit(value, dtype=table.schema[column]))
        .otherwise(pl.col(column))
        .alias(column)
        for column, share in shares.items()
    )
