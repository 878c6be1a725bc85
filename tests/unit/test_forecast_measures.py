"""Measures of forecasts against plain loops and scipy, and the rules for odd predictions."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest
import scipy.stats

from seqpricing_core.evaluation.forecast_measures import compute_forecast_measures
from seqpricing_core.evaluation.monthly_scores import compute_monthly_scores, coverage, on_common_months
from seqpricing_core.evaluation.performance import compute_performance
from seqpricing_core.portfolios import MODEL

MONTHS = [dt.date(2001, month, 1) for month in range(1, 13)]


def predictions(family="ipca", factors=1, *, seed=0, stocks=40, months=12) -> pl.DataFrame:
    """Forecasts that know a little; ties; one stock in ten has no return."""
    random = np.random.default_rng(seed)
    size = stocks * months
    r = random.normal(0.01, 0.1, size)
    return pl.DataFrame({
        "family": family, "number_of_factors": pl.Series([factors] * size, dtype=pl.Int32),
        "month": [month for month in MONTHS[:months] for _ in range(stocks)],
        "asset_id": list(range(stocks)) * months,
        "expected_return": np.round(0.1 * r + random.normal(0, 0.02, size), 2),
        "fitted_return": 0.5 * r,
        "excess_return": r,
        "market_equity": random.lognormal(0, 1, size),
    }).with_columns(
        pl.col("month").dt.month_end(),
        pl.when(pl.int_range(pl.len()) % 10 != 3).then("excess_return").alias("excess_return"),
    )  # fmt: skip


def pooled(table, **options):
    return compute_forecast_measures(compute_monthly_scores(table, **options), MODEL).row(0, named=True)


class TestAgainstOthers:
    def test_pooled_measures_in_plain_python(self):
        table = predictions()
        found = pooled(table)
        rows = [
            (e, f, r)
            for e, f, r in table.select("expected_return", "fitted_return", "excess_return").iter_rows()
            if r is not None
        ]
        n, squares = len(rows), math.fsum(r * r for *_, r in rows)
        mse = math.fsum((r - e) ** 2 for e, _, r in rows) / n
        assert found["mse"] == pytest.approx(mse)
        assert found["rmse"] == pytest.approx(math.sqrt(mse))
        assert found["mae"] == pytest.approx(math.fsum(abs(r - e) for e, _, r in rows) / n)
        assert found["bias_bp"] == pytest.approx(1e4 * math.fsum(e - r for e, _, r in rows) / n)
        assert found["predictive_r2"] == pytest.approx(1 - mse * n / squares)
        assert found["total_r2"] == pytest.approx(1 - math.fsum((r - f) ** 2 for _, f, r in rows) / squares)

    def test_rank_correlation_against_scipy(self):
        """Ties averaged, month by month; mean over standard deviation with ddof 1."""
        table = predictions().drop_nulls()
        monthly = [
            scipy.stats.spearmanr(rows["expected_return"], rows["excess_return"]).statistic
            for _, rows in table.group_by("month", maintain_order=True)
        ]
        found = compute_monthly_scores(table)
        assert found["rank_ic"].to_list() == pytest.approx(monthly)
        assert pooled(table)["rank_ic"] == pytest.approx(np.mean(monthly))
        assert pooled(table)["rank_icir"] == pytest.approx(np.mean(monthly) / np.std(monthly, ddof=1))

    def test_by_year_is_pooled_within_the_year(self):
        both = pl.concat(
            [predictions(), predictions(seed=1).with_columns(pl.col("month").dt.offset_by("1y"))]
        )
        both = both.with_columns(pl.col("month").dt.month_end())
        by_year = compute_forecast_measures(compute_monthly_scores(both), [*MODEL, "year"])
        assert by_year["year"].to_list() == [2001, 2002]
        second = pooled(both.filter(pl.col("month").dt.year() == 2002))
        assert by_year["predictive_r2"][1] == pytest.approx(second["predictive_r2"])

    def test_size_groups_against_numpy_percentiles(self):
        table = predictions().with_columns(
            pl.when(pl.col("asset_id") != 7).then("market_equity").alias("market_equity")
        )
        scores = compute_monthly_scores(table, by_size=True)
        first = table.filter(pl.col("month") == dt.date(2001, 1, 31))
        size = first["market_equity"].drop_nulls().to_numpy()
        low, high = np.percentile(size, [20, 50])
        expected = {"micro": 0, "small": 0, "big": 0, "unknown": 0}
        for equity, r in first.select("market_equity", "excess_return").iter_rows():
            group = (
                "unknown" if equity is None
                else "micro" if equity <= low else "small" if equity <= high else "big"
            )  # fmt: skip
            expected[group] += r is not None
        january = scores.filter(pl.col("month") == dt.date(2001, 1, 31), pl.col("size_group") != "all")
        assert dict(january.select("size_group", "assets").iter_rows()) == expected

    def test_size_groups_add_up_to_all(self):
        scores = compute_monthly_scores(predictions(), by_size=True)
        sums = ("assets", "squared_error", "squared_return", "fitted_squared_error")
        whole = scores.filter(pl.col("size_group") == "all").select(pl.col(sums).sum()).row(0)
        parts = scores.filter(pl.col("size_group") != "all").select(pl.col(sums).sum()).row(0)
        assert parts == pytest.approx(whole)

    def test_a_scan_of_files_gives_the_same(self, tmp_path):
        table = pl.concat([predictions(), predictions("ca2", 2, seed=1)])
        table.write_parquet(tmp_path / "p.parquet")
        scanned = compute_monthly_scores(pl.scan_parquet(tmp_path / "p.parquet"), by_size=True)
        assert scanned.equals(compute_monthly_scores(table, by_size=True))


class TestOddPredictions:
    def test_a_plain_forecast_has_no_total_r2(self):
        plain = predictions().with_columns(fitted_return=pl.lit(None, pl.Float64))
        assert pooled(plain)["total_r2"] is None
        assert pooled(plain)["predictive_r2"] == pytest.approx(pooled(predictions())["predictive_r2"])

    def test_rows_without_forecast_or_without_return_are_not_scored(self):
        table = predictions()
        gaps = table.with_columns(
            pl.when(pl.col("asset_id") > 4).then("expected_return").alias("expected_return")
        )
        kept = table.filter(pl.col("asset_id") > 4)
        for name in ("predictive_r2", "mae", "rank_ic", "bias_bp"):
            assert pooled(gaps)[name] == pytest.approx(pooled(kept)[name])

    def test_a_month_without_forecasts_is_no_month_of_the_model(self):
        march = pl.col("month") == dt.date(2001, 3, 31)
        table = predictions().with_columns(pl.when(~march).then("expected_return").alias("expected_return"))
        scores = compute_monthly_scores(pl.concat([table, predictions("ca2")]))
        assert dict(coverage(scores).select("family", "months").iter_rows()) == {"ipca": 11, "ca2": 12}
        common = on_common_months(scores)
        assert set(common["family"]) == {"ipca", "ca2"}
        assert common.filter(march).is_empty()
        assert common["month"].n_unique() == 11

    def test_equal_forecasts_have_errors_but_no_ranking(self):
        flat = predictions().with_columns(expected_return=pl.lit(0.01))
        scores = compute_monthly_scores(flat)
        assert scores["rank_ic"].null_count() == 12
        found = pooled(flat)
        assert (found["rank_ic"], found["rank_icir"]) == (None, None)
        assert found["mae"] > 0

    @pytest.mark.parametrize("column", ["expected_return", "fitted_return", "excess_return"])
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_no_number_is_refused(self, refuses, with_value, column, value):
        table = with_value(predictions(), 41, column, value)
        refuses(lambda: compute_monthly_scores(table), column, "ipca, K = 1", "2001-02-28", "asset 1")

    def test_a_missing_column_is_named(self, refuses):
        table = predictions().drop("fitted_return", "market_equity")
        refuses(lambda: compute_monthly_scores(table, by_size=True), "fitted_return, market_equity", "nulls")

    def test_overlapping_test_years_are_refused(self, refuses):
        table = pl.concat([predictions(), predictions(months=2)])
        refuses(lambda: compute_monthly_scores(table), "160 rows", "2001-01-31", "overlap")

    def test_a_model_that_never_meets_a_return_is_refused(self, refuses):
        unborn = predictions("ca2").with_columns(excess_return=pl.lit(None, pl.Float64))
        refuses(lambda: compute_monthly_scores(pl.concat([predictions(), unborn])), "ca2, K = 1")

    def test_models_without_a_common_month_are_refused(self, refuses):
        later = predictions("ca2").with_columns(pl.col("month").dt.offset_by("1y").dt.month_end())
        scores = compute_monthly_scores(pl.concat([predictions(), later]))
        refuses(lambda: on_common_months(scores), "no month in common", "2001-01-31 to 2001-12-31")


class TestPerformance:
    def test_a_model_absent_in_some_months_is_compared_on_the_others(self, results):
        """Drop 2005 of one model: every score is that of 2004, and a warning says so."""

        def without(frame, family):
            return frame.filter((pl.col("family") != family) | (pl.col("month").dt.year() == 2004))

        managed = results.predictions.with_columns(portfolio=pl.lit("c"))
        tables = (results.predictions, managed, results.portfolio_returns)
        with pytest.warns(UserWarning, match="12 of 24 months"):
            short = compute_performance(*(without(table, "ca2") for table in tables))
        whole = compute_performance(*(table.filter(pl.col("month").dt.year() == 2004) for table in tables))
        assert short.equals(whole)

    def test_all_measures_hold_the_headline(self, results):
        managed = results.predictions.with_columns(portfolio=pl.lit("c"))
        tables = (results.predictions, managed, results.portfolio_returns)
        market = results.portfolio_returns.select("month").unique().with_columns(market=pl.lit(0.01))
        headline = compute_performance(*tables)
        every = compute_performance(*tables, measures="all", market=market)
        key = [*MODEL, "measure"]
        assert every.join(headline, on=[*key, "value"], how="semi").height == headline.height
        names = set(every["measure"])
        assert {"rank_ic_stocks", "net_sortino_long_short_equal", "months_stocks", "mae_managed"} <= names
        risk = every.filter(pl.col("measure").str.contains("drawdown|volatility|bias|turnover|months"))
        assert risk["share_of_oracle"].null_count() == len(risk) > 0
