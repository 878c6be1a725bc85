"""R2, Sharpe ratios and shares of the oracle, by hand."""

from __future__ import annotations

import datetime as dt
import math
import statistics

import polars as pl
import pytest

from seqpricing_core.evaluation.performance import compute_performance, sharpe_ratio
from seqpricing_core.evaluation.r_squared import compute_r_squared


def outcomes(family, expected, fitted, returns) -> pl.DataFrame:
    return pl.DataFrame({
        "family": family, "number_of_factors": 1,
        "expected_return": expected, "fitted_return": fitted, "excess_return": returns,
    })  # fmt: skip


class TestRSquared:
    def test_by_hand(self):
        """R = .1, -.2, .3: sum of squares .14. Fitted misses by .1 each (.03), expected by r - .1 (.13)."""
        table = outcomes("ipca", [0.1, 0.1, 0.1], [0.0, -0.1, 0.2], [0.1, -0.2, 0.3])
        row = compute_r_squared(table, ["family"]).row(0, named=True)
        assert row["total_r2"] == pytest.approx(1 - 0.03 / 0.14)
        assert row["predictive_r2"] == pytest.approx(1 - 0.13 / 0.14)

    def test_the_denominator_is_not_demeaned(self):
        """Forecasting zero gives exactly zero, although the mean return is far from it."""
        table = outcomes("ipca", [0.0, 0.0], [0.05, 0.07], [0.05, 0.07])
        row = compute_r_squared(table, ["family"]).row(0, named=True)
        assert (row["predictive_r2"], row["total_r2"]) == (0.0, 1.0)

    def test_pooled_not_averaged(self):
        """A month of large returns weighs more than one of small ones: not the mean of monthly R2."""
        table = outcomes("ipca", [0.0, 0.01], [0.0, 0.0], [1.0, 0.01])
        value = compute_r_squared(table, ["family"])["predictive_r2"][0]
        assert value == pytest.approx(1 - 1.0 / 1.0001)


class TestSharpe:
    def test_by_hand(self):
        """Mean .02 over the sample standard deviation (ddof 1) .02, times the square root of 12."""
        value = pl.DataFrame({"r": [0.0, 0.02, 0.04]}).select(sharpe_ratio(pl.col("r"))).item()
        assert value == pytest.approx(math.sqrt(12))

    def test_against_the_standard_library(self, results):
        series = results.portfolio_returns.filter(
            pl.col("family") == "ca2", pl.col("number_of_factors") == 1,
            pl.col("weights") == "value", pl.col("portfolio") == "long_short",
        )  # fmt: skip
        scores = results.performance.filter(pl.col("family") == "ca2", pl.col("number_of_factors") == 1)
        score = dict(scores.select("measure", "value").iter_rows())
        for column, measure in (("return", "sharpe"), ("net_return", "net_sharpe")):
            monthly = series[column].to_list()
            sharpe = statistics.mean(monthly) / statistics.stdev(monthly) * 12**0.5
            assert score[f"{measure}_long_short_value"] == pytest.approx(sharpe)
        assert score["mean_return_long_short_value"] == pytest.approx(statistics.mean(series["return"]))
        assert score["turnover_long_short_value"] == pytest.approx(statistics.mean(series["turnover"]))


class TestPerformance:
    def test_shares_of_the_oracle(self, results):
        """Value over the oracle's, for every measure but turnover, where the oracle's is positive."""
        table = results.performance
        oracle = dict(table.filter(pl.col("family") == "oracle").select("measure", "value").iter_rows())
        assert len(oracle) == 4 + 4 * 2 * 2
        for row in table.iter_rows(named=True):
            if row["measure"].startswith("turnover") or oracle[row["measure"]] <= 0:
                assert row["share_of_oracle"] is None
            else:
                assert row["share_of_oracle"] == pytest.approx(row["value"] / oracle[row["measure"]])
        assert len(table) == 7 * len(oracle)

    def test_without_an_oracle_there_are_no_shares(self, results):
        def without(frame):
            return frame.filter(pl.col("family") != "oracle")

        managed = without(results.predictions).with_columns(portfolio=pl.lit("c"))
        table = compute_performance(without(results.predictions), managed, without(results.portfolio_returns))
        assert table["share_of_oracle"].null_count() == len(table) == 6 * 20

    def test_r2_of_the_study_from_its_predictions(self, results):
        """Sums in plain Python over the stock-months of both test years."""
        rows = results.predictions.filter(pl.col("family") == "ipca", pl.col("number_of_factors") == 2)
        assert set(rows["month"].dt.year()) == {2004, 2005}
        rows = rows.filter(pl.col("excess_return").is_not_null())
        squares = math.fsum(r * r for r in rows["excess_return"])
        score = results.performance.filter(
            pl.col("family") == "ipca", pl.col("number_of_factors") == 2
        ).select("measure", "value")
        score = dict(score.iter_rows())
        for column, measure in (("fitted_return", "total"), ("expected_return", "predictive")):
            missed = math.fsum((r - p) ** 2 for r, p in rows.select("excess_return", column).iter_rows())
            assert score[f"{measure}_r2_stocks"] == pytest.approx(1 - missed / squares, abs=1e-12)


def test_months_of_a_whole_study(results):
    """24 months of two test years for every strategy; calendar month ends."""
    sizes = results.portfolio_returns.group_by("family", "number_of_factors", "weights", "portfolio").agg(
        pl.len(), pl.col("month").min().alias("first"), pl.col("month").max().alias("last")
    )
    assert set(sizes["len"]) == {24}
    assert set(sizes["first"]) == {dt.date(2004, 1, 31)}
    assert set(sizes["last"]) == {dt.date(2005, 12, 31)}
    assert len(sizes) == 7 * 2 * (2 + 5)
