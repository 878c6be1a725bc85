"""Options of the sorts, one by one, by hand; and what the output says when one cannot be followed."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from seqpricing_core.portfolios import (
    assign_quantiles,
    compute_holdings,
    compute_portfolio_returns,
    iterate_holdings,
    write_holdings,
    write_portfolio_returns,
)
from seqpricing_core.portfolios.breakpoints import FEW_ON_NYSE, NO_EXCHANGE
from seqpricing_core.report.facts import sort_facts
from seqpricing_core.storage import frame_from_files
from seqpricing_core.study import Costs, Portfolios

MONTH, NEXT = dt.date(2004, 1, 31), dt.date(2004, 2, 29)


def table(expected, sizes=None, exchange=None, month=MONTH) -> pl.DataFrame:
    """Stocks 1, 2, .. of one month of a model without factors; the return is a tenth of the id."""
    count = len(expected)
    frame = pl.DataFrame({
        "family": "gru", "number_of_factors": pl.Series([0] * count, dtype=pl.Int32), "month": month,
        "asset_id": range(1, count + 1), "expected_return": pl.Series(expected, dtype=pl.Float64),
        "fitted_return": pl.Series([None] * count, dtype=pl.Float64),
        "excess_return": [i / 10 for i in range(1, count + 1)],
        "market_equity": pl.Series(sizes or [1.0] * count, dtype=pl.Float64),
    })  # fmt: skip
    return frame if exchange is None else frame.with_columns(exchange=pl.Series(exchange))


def weights(frame, weighting, quantiles=2, **options) -> dict[int, float]:
    held = compute_holdings(assign_quantiles(frame, quantiles), weighting, **options)
    return dict(held.select("asset_id", "weight").iter_rows())


def returns(frame, **options) -> pl.DataFrame:
    options = {"quantiles": 2, "weights": ("equal",)} | options
    return compute_portfolio_returns(frame, Portfolios(**options), Costs())


class TestPlainForecasts:
    def test_zero_factors_and_no_fitted_return(self):
        frame = table([0.1, 0.2, 0.3, 0.4])
        long_short = returns(frame).filter(portfolio="long_short")
        assert long_short["return"].item() == pytest.approx(0.35 - 0.15)
        assert long_short["number_of_factors"].item() == 0

    def test_the_column_of_fitted_returns_may_be_absent(self):
        assert len(returns(table([0.1, 0.2]).drop("fitted_return"))) == 4


class TestTiming:
    def test_a_sort_needs_no_outcome(self):
        """It cannot use what it is not given; that the outcome is there changes nothing."""
        frame = table([3, 1, 2, 4], exchange=["NYSE"] * 4)
        known = frame.drop("excess_return", "market_equity", "fitted_return")
        for breakpoints in ("all", "nyse"):
            blind, seeing = (assign_quantiles(f, 2, breakpoints)["quantile"] for f in (known, frame))
            assert blind.to_list() == seeing.to_list() == [2, 1, 1, 2]


class TestBreakpoints:
    EXCHANGE = ("NYSE", "NASDAQ", "NASDAQ", "NYSE", "AMEX", "NYSE")
    EXPECTED = (1, 2, 3, 4, 5, 6)

    def quantiles(self, breakpoints, exchange, expected=EXPECTED, count=3):
        assigned = assign_quantiles(table(expected, exchange=exchange), count, breakpoints)
        return assigned["quantile"].to_list(), set(assigned["breakpoints"])

    def test_nyse_only(self):
        """NYSE forecasts are 1, 4, 6: terciles end at 1 and 4. All stocks: two each."""
        assert self.quantiles("nyse", self.EXCHANGE) == ([1, 2, 2, 2, 3, 3], {"nyse"})
        assert self.quantiles("all", self.EXCHANGE) == ([1, 1, 2, 2, 3, 3], {"all"})

    def test_codes_of_crsp_mean_the_same(self):
        codes = [{"NYSE": 1, "AMEX": 2, "NASDAQ": 3}[name] for name in self.EXCHANGE]
        assert self.quantiles("nyse", codes) == self.quantiles("nyse", self.EXCHANGE)

    def test_a_stock_above_every_nyse_stock(self):
        assert self.quantiles("nyse", ["1", "1", "3", "3"], (1, 2, 3, 4), 2) == ([1, 2, 2, 2], {"nyse"})

    def test_without_an_exchange_all_stocks_count_and_the_output_says_so(self):
        assert self.quantiles("nyse", None) == ([1, 1, 2, 2, 3, 3], {NO_EXCHANGE})
        assert set(returns(table(self.EXPECTED), breakpoints="nyse")["breakpoints"]) == {NO_EXCHANGE}

    def test_with_fewer_nyse_stocks_than_portfolios(self):
        """And only in that month."""
        frame = pl.concat([
            table(self.EXPECTED, exchange=self.EXCHANGE),
            table(self.EXPECTED, exchange=["NYSE", *["AMEX"] * 5], month=NEXT),
        ])  # fmt: skip
        said = returns(frame, quantiles=3, breakpoints="nyse").select("month", "breakpoints").unique()
        assert set(said.iter_rows()) == {(MONTH, "nyse"), (NEXT, FEW_ON_NYSE)}

    def test_an_exchange_that_is_not_known_sets_nothing(self):
        exchange = ["NYSE", None, None, "NYSE", "AMEX", "NYSE"]
        assert self.quantiles("nyse", exchange)[0] == [1, 2, 2, 2, 3, 3]


class TestMicroCaps:
    SIZES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)

    def held(self, frame, percentile):
        options = Portfolios(quantiles=2, weights=("equal",), micro_cap_percentile=percentile)
        (positions,) = iterate_holdings([frame], options)
        said = compute_portfolio_returns(frame, options, Costs())["size_percentiles"].unique().to_list()
        return sorted(positions["asset_id"]), said

    def test_below_the_nyse_percentile(self):
        """NYSE sizes 2, 4, 6: their median is 4; who is as large stays."""
        frame = table([1, 2, 3, 4, 5, 6], self.SIZES, ["3", "1", "3", "1", "3", "1"])
        assert self.held(frame, 50) == ([4, 5, 6], ["nyse"])

    def test_without_an_exchange(self):
        """The 20th percentile of 1..6 is 2."""
        assert self.held(table([1, 2, 3, 4, 5, 6], self.SIZES), 20) == ([2, 3, 4, 5, 6], [NO_EXCHANGE])

    @pytest.mark.parametrize("size", [None, float("nan"), float("inf"), 0.0])
    def test_a_stock_of_unknown_size_is_left_out(self, size):
        frame = table([1, 2, 3, 4, 5, 6], [size, *self.SIZES[1:]])
        assert self.held(frame, 1)[0] == [3, 4, 5, 6]  # 2 is below the 1st percentile, 2.04
        assert self.held(frame.with_columns(market_equity=pl.lit(2.0)), 20)[0] == [1, 2, 3, 4, 5, 6]

    def test_by_default_all_stay(self):
        said = returns(table([1, 2], [None, 1.0]))
        assert set(said["size_percentiles"]) == {"none"}


class TestWeights:
    def test_capped(self):
        """Sizes 1, 2, 3, 94: the median is 2.5, and so much at most counts."""
        frame = table([1, 2, 3, 4], [1.0, 2.0, 3.0, 94.0])
        assert weights(frame, "capped", cap_percentile=50) == pytest.approx(
            {1: 1 / 3, 2: 2 / 3, 3: 0.5, 4: 0.5}
        )
        assert weights(frame, "capped", cap_percentile=100) == pytest.approx(weights(frame, "value"))

    def test_the_cap_is_of_nyse_stocks(self):
        """Of the NYSE only the stock of size 2: the cap is 2."""
        frame = table([1, 2, 3, 4], [1.0, 2.0, 3.0, 94.0], ["3", "1", "3", "3"])
        assert weights(frame, "capped") == pytest.approx({1: 1 / 3, 2: 2 / 3, 3: 0.5, 4: 0.5})
        assert set(returns(frame, weights=("capped",))["size_percentiles"]) == {"nyse"}

    def test_rank(self):
        """Ranks 1 to 4 lie 1.5, .5, .5, 1.5 from the middle."""
        assert weights(table([1, 2, 3, 4]), "rank") == pytest.approx({1: 0.75, 2: 0.25, 3: 0.25, 4: 0.75})

    def test_rank_of_a_portfolio_that_is_the_middle_stock(self):
        assert weights(table([1, 2, 3]), "rank", quantiles=3) == {1: 1.0, 2: 1.0, 3: 1.0}

    def test_all_at_once(self):
        frame = table([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0])
        found = returns(frame, weights=("equal", "value", "capped", "rank")).filter(portfolio="long_only")
        assert dict(found.select("weights", "return").iter_rows()) == pytest.approx({
            "equal": 0.35, "value": (3 * 0.3 + 4 * 0.4) / 7,
            "capped": (3 * 0.3 + 3.4 * 0.4) / 6.4,  # the 80th percentile of 1..4
            "rank": 0.25 * 0.3 + 0.75 * 0.4,
        })  # fmt: skip


class TestNothingDisappears:
    def test_market_equity_missing_for_a_whole_portfolio(self, refuses):
        frame = table([1, 2, 3, 4], [None, None, 3.0, 4.0])
        assert returns(frame)["return"].null_count() == 0  # equal weights need no size
        refuses(
            lambda: returns(frame, weights=("equal", "value")),
            "no stock of portfolio 1 has market equity", "gru, K = 0", "2004-01-31", "equal weights",
        )  # fmt: skip

    @pytest.mark.parametrize("weighting", ["value", "capped"])
    def test_market_equity_missing_for_all(self, refuses, weighting):
        frame = table([1, 2, 3, 4], [None] * 4)
        refuses(lambda: returns(frame, weights=(weighting,)), "has market equity", "2004-01-31")

    def test_micro_caps_where_no_size_is_known(self, refuses):
        frame = table([1, 2, 3, 4], [None] * 4)
        refuses(lambda: returns(frame, micro_cap_percentile=20), "no stock has market equity", "micro_cap")

    def test_a_portfolio_without_any_return(self, refuses):
        frame = table([1, 2, 3, 4]).with_columns(
            excess_return=pl.when(pl.col("asset_id") < 3).then(None).otherwise(0.1)
        )
        refuses(lambda: returns(frame), "no stock of portfolio 1 has a return", "2004-01-31")

    def test_too_few_once_micro_caps_are_out(self, refuses):
        frame = table([1, 2, 3], [1.0, 2.0, 3.0])
        refuses(lambda: returns(frame, micro_cap_percentile=90), "1 stock(s)", "2 portfolios")


class TestFiles:
    def test_returns_of_every_family(self, results, tmp_path):
        tables = {
            family: [
                results.predictions.filter(pl.col("month").dt.year() == year, family=family).lazy()
                for year in (2004, 2005)
            ]
            for family in ("ipca", "ca2")
        }
        options, costs = Portfolios(quantiles=5), Costs()
        files = write_portfolio_returns(tables, options, costs, tmp_path)
        assert [file.name for file in files] == ["ipca.arrow", "ca2.arrow"]
        keys = ["family", "number_of_factors", "weights", "portfolio", "month"]
        whole = results.portfolio_returns.filter(pl.col("family").is_in(["ipca", "ca2"]))
        assert frame_from_files(files).sort(keys).equals(whole.sort(keys))

    def test_holdings_of_every_year(self, results, tmp_path):
        mine = results.predictions.filter(family="ipca")
        years = [mine.filter(pl.col("month").dt.year() == year) for year in (2004, 2005)]
        options = Portfolios(quantiles=5)
        files = write_holdings(years, options, tmp_path)
        assert [file.name for file in files] == [
            "2004-01-31_2004-12-31.arrow", "2005-01-31_2005-12-31.arrow",
        ]  # fmt: skip
        (whole,) = iterate_holdings([mine], options)
        keys = ["number_of_factors", "weights", "month", "quantile", "asset_id"]
        assert frame_from_files(files).sort(keys).equals(whole.sort(keys))


class TestTheReportSays:
    def test_what_stood_in_for_nyse(self):
        options = Portfolios(
            quantiles=2, weights=("equal", "capped"), breakpoints="nyse", micro_cap_percentile=10
        )
        facts = sort_facts(compute_portfolio_returns(table([1, 2, 3, 4]), options, Costs()), options)
        assert NO_EXCHANGE in facts["Breakpoints"]
        assert NO_EXCHANGE in facts["Market equity"]
        assert "below the percentile 10 are left out" in facts["Market equity"]
        assert "up to the percentile 80" in facts["Market equity"]

    def test_nothing_more_by_default(self):
        assert sort_facts(returns(table([1, 2, 3, 4])), Portfolios()) == {}
