"""What must not matter to portfolios, on random small markets: order, levels, units, names."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from seqpricing_core.portfolios import assign_quantiles, compute_portfolio_returns, iterate_holdings
from seqpricing_core.portfolios.breakpoints import Setters
from seqpricing_core.portfolios.sorts import quantile_of, rank_of
from seqpricing_core.study import Costs, Portfolios

KEYS = ["family", "number_of_factors", "weights", "portfolio", "month"]
MEASURES = ["return", "turnover", "net_return", "turnover_sequence"]
OPTIONS = Portfolios(quantiles=3, weights=("equal", "value", "capped", "rank"), breakpoints="nyse")
EVERY = settings(max_examples=40, deadline=None)


@st.composite
def markets(draw) -> pl.DataFrame:
    """Three months of 8 to 20 of 25 stocks; forecasts in steps (ties), every size and return known."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = draw(st.sampled_from([3, 10, 10**6]))
    tables = []
    for month in (dt.date(2004, 1, 31), dt.date(2004, 2, 29), dt.date(2004, 3, 31)):
        ids = np.sort(random.choice(25, draw(st.integers(8, 20)), replace=False))
        # Integers, so that shifted forecasts tie where the others do.
        tables.append(pl.DataFrame({
            "family": "gru", "number_of_factors": pl.Series([0] * len(ids), dtype=pl.Int32), "month": month,
            "asset_id": ids, "expected_return": random.integers(0, steps, len(ids)).astype(float),
            "excess_return": random.uniform(-0.5, 0.5, len(ids)),
            "market_equity": np.exp(random.normal(20, 2, len(ids))),
            "exchange": random.choice(["NYSE", "NASDAQ"], len(ids)),
        }))  # fmt: skip
    return pl.concat(tables)


def evaluate(market) -> pl.DataFrame:
    return compute_portfolio_returns(market, OPTIONS, Costs()).sort(KEYS)


def agree(one, other) -> None:
    np.testing.assert_allclose(one.select(MEASURES), other.select(MEASURES), rtol=0, atol=1e-12)


@EVERY
@given(markets(), st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(market, seed):
    shuffled = market.sample(fraction=1, shuffle=True, seed=seed)
    assert evaluate(shuffled).equals(evaluate(market))


@EVERY
@given(markets())
def test_other_names_in_the_same_order_change_nothing(market):
    """Ids only break ties and link months."""
    renamed = market.with_columns(pl.col("asset_id") ** 2 + 7)
    assert evaluate(renamed).equals(evaluate(market))


@EVERY
@given(markets(), st.integers(-1000, 1000))
def test_a_constant_added_to_forecasts_changes_nothing(market, shift):
    assert evaluate(market.with_columns(pl.col("expected_return") + shift)).equals(evaluate(market))


@EVERY
@given(markets(), st.sampled_from([2.0**-10, 0.5, 2.0, 2.0**20]))
def test_the_currency_of_market_equity_changes_nothing(market, scale):
    agree(evaluate(market.with_columns(pl.col("market_equity") * scale)), evaluate(market))


@EVERY
@given(markets(), st.integers(2, 6))
def test_a_stock_split_into_two_equal_lines_changes_no_value_weighted_return(market, factor):
    """Two lines of half the size each, one forecast and one return: as one. With breakpoints far apart."""
    wide = market.with_columns(pl.col("expected_return").rank("ordinal").over("month") * 1.0)
    halves = [
        wide.with_columns(pl.col("market_equity") / factor, pl.col("asset_id") * factor + part)
        for part in range(factor)
    ]
    options = Portfolios(quantiles=2, weights=("value",))
    whole, parts = (
        compute_portfolio_returns(table, options, Costs()).sort(KEYS) for table in (wide, pl.concat(halves))
    )
    even = wide.group_by("month").len().filter(pl.col("len") % 2 == 0)["month"].implode()
    same = pl.col("month").is_in(even)  # an odd month cuts a stock's lines apart
    np.testing.assert_allclose(whole.filter(same)["return"], parts.filter(same)["return"], atol=1e-12)


@EVERY
@given(markets())
def test_weights_add_up_and_every_stock_is_somewhere(market):
    (positions,) = iterate_holdings([market], OPTIONS)
    held = positions.filter(pl.col("weight") != 0)
    assert (held["weight"] > 0).all()
    sums = held.group_by("weights", "month", "quantile").agg(pl.col("weight").sum())
    np.testing.assert_allclose(sums["weight"], 1.0, rtol=0, atol=1e-12)
    assert len(sums) == 4 * 3 * 3
    assert len(held.filter(weights="equal")) == len(market)


@EVERY
@given(markets())
def test_turnover_is_between_nothing_and_everything(market):
    """A leg sells at most all and buys at most all: 2, or 4 for both; the first month buys all."""
    table = evaluate(market)
    assert table["turnover"].min() >= 0
    assert table.filter(pl.col("portfolio") != "long_short")["turnover"].max() <= 2 + 1e-12
    assert table["turnover"].max() <= 4 + 1e-12
    first = table.filter(month=dt.date(2004, 1, 31))
    np.testing.assert_allclose(first.filter(portfolio="long_short")["turnover"], 2.0, atol=1e-12)
    np.testing.assert_allclose(first.filter(portfolio="long_short")["turnover_sequence"], 0.5, atol=1e-12)


@EVERY
@given(markets())
def test_reversed_forecasts_reverse_the_long_short_portfolio(market):
    """Without ties and with as many stocks in each portfolio."""
    wide = market.with_columns(pl.col("expected_return").rank("ordinal").over("month") * 1.0)
    options = Portfolios(quantiles=2, weights=("equal", "rank"))
    even = wide.filter(pl.col("asset_id").rank("ordinal").over("month") <= pl.len().over("month") // 2 * 2)
    one, other = (
        compute_portfolio_returns(table, options, Costs()).filter(portfolio="long_short").sort(KEYS)
        for table in (even, even.with_columns(-pl.col("expected_return")))
    )
    np.testing.assert_allclose(one["return"], -other["return"].to_numpy(), atol=1e-12)
    np.testing.assert_allclose(one["turnover"], other["turnover"], atol=1e-12)


@EVERY
@given(markets())
def test_the_future_changes_no_position(market):
    """March turns out the other way: every position, those bought for March too, stays bit for bit."""
    last = pl.col("month") == dt.date(2004, 3, 31)
    other = market.with_columns(pl.when(last).then(-pl.col("excess_return")).otherwise("excess_return"))
    (one,), (two,) = (iterate_holdings([table], OPTIONS) for table in (market, other))
    keys = ["weights", "month", "quantile", "asset_id", "before", "weight", "trade"]
    assert one.select(keys).equals(two.select(keys))


@EVERY
@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.integers(2, 10), st.randoms())
def test_sizes_of_portfolios(forecasts, quantiles, random):
    """Portfolios differ by one setter at most, none is empty, and they rise with rank."""
    assume(len(forecasts) >= quantiles)
    rank = rank_of(np.array(forecasts, dtype=float))
    setting = np.zeros(len(forecasts), dtype=bool)
    setting[random.sample(range(len(forecasts)), random.randint(quantiles, len(forecasts)))] = True
    for stocks in (None, setting):
        quantile = quantile_of(rank, quantiles, Setters(stocks, ""))
        assert (np.diff(quantile[np.argsort(rank)]) >= 0).all()
        counts = np.bincount(quantile if stocks is None else quantile[stocks], minlength=quantiles + 1)[1:]
        assert counts.min() > 0
        assert counts.max() - counts.min() <= 1


def test_a_month_in_which_all_forecasts_are_equal():
    """Asset ids decide, in any order of rows."""
    table = pl.DataFrame({
        "family": "gru", "number_of_factors": 0, "month": dt.date(2004, 1, 31),
        "asset_id": [5, 3, 1, 6, 2, 4], "expected_return": 0.01, "excess_return": 0.0, "market_equity": 1.0,
    })  # fmt: skip
    assert assign_quantiles(table, 3).sort("asset_id")["quantile"].to_list() == [1, 1, 2, 2, 3, 3]
