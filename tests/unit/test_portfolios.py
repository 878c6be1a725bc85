"""Sorts, weights, returns, turnover and costs, by hand on a few stocks."""

from __future__ import annotations

import datetime as dt
import math

import polars as pl
import pytest

from seqpricing_core.portfolios import (
    assign_quantiles,
    compute_holdings,
    compute_portfolio_returns,
    compute_quantile_returns,
)
from seqpricing_core.study import Costs, Portfolios

MONTHS = [dt.date(2004, 1, 31), dt.date(2004, 2, 29), dt.date(2004, 3, 31)]
NAN, INF = math.nan, math.inf


def predictions(rows, *, family="ipca", factors=1) -> pl.DataFrame:
    """From (month index, asset, expected return, excess return, market equity)."""
    return pl.DataFrame(
        [
            (family, factors, MONTHS[month], asset, expected, expected, outcome, size)
            for month, asset, expected, outcome, size in rows
        ],
        schema={
            "family": pl.String, "number_of_factors": pl.Int32, "month": pl.Date, "asset_id": pl.Int64,
            "expected_return": pl.Float64, "fitted_return": pl.Float64, "excess_return": pl.Float64,
            "market_equity": pl.Float64,
        },
        orient="row",
    )  # fmt: skip


def one_month(expected, **changes) -> pl.DataFrame:
    return predictions([(0, 100 + i, value, 0.0, 1.0) for i, value in enumerate(expected)], **changes)


def quantile_of(assigned: pl.DataFrame) -> dict[int, int]:
    return dict(assigned.select("asset_id", "quantile").iter_rows())


class TestSorts:
    def test_lowest_first(self):
        assigned = assign_quantiles(one_month([0.03, -0.01, 0.02, 0.0]), 2)
        assert quantile_of(assigned) == {100: 2, 101: 1, 102: 2, 103: 1}

    def test_ties_go_by_asset_id_whatever_the_order_of_rows(self):
        tied = one_month([0.01] * 6)
        expected = {100: 1, 101: 1, 102: 2, 103: 2, 104: 3, 105: 3}
        for rows in (tied, tied.reverse(), tied.sample(fraction=1, shuffle=True, seed=1)):
            assert quantile_of(assign_quantiles(rows, 3)) == expected

    def test_as_many_stocks_as_quantiles(self):
        assert sorted(quantile_of(assign_quantiles(one_month([3, 1, 2]), 3)).values()) == [1, 2, 3]

    def test_fewer_stocks_than_quantiles(self, refuses):
        rows = pl.concat([
            predictions([(0, i, 0.01 * i, 0.0, 1.0) for i in range(5)]),
            predictions([(1, i, 0.01 * i, 0.0, 1.0) for i in range(4)]),
        ])  # fmt: skip
        refuses(
            lambda: assign_quantiles(rows, 5),
            "4 stock(s)", "5 portfolios", "2004-02-29", "portfolios.quantiles",
        )  # fmt: skip

    @pytest.mark.parametrize("value", [NAN, INF, -INF, None])
    def test_a_forecast_that_is_no_number(self, refuses, value):
        """A diverged network must not be sorted into the top decile (NaN sorts last)."""
        rows = one_month([0.01, 0.02, value, 0.03], family="ca2", factors=3)
        refuses(lambda: assign_quantiles(rows, 2), "1 row(s)", "ca2, K = 3", "month 2004-01-31", "asset 102")

    def test_models_and_months_are_sorted_apart(self):
        """Model by model and month by month, each alone, is the oracle."""
        parts = [
            predictions(
                [(m, a, ((a * 7 + m * 3 + factors) % 8) / 100, 0.0, 1.0) for a in range(8)],
                family=family, factors=factors,
            )
            for family in ("ca2", "ipca") for factors in (1, 2) for m in range(3)
        ]  # fmt: skip
        keys = ["family", "number_of_factors", "month", "asset_id"]
        alone = pl.concat(assign_quantiles(part, 4) for part in parts).sort(keys)
        assert (
            assign_quantiles(pl.concat(parts).sample(fraction=1, shuffle=True, seed=2), 4)
            .sort(keys)
            .equals(alone)
        )


class TestWeights:
    ROWS = (
        (0, 1, 0.1, 0.04, 300.0),
        (0, 2, 0.2, -0.04, 100.0),
        (0, 3, 0.3, 0.5, 50.0),
        (0, 4, 0.4, 0.1, 50.0),
    )

    def weights(self, weighting, rows=ROWS):
        holdings = compute_holdings(assign_quantiles(predictions(rows), 2), weighting)
        return dict(holdings.select("asset_id", "weight").iter_rows())

    def test_equal(self):
        assert self.weights("equal") == {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5}

    def test_value(self):
        assert self.weights("value") == {1: 0.75, 2: 0.25, 3: 0.5, 4: 0.5}

    @pytest.mark.parametrize("size", [None, NAN, INF, 0.0])
    def test_value_without_market_equity(self, size):
        """The stock is left out of the value-weighted portfolio; the others share its place."""
        rows = [(*self.ROWS[0][:4], size), *self.ROWS[1:]]
        assert self.weights("value", rows) == {2: 1.0, 3: 0.5, 4: 0.5}
        assert self.weights("equal", rows) == {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5}

    def test_a_stock_that_has_no_return_was_sorted_all_the_same(self):
        """It had its place in the sort; what it would have earned is what the rest of its portfolio did."""
        rows = [*self.ROWS[:2], (*self.ROWS[2][:3], None, 50.0), self.ROWS[3]]
        table = predictions(rows)
        assert quantile_of(assign_quantiles(table, 2)) == {1: 1, 2: 1, 3: 2, 4: 2}
        for weighting in ("equal", "value"):
            assert self.weights(weighting, rows) == pytest.approx(
                {1: 0.75, 2: 0.25, 4: 1.0} if weighting == "value" else {1: 0.5, 2: 0.5, 4: 1.0}
            )
            holdings = compute_holdings(assign_quantiles(table, 2), weighting)
            top = compute_quantile_returns(holdings).filter(pl.col("quantile") == 2)
            assert top["return"].to_list() == [0.1]


@pytest.fixture
def three_months():
    """Four stocks, two portfolios: A = 1 stays on top, B and C change places in the second month."""
    return predictions([
        (0, 1, 0.4, 0.10, 3.0), (0, 2, 0.3, -0.10, 1.0), (0, 3, 0.2, 0.02, 1.0), (0, 4, 0.1, 0.04, 1.0),
        (1, 1, 0.4, 0.20, 3.0), (1, 3, 0.3, 0.00, 1.0), (1, 2, 0.2, 0.05, 1.0), (1, 4, 0.1, -0.05, 1.0),
        (2, 1, 0.4, 0.01, 3.0), (2, 3, 0.3, 0.03, 1.0), (2, 2, 0.2, 0.02, 1.0), (2, 4, 0.1, 0.02, 1.0),
    ])  # fmt: skip


class TestReturnsAndTurnover:
    def quantile(self, table, weighting, number):
        holdings = compute_holdings(assign_quantiles(table, 2), weighting)
        rows = compute_quantile_returns(holdings).filter(pl.col("quantile") == number).sort("month")
        assert rows["month"].to_list() == MONTHS
        return rows["return"].to_list(), rows["turnover"].to_list()

    def test_top_portfolio_with_equal_weights(self, three_months):
        """Month 1: halves of A and B, +10% and -10%: the portfolio earns 0, A drifts to .55, B to .45.
        Month 2: halves of A and C: .05 of A and .45 of B sold, .5 of C bought, together 1. A earns 20%,
        C nothing: drifted to .6/1.1 and .5/1.1. Month 3: back to halves, .1/1.1 traded.
        """
        returns, turnover = self.quantile(three_months, "equal", 2)
        assert returns == pytest.approx([0.0, 0.10, 0.02])
        assert turnover == pytest.approx([1.0, 1.0, 0.1 / 1.1])

    def test_bottom_portfolio_with_equal_weights(self, three_months):
        """C and D earn 2% and 4%: .51/1.03 of C is sold, .5 of B bought, D cut from .52/1.03 to .5.
        B and D then earn 5% and -5%: .525 and .475, back to halves.
        """
        returns, turnover = self.quantile(three_months, "equal", 1)
        assert returns == pytest.approx([0.03, 0.0, 0.02])
        assert turnover == pytest.approx([1.0, 0.51 / 1.03 + 0.5 + (0.52 / 1.03 - 0.5), 0.05])

    def test_top_portfolio_with_value_weights(self, three_months):
        """3/4 of A, 1/4 of B, earn 5%: drifted to .825/1.05 and .225/1.05; then 3/4 of A, 1/4 of C."""
        returns, turnover = self.quantile(three_months, "value", 2)
        assert returns == pytest.approx([0.05, 0.15, 0.015])
        second = (0.825 / 1.05 - 0.75) + 0.225 / 1.05 + 0.25
        third = (0.75 * 1.2 / 1.15 - 0.75) + (0.25 - 0.25 / 1.15)
        assert turnover == pytest.approx([1.0, second, third])

    def test_strategies_and_costs(self, three_months):
        """Long-short is top minus bottom and pays for both legs; costs are 50 bp of what is traded."""
        table = compute_portfolio_returns(
            three_months, Portfolios(quantiles=2, weights=("equal",)), Costs(basis_points=50)
        )
        (top, bought), (bottom, sold) = (self.quantile(three_months, "equal", q) for q in (2, 1))

        def of(portfolio, column):
            return table.filter(pl.col("portfolio") == portfolio).sort("month")[column].to_list()

        assert set(table["portfolio"]) == {"long_short", "long_only", "quantile_1", "quantile_2"}
        assert of("long_short", "return") == pytest.approx([a - b for a, b in zip(top, bottom, strict=True)])
        assert of("long_short", "turnover") == pytest.approx(
            [a + b for a, b in zip(bought, sold, strict=True)]
        )
        assert of("long_only", "return") == pytest.approx(top)
        assert of("quantile_1", "return") == pytest.approx(bottom)
        for portfolio in ("long_short", "long_only", "quantile_1"):
            net = [
                r - 0.005 * t for r, t in zip(of(portfolio, "return"), of(portfolio, "turnover"), strict=True)
            ]
            assert of(portfolio, "net_return") == pytest.approx(net)

    def test_a_stock_that_disappears_is_sold(self):
        """The second month holds stock 1 alone: .5 bought, .5 of stock 2 sold (no drift)."""
        table = predictions([
            (0, 1, 0.2, 0.0, 1.0), (0, 2, 0.2, 0.0, 1.0), (0, 3, 0.1, 0.0, 1.0), (0, 4, 0.1, 0.0, 1.0),
            (1, 1, 0.2, 0.0, 1.0), (1, 3, 0.1, 0.0, 1.0),
        ])  # fmt: skip
        holdings = compute_holdings(assign_quantiles(table, 2), "equal")
        top = compute_quantile_returns(holdings).filter(pl.col("quantile") == 2)
        assert top["turnover"].to_list() == pytest.approx([1.0, 1.0])
        assert top["month"].to_list() == MONTHS[:2]

    def test_every_month_of_a_whole_study(self, small, results):
        """Slow loop over the study's own predictions: equal-weighted mean of the top fifth."""
        chosen = results.predictions.filter(pl.col("family") == "seqlat", pl.col("number_of_factors") == 2)
        strategy = results.portfolio_returns.filter(
            pl.col("family") == "seqlat", pl.col("number_of_factors") == 2,
            pl.col("weights") == "equal", pl.col("portfolio") == "long_only",
        ).sort("month")  # fmt: skip
        assert len(strategy) == 24
        for month, found in strategy.select("month", "return").iter_rows():
            stocks = sorted(
                chosen.filter(pl.col("month") == month)
                .select("expected_return", "asset_id", "excess_return").iter_rows()
            )  # fmt: skip
            # Stock number p of n (from 0) is in portfolio floor(5 p / n).
            # One that then has no return leaves its portfolio to the others.
            top = [r for p, (_, _, r) in enumerate(stocks) if 5 * p // len(stocks) == 4 and r is not None]
            assert found == pytest.approx(sum(top) / len(top))
