"""Measures of portfolio returns against plain loops, scipy and the standard library."""

from __future__ import annotations

import datetime as dt
import math
import statistics

import numpy as np
import polars as pl
import pytest
import scipy.stats

from seqpricing_core.evaluation.return_measures import (
    compute_drawdowns,
    compute_return_measures,
    drawdown,
)


def strategy(returns, *, net=None, first=dt.date(2001, 1, 31), **names) -> pl.DataFrame:
    months = pl.date_range(first, dt.date(2060, 1, 31), "1mo", eager=True).dt.month_end()[: len(returns)]
    keys = {"family": "ipca", "number_of_factors": 1, "weights": "equal", "portfolio": "long_short"} | names
    return pl.DataFrame(
        {"month": months, "return": returns, "net_return": returns if net is None else net}
    ).select(*(pl.lit(value).alias(name) for name, value in keys.items()), pl.all(), turnover=pl.lit(0.5))


def measures(returns, **options):
    return compute_return_measures(strategy(returns), **options).row(0, named=True)


def slow_drawdowns(returns):
    """The definition, month by month: wealth from 1, highest so far, loss from it."""
    wealth = highest = 1.0
    losses = []
    for r in returns:
        wealth = max(0.0, wealth * (1 + r))
        highest = max(highest, wealth)
        losses.append(1 - wealth / highest)
    return losses


@pytest.fixture(scope="module")
def monthly():
    return np.random.default_rng(4).standard_t(4, 87) * 0.03 + 0.004


class TestAgainstOthers:
    def test_moments_against_scipy_and_the_standard_library(self, monthly):
        found = measures(monthly)
        mean, deviation = statistics.mean(monthly), statistics.stdev(monthly)
        assert found["months"] == 87
        assert found["mean_return"] == pytest.approx(mean)
        assert found["annual_return"] == pytest.approx(12 * mean)
        assert found["annual_volatility"] == pytest.approx(12**0.5 * deviation)
        assert found["sharpe"] == pytest.approx(12**0.5 * mean / deviation)
        assert found["skewness"] == pytest.approx(scipy.stats.skew(monthly, bias=False))
        assert found["kurtosis"] == pytest.approx(scipy.stats.kurtosis(monthly, bias=False))
        high, low = np.percentile(monthly, [95, 5])
        assert found["tail_ratio"] == pytest.approx(abs(high) / abs(low))
        assert found["hit_rate"] == sum(r > 0 for r in monthly) / 87

    def test_sortino_divides_by_all_months(self, monthly):
        downside = math.sqrt(sum(min(r, 0) ** 2 for r in monthly) / 87)
        assert measures(monthly)["sortino"] == pytest.approx(12**0.5 * statistics.mean(monthly) / downside)

    def test_calmar_is_geometric_over_compounded(self, monthly):
        annual = math.prod(1 + r for r in monthly) ** (12 / 87) - 1
        found = measures(monthly)
        assert found["compound_return"] == pytest.approx(annual)
        assert found["calmar"] == pytest.approx(annual / max(slow_drawdowns(monthly)))

    def test_drawdowns_against_a_loop(self, monthly):
        losses, found = slow_drawdowns(monthly), measures(monthly)
        assert found["max_drawdown"] == pytest.approx(max(losses))
        assert found["share_under_water"] == pytest.approx(sum(x > 1e-12 for x in losses) / 87)
        longest = run = 0
        for loss in losses:
            run = run + 1 if loss > 1e-12 else 0
            longest = max(longest, run)
        assert found["longest_under_water"] == longest
        highest, sums = 0.0, np.cumsum(monthly)
        fall = 0.0
        for s in sums:
            highest = max(highest, s)
            fall = max(fall, highest - s)
        assert found["max_drawdown_additive"] == pytest.approx(fall)

    def test_capm_against_scipy(self, monthly):
        """Slope and intercept of scipy's linregress, over the months that the market has."""
        table = strategy(monthly)
        market = table.select("month", market=pl.Series(np.random.default_rng(0).normal(0.01, 0.04, 87)))[5:]
        found = compute_return_measures(table, market).row(0, named=True)
        fit = scipy.stats.linregress(market["market"].to_numpy(), monthly[5:])
        assert found["capm_beta"] == pytest.approx(fit.slope)
        assert found["capm_alpha"] == pytest.approx(fit.intercept)
        assert "capm_beta" not in measures(monthly)


class TestDrawdown:
    def test_compounded_and_additive_are_not_the_same(self):
        """Half lost and half gained: .5 then .25 below in wealth; .5 then 0 in sums."""
        table = pl.DataFrame({"r": [-0.5, 0.5]})
        assert table.select(drawdown(pl.col("r"))).to_series().to_list() == [0.5, 0.25]
        assert table.select(drawdown(pl.col("r"), compounded=False)).to_series().to_list() == [0.5, 0.0]

    def test_dates_of_a_recovered_fall(self):
        """1.1, .99, .88, 1.21: highest in January, lowest in March, higher again in April."""
        row = compute_drawdowns(strategy([0.1, -0.1, -1 / 9, 0.375])).row(0, named=True)
        assert row["max_drawdown"] == pytest.approx(0.2)
        assert (row["peak"], row["trough"], row["recovery"]) == (
            dt.date(2001, 1, 31), dt.date(2001, 3, 31), dt.date(2001, 4, 30),
        )  # fmt: skip
        assert (row["months_to_trough"], row["months_to_recovery"]) == (2, 3)

    def test_a_fall_from_the_start_has_its_peak_before_the_first_month(self):
        row = compute_drawdowns(strategy([-0.1, -0.1, 0.05])).row(0, named=True)
        assert (row["peak"], row["trough"], row["recovery"]) == (
            dt.date(2000, 12, 31), dt.date(2001, 2, 28), None,
        )  # fmt: skip
        assert (row["months_to_trough"], row["months_to_recovery"]) == (2, 3)

    def test_nothing_lost_has_no_dates(self):
        row = compute_drawdowns(strategy([0.1, 0.0, 0.2])).row(0, named=True)
        assert (row["max_drawdown"], row["peak"], row["trough"], row["recovery"]) == (0, None, None, None)

    def test_after_ruin_there_is_no_way_back(self):
        """A long-short month of -120% ends it: -100%, whatever comes then."""
        found = measures([0.1, -1.2, 5.0])
        assert (found["max_drawdown"], found["compound_return"]) == (1.0, -1.0)

    def test_before_and_after_costs(self):
        table = compute_drawdowns(strategy([0.1, -0.1], net=[0.1, -0.2]))
        assert dict(table.select("costs", "max_drawdown").iter_rows()) == pytest.approx(
            {"before": 0.1, "after": 0.2}
        )


class TestOddInputs:
    def test_constant_returns_have_no_ratio(self):
        found = measures([0.01] * 12)
        undefined = ("sharpe", "sortino", "calmar", "skewness", "kurtosis")
        assert [found[name] for name in undefined] == [None] * 5
        assert found["mean_return"] == pytest.approx(0.01)

    def test_one_month(self):
        found = measures([0.01])
        assert (found["sharpe"], found["annual_volatility"], found["mean_return"]) == (None, None, 0.01)

    def test_order_of_rows_does_not_matter(self, monthly):
        table = strategy(monthly)
        shuffled = table.sample(fraction=1.0, shuffle=True, seed=1)
        assert compute_return_measures(table).equals(compute_return_measures(shuffled))

    @pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
    def test_a_return_that_is_no_number_is_refused(self, refuses, value):
        refuses(
            lambda: measures([0.1, value, 0.2]),
            "return is",
            "ipca, K = 1, equal, long_short, month 2001-02-28",
        )

    def test_overlapping_years_are_refused(self, refuses):
        table = strategy([0.1, 0.2])
        refuses(lambda: compute_return_measures(pl.concat([table, table[1:]])), "2 rows", "2001-02-28")
