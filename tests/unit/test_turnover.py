"""Turnover in both papers' definitions, drift and half-spreads, by hand."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest

from seqpricing_core.portfolios import compute_portfolio_returns, iterate_holdings
from seqpricing_core.portfolios.turnover import (
    NOTHING,
    Drifted,
    Holdings,
    Match,
    Trades,
    drift,
    portfolio_returns,
)
from seqpricing_core.study import Costs, Portfolios

JANUARY, FEBRUARY = dt.date(2004, 1, 31), dt.date(2004, 2, 29)
TWO = Portfolios(quantiles=2, weights=("equal",), short_leg=True)


def holdings(ids, portfolios, weights, spreads=None) -> Holdings:
    return Holdings(
        np.array(ids), np.array(portfolios), np.array(weights, dtype=float),
        None if spreads is None else np.array(spreads),
    )  # fmt: skip


def trades_between(before: Drifted, now: Holdings) -> Trades:
    return Trades(before, now, Match.between(before, now))


def predictions(rows, period="month", **extra) -> pl.DataFrame:
    """From (period, asset, expected return, excess return)."""
    return pl.DataFrame(
        [("gru", 0, at, asset, expected, outcome, 1.0) for at, asset, expected, outcome in rows],
        schema={
            "family": pl.String, "number_of_factors": pl.Int32, period: pl.Date, "asset_id": pl.Int64,
            "expected_return": pl.Float64, "excess_return": pl.Float64, "market_equity": pl.Float64,
        },
        orient="row",
    ).with_columns(**extra)  # fmt: skip


@pytest.fixture
def two_months():
    """January: long 3 and 4, short 1 and 2, halves each. February: 2 and 3 change places."""
    return predictions([
        (JANUARY, 1, 0.1, -0.20), (JANUARY, 2, 0.2, 0.00), (JANUARY, 3, 0.3, 0.10), (JANUARY, 4, 0.4, 0.30),
        (FEBRUARY, 1, 0.1, 0.0), (FEBRUARY, 3, 0.2, 0.0), (FEBRUARY, 2, 0.3, 0.0), (FEBRUARY, 4, 0.4, 0.0),
    ])  # fmt: skip


def measured(table, portfolio, column) -> list[float]:
    return table.filter(pl.col("portfolio") == portfolio).sort("month")[column].to_list()


class TestBothDefinitions:
    def test_memory(self, two_months):
        """The long leg earns 20%: 3 drifts to .55/1.2, 4 to .65/1.2. 3 is sold, 4 cut to .5, 2 bought for .5.
        The short leg earns -10%: 1 drifts to .4/.9, 2 to .5/.9. 2 is closed, 1 raised to .5, 3 sold for .5.
        """
        table = compute_portfolio_returns(two_months, TWO, Costs())
        long = 0.55 / 1.2 + (0.65 / 1.2 - 0.5) + 0.5
        short = 0.5 / 0.9 + (0.5 - 0.4 / 0.9) + 0.5
        assert measured(table, "long_only", "turnover") == pytest.approx([1, long])
        assert measured(table, "short_leg", "turnover") == pytest.approx([1, short])
        assert measured(table, "long_short", "turnover") == pytest.approx([2, long + short])

    def test_sequence(self, two_months):
        """1/4 sum |w_t-1 (1 + r) - w_t| over signed weights, not divided by what the portfolio earned.
        1: -.4 to -.5, .1; 2: -.5 to .5, 1; 3: .55 to -.5, 1.05; 4: .65 to .5, .15; together 2.3.
        """
        table = compute_portfolio_returns(two_months, TWO, Costs())
        assert measured(table, "long_short", "turnover_sequence") == pytest.approx([2 / 4, 2.3 / 4])
        # One leg has one dollar of exposure: 1/2. Long: 2 bought .5, 3 sold .55, 4 cut by .15.
        assert measured(table, "long_only", "turnover_sequence") == pytest.approx([1 / 2, 1.2 / 2])

    def test_the_short_leg_earns_what_the_lowest_portfolio_loses(self, two_months):
        table = compute_portfolio_returns(two_months, TWO, Costs(basis_points=100))
        assert measured(table, "short_leg", "return") == pytest.approx([0.1, 0.0])
        assert measured(table, "quantile_1", "return") == pytest.approx([-0.1, 0.0])
        assert measured(table, "short_leg", "net_return")[0] == pytest.approx(0.1 - 0.01)
        legs = zip(*(measured(table, leg, "return") for leg in ("long_only", "short_leg")), strict=True)
        assert measured(table, "long_short", "return") == pytest.approx([sum(pair) for pair in legs])

    def test_buy_and_hold_trades_nothing(self):
        """Value weights that grow with returns: a portfolio nobody has to trade."""
        outcome = {1: 0.5, 2: -0.2, 3: 0.1, 4: 0.0}
        rows = [(JANUARY, i, i / 10, r) for i, r in outcome.items()]
        rows += [(FEBRUARY, i, i / 10, 0.0) for i in outcome]
        size = [100.0] * 4 + [100 * (1 + r) for r in outcome.values()]
        table = compute_portfolio_returns(
            predictions(rows, market_equity=pl.Series(size)),
            Portfolios(quantiles=2, weights=("value",)),
            Costs(),
        )
        assert measured(table, "long_short", "turnover")[1] == pytest.approx(0.0, abs=1e-15)
        assert measured(table, "long_short", "turnover_sequence")[1] > 0.05


class TestVanishing:
    def test_a_stock_that_is_gone_next_month_is_sold_as_it_drifted(self):
        """3 and 4 earn 10% and 30%: .55/1.2 of 3 is sold; 4, alone, is raised to 1; likewise below."""
        table = compute_portfolio_returns(
            predictions([
                (JANUARY, 1, 0.1, 0.0), (JANUARY, 2, 0.2, 0.0),
                (JANUARY, 3, 0.3, 0.1), (JANUARY, 4, 0.4, 0.3),
                (FEBRUARY, 1, 0.1, 0.0), (FEBRUARY, 4, 0.4, 0.0),
            ]),
            TWO, Costs(),
        )  # fmt: skip
        assert measured(table, "long_only", "turnover")[1] == pytest.approx(0.55 / 1.2 + 1 - 0.65 / 1.2)
        assert measured(table, "long_only", "turnover_sequence")[1] == pytest.approx((0.55 + 0.35) / 2)
        assert measured(table, "quantile_1", "turnover")[1] == pytest.approx(0.5 + 0.5)

    def test_a_portfolio_that_lost_everything_has_nothing_to_sell(self):
        held = holdings([1, 2], [1, 1], [0.5, 0.5])
        returns = portfolio_returns(held, np.array([-1.0, -1.0]))
        gone = drift(held, np.array([-1.0, -1.0]), returns)
        assert returns[1] == -1.0
        trades = trades_between(gone, holdings([1, 2], [1, 1], [0.5, 0.5]))
        assert trades.traded(gone.share)[1] == 1.0
        assert math.isfinite(trades.traded(gone.amount)[1])

    def test_a_stock_that_comes_back_is_bought_anew(self):
        first = drift(holdings([1, 5], [1, 2], [1, 1]), np.zeros(2), np.zeros(3))
        second = holdings([3, 5], [1, 2], [1, 1])
        assert trades_between(first, second).traded(first.share).tolist() == [0, 2, 0]
        after = drift(second, np.zeros(2), np.zeros(3))
        assert trades_between(after, holdings([1, 5], [1, 2], [1, 1])).traded(after.share).tolist() == [
            0,
            2,
            0,
        ]


class TestDaily:
    def test_days_follow_each_other_over_a_weekend(self):
        """Friday and Monday: the same halves, no return; nothing is traded on Monday."""
        friday, monday = dt.date(2004, 1, 2), dt.date(2004, 1, 5)
        rows = [(day, i, i / 10, 0.0) for day in (friday, monday) for i in range(1, 5)]
        table = compute_portfolio_returns(predictions(rows, period="day"), TWO, Costs())
        assert table.filter(portfolio="long_short")["day"].to_list() == [friday, monday]
        assert table.filter(portfolio="long_short")["turnover"].to_list() == [2.0, 0.0]
        assert "month" not in table.columns


class TestCosts:
    def test_further_levels_are_further_columns(self, two_months):
        table = compute_portfolio_returns(
            two_months, TWO, Costs(basis_points=30, other_basis_points=(10, 2.5))
        )
        for column, level in (("net_return", 30), ("net_return_10bp", 10), ("net_return_2.5bp", 2.5)):
            expected = table["return"] - table["turnover"] * level / 10_000
            assert table[column].to_list() == pytest.approx(expected.to_list())

    def test_half_spreads(self, two_months):
        """Each trade pays its own stock's: 1% for stock 1 and 2, 2% for 3 and 4."""
        table = compute_portfolio_returns(
            two_months.with_columns(half_spread=pl.when(pl.col("asset_id") < 3).then(0.01).otherwise(0.02)),
            TWO, Costs(half_spreads=True),
        )  # fmt: skip
        paid = (table["return"] - table["net_return_half_spread"]).alias("paid")
        table = table.with_columns(paid)
        long = 0.02 * 0.55 / 1.2 + 0.02 * (0.65 / 1.2 - 0.5) + 0.01 * 0.5
        short = 0.01 * 0.5 / 0.9 + 0.01 * (0.5 - 0.4 / 0.9) + 0.02 * 0.5
        assert measured(table, "long_only", "paid") == pytest.approx([0.02, long])
        assert measured(table, "long_short", "paid") == pytest.approx([0.03, long + short])

    def test_equal_half_spreads_are_a_common_level(self, two_months):
        table = compute_portfolio_returns(
            two_months.with_columns(half_spread=0.003), TWO, Costs(basis_points=30, half_spreads=True)
        )
        assert table["net_return_half_spread"].to_list() == pytest.approx(table["net_return"].to_list())

    def test_the_newest_half_spread_counts_and_the_last_known_of_a_stock_that_left(self):
        """4 leaves: its 2% of January. 3 moves down and pays February's 5%, sale and short sale."""
        rows = [(JANUARY, i, i / 10, 0.0) for i in range(1, 5)]
        rows += [(FEBRUARY, 3, 0.1, 0.0), (FEBRUARY, 2, 0.4, 0.0)]
        spreads = pl.Series([0.01, 0.01, 0.02, 0.02, 0.05, 0.01])
        table = compute_portfolio_returns(
            predictions(rows, half_spread=spreads), TWO, Costs(half_spreads=True)
        ).with_columns(paid=pl.col("return") - pl.col("net_return_half_spread"))
        assert measured(table, "long_only", "paid")[1] == pytest.approx(0.5 * 0.05 + 0.5 * 0.02 + 1 * 0.01)
        assert measured(table, "short_leg", "paid")[1] == pytest.approx(0.5 * 0.01 + 0.5 * 0.01 + 1 * 0.05)


class TestHoldings:
    def test_positions_of_two_months(self, two_months):
        (table,) = iterate_holdings([two_months], TWO)
        february = table.filter(pl.col("month") == FEBRUARY)
        top = {
            asset: (before, weight, trade)
            for asset, before, weight, trade in february.filter(quantile=2)
            .select("asset_id", "before", "weight", "trade").iter_rows()
        }  # fmt: skip
        assert top[2] == pytest.approx((0.0, 0.5, 0.5))
        assert top[3] == pytest.approx((0.55 / 1.2, 0.0, -0.55 / 1.2))
        assert top[4] == pytest.approx((0.65 / 1.2, 0.5, 0.5 - 0.65 / 1.2))
        assert len(february) == 6

    def test_they_add_up_to_returns_and_turnover(self, results):
        """Every month of the small study: the table of returns is the oracle, summed from positions."""
        options = Portfolios(quantiles=5, weights=("equal", "value", "rank"))
        (table,) = iterate_holdings([results.predictions], options)
        keys = ["family", "number_of_factors", "weights", "portfolio", "month"]
        sums = table.group_by(
            "family", "number_of_factors", "weights", "month",
            portfolio=pl.concat_str(pl.lit("quantile_"), pl.col("quantile").cast(pl.String)),
        ).agg(
            held=pl.col("weight").sum(), after=pl.col("after").sum(),
            earned=(pl.col("weight") * pl.col("excess_return")).sum(), traded=pl.col("trade").abs().sum(),
        )  # fmt: skip
        returns = compute_portfolio_returns(results.predictions, options, Costs())
        both = sums.join(returns, on=keys, validate="1:1")
        assert len(both) == len(sums) == 7 * 3 * 24 * 5
        for ours, theirs in (("earned", "return"), ("traded", "turnover")):
            assert (both[ours] - both[theirs]).abs().max() < 1e-12
        assert (both["held"] - 1).abs().max() < 1e-12
        assert (both["after"] - 1).abs().max() < 1e-12

    def test_nothing_was_held_before_the_first_period(self):
        trades = trades_between(NOTHING, holdings([1], [1], [1.0]))
        assert trades.traded(NOTHING.share).tolist() == [0.0, 1.0]
        assert trades.match.left.tolist() == []
