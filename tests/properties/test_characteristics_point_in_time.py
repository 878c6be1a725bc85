"""Nothing that becomes known after the end of a month moves a bit of that month's characteristics.

Whatever the raw tables learn later: they end earlier, statements come late or are restated, stocks leave,
tickers are used again, shares are split, links change, prices move.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.characteristics.day_statistics import day_statistics, market_days
from seqpricing_core.characteristics.registry import DAILY_REGISTRY, REGISTRY
from seqpricing_core.characteristics.trend import trend_features
from seqpricing_core.tables import BALANCE_ITEMS, FLOW_ITEMS

YEAR = 2004
NOW = dt.date(2004, 8, 31)
"""A Tuesday: the week is not over."""
LATER = {"stock_months": "month", "statements": "available_from", "stock_days": "day", "factor_days": "day"}
"""When a row of each table is known."""


@pytest.fixture(scope="module")
def tables(random_market):
    days = [random_market.random_days(40, year, seed=2) for year in range(YEAR - 3, YEAR + 1)]
    return {
        "stock_months": random_market.random_months(40, YEAR - 6, YEAR, seed=2),
        "statements": random_market.random_statements(40, YEAR - 6, YEAR, seed=2),
        "stock_days": pl.concat(stock for stock, _ in days),
        "factor_days": pl.concat(factors for _, factors in days),
    }


def computed(tables, *, factors=True):
    """Characteristics of the year up to now, and daily features up to the last day of it."""
    of_year = {
        name: [tables[name].filter(pl.col("day").dt.year() == y) for y in range(YEAR - 3, YEAR + 1)]
        for name in ("stock_days", "factor_days")
    }
    market = [
        market_days(stock, daily if factors else None)
        for stock, daily in zip(of_year["stock_days"], of_year["factor_days"], strict=True)
    ]
    statistics = [
        day_statistics(days, pl.concat(market[max(i - 1, 0) : i + 1]), YEAR - 3 + i)
        for i, days in enumerate(of_year["stock_days"])
    ]
    names = tuple(REGISTRY) if factors else ("beta", "pricedelay", "beta_daily", "coskew", "rvar_capm")
    monthly = compute_characteristics(
        tables["stock_months"], tables["statements"], YEAR, names, pl.concat(statistics)
    )
    daily = trend_features(tables["stock_days"], pl.concat(market), YEAR)
    return monthly.filter(pl.col("month") <= NOW), daily.filter(pl.col("day") <= NOW)


@pytest.fixture(scope="module")
def as_it_was(tables):
    return computed(tables)


def known_now(name):
    return pl.col(LATER[name]) <= NOW


def later(name):
    return pl.col(LATER[name]) > NOW


def changed(tables, **changes):
    return tables | {name: change(tables[name]) for name, change in changes.items()}


def end_of_data(tables):
    """The files as they were downloaded that evening."""
    return {name: table.filter(known_now(name)) for name, table in tables.items()}


def restatement(tables):
    """Everything that is known is restated a day later, to ten times and to nothing."""
    items = [*BALANCE_ITEMS, *FLOW_ITEMS]

    def restated(table):
        old = table.filter(known_now("statements"))
        tenfold = old.with_columns(
            pl.lit(NOW + dt.timedelta(days=1)).alias("available_from"), *(pl.col(i) * 10 for i in items)
        )
        nothing = old.with_columns(
            pl.lit(NOW + dt.timedelta(days=2)).alias("available_from"),
            *(pl.lit(None, dtype=pl.Float64).alias(i) for i in items),
        )
        key = ["asset_id", "period_end", "period_months", "available_from"]
        return pl.concat([table, tenfold, nothing]).unique(key, keep="first", maintain_order=True)

    return changed(tables, statements=restated)


def late_filing(tables):
    """Statements of all earlier quarters that nobody had filed appear at once."""

    def filed(table):
        known = table.filter(known_now("statements"))
        late = known.with_columns(
            pl.col("period_end").dt.offset_by("-3mo").dt.month_end(),
            pl.lit(NOW + dt.timedelta(days=1)).alias("available_from"),
        )
        early = known.with_columns(
            pl.col("period_end").dt.offset_by("1y"),
            pl.lit(NOW + dt.timedelta(days=600)).alias("available_from"),
        )
        key = ["asset_id", "period_end", "period_months", "available_from"]
        return pl.concat([table, late, early]).unique(key, keep="first", maintain_order=True)

    return changed(tables, statements=filed)


def delisting(tables):
    """Two stocks in three are gone the day after."""
    gone = pl.col("asset_id") % 3 != 0

    def without(name):
        return lambda table: table.filter(~(later(name) & gone))

    return changed(tables, stock_months=without("stock_months"), stock_days=without("stock_days"))


def ticker_reuse(tables):
    """The numbers of stocks are given to others: later rows belong to somebody else."""

    def moved(name):
        new = pl.when(later(name)).then(20_001 + (pl.col("asset_id") * 7) % 40).otherwise(pl.col("asset_id"))
        return lambda table: table.with_columns(new.cast(pl.Int64).alias("asset_id"))

    return changed(tables, **{name: moved(name) for name in ("stock_months", "stock_days")})


def changed_link(tables):
    """Later statements are linked to other stocks."""
    other = 10_001 + (pl.col("asset_id") - 10_001 + 11) % 40
    linked = pl.when(later("statements")).then(other).otherwise(pl.col("asset_id")).alias("asset_id")
    return changed(tables, statements=lambda table: table.with_columns(linked))


def split_adjusted(tables):
    """Four for one: the vendor restates all earlier prices and share counts of half the stocks."""
    split = pl.col("asset_id") % 2 == 0

    def times(column, factor):
        return pl.when(split).then(pl.col(column) * factor).otherwise(pl.col(column)).alias(column)

    prices, shares = ("price", "high", "low", "bid", "ask"), ("shares", "volume")
    return changed(
        tables,
        stock_months=lambda t: t.with_columns(
            times("price", 0.25), times("high", 0.25), times("shares", 4.0),
            pl.when(split & later("stock_months")).then(pl.col("unadjusted_price") / 4)
            .otherwise(pl.col("unadjusted_price")).alias("unadjusted_price"),
        ),
        stock_days=lambda t: t.with_columns(
            *(times(c, 0.25) for c in prices), *(times(c, 4.0) for c in shares)
        ),
        statements=lambda t: t.with_columns(times("shares", 4.0)),
    )  # fmt: skip


def split_raw(tables):
    """The same split in a source that adjusts nothing: later rows are on the new basis."""

    def times(name, column, factor):
        new = pl.when(later(name) & (pl.col("asset_id") % 2 == 0)).then(pl.col(column) * factor)
        return new.otherwise(pl.col(column)).alias(column)

    basis = {"price": 0.25, "high": 0.25, "shares": 4.0}
    of_days = {
        "price": 0.25,
        "high": 0.25,
        "low": 0.25,
        "bid": 0.25,
        "ask": 0.25,
        "shares": 4.0,
        "volume": 4.0,
    }
    return changed(
        tables,
        stock_months=lambda t: t.with_columns(
            times("stock_months", c, f) for c, f in (basis | {"unadjusted_price": 0.25}).items()
        ),
        stock_days=lambda t: t.with_columns(times("stock_days", c, f) for c, f in of_days.items()),
        statements=lambda t: t.with_columns(times("statements", "shares", 4.0)),
    )


def other_future(tables):
    """Returns, prices, volume, factors, industries and exchanges turn out differently."""
    random = np.random.default_rng(9)

    def different(name):
        def change(table):
            floats = [c for c, dtype in table.schema.items() if dtype == pl.Float64]
            factor = pl.Series(np.exp(random.normal(0, 0.3, len(table))))
            codes = [pl.lit(7, dtype=pl.Int32).alias("sic")] if "sic" in table.columns else []
            return table.with_columns(
                pl.when(later(name))
                .then(e)
                .otherwise(pl.col(e.meta.output_name()))
                .alias(e.meta.output_name())
                for e in (*(pl.col(c) * factor for c in floats), *codes)
            )

        return change

    return changed(tables, **{name: different(name) for name in LATER})


FUTURES = [
    end_of_data, restatement, late_filing, delisting, ticker_reuse, changed_link, split_adjusted, split_raw,
    other_future,
]  # fmt: skip


@pytest.mark.parametrize("future", FUTURES, ids=lambda future: future.__name__)
def test_no_bit_moves(tables, as_it_was, future):
    monthly, daily = computed(future(tables))
    for name in ("asset_id", "month", "exchange", "sic", "market_equity", *REGISTRY):
        assert monthly[name].equals(as_it_was[0][name]), name
    for name in ("asset_id", "day", *DAILY_REGISTRY):
        assert daily[name].equals(as_it_was[1][name]), name


@pytest.mark.parametrize("future", [end_of_data, other_future], ids=lambda future: future.__name__)
def test_nor_where_the_market_is_made_of_the_stocks(tables, future):
    """A source without daily factors."""
    before, after = computed(tables, factors=False), computed(future(tables), factors=False)
    assert after[0].equals(before[0])
    assert after[1].equals(before[1])


@pytest.mark.parametrize("future", FUTURES[1:], ids=lambda future: future.__name__)
def test_the_futures_differ(tables, future):
    """Else the tests above would prove nothing: the same change is seen once it is known."""
    after = future(tables)
    assert any(not after[name].equals(tables[name]) for name in tables)


def test_the_future_is_seen_when_it_is_there(tables, as_it_was):
    """Moved a month back, the other future does change the characteristics."""
    shifted = {
        name: table.with_columns(pl.col(LATER[name]).dt.offset_by("-1mo").dt.month_end())
        if name == "stock_months"
        else table
        for name, table in other_future(tables).items()
    }
    monthly, _ = computed(shifted | {k: tables[k] for k in ("stock_days", "factor_days")})
    assert not monthly["mom_1"].equals(as_it_was[0]["mom_1"])
