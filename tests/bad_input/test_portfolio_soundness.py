"""The checks on portfolios fail on what they are for, and pass on sound ones."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from seqpricing_core.portfolios import rebalancing
from seqpricing_core.portfolios.holdings import iterate_holdings
from seqpricing_core.portfolios.soundness import (
    forecast_problems,
    look_ahead_problems,
    month_problems,
    turnover_problems,
    weight_problems,
    wrong_weights,
)


@pytest.fixture(scope="module")
def one_model(results):
    return results.predictions.filter(family="ipca", number_of_factors=1)


@pytest.fixture(scope="module")
def returns(results):
    return results.portfolio_returns


def test_a_sound_study_passes(results, small, one_model):
    portfolios = small.study.portfolios
    assert weight_problems(one_model, portfolios) == []
    assert look_ahead_problems(one_model, portfolios) == []
    assert forecast_problems(results.predictions) == []
    assert turnover_problems(results.portfolio_returns) == []
    assert month_problems(results.portfolio_returns, "2004-01", "2005-12") == []


@pytest.mark.parametrize("weight", [0.9, -0.2, float("nan")])
def test_weights_that_do_not_sum_to_one_or_are_negative(small, one_model, weight):
    (holdings,) = iterate_holdings([one_model], small.study.portfolios)
    values = holdings["weight"].to_list()
    place = next(i for i, value in enumerate(values) if value > 0)
    values[place] = weight
    (problem,) = wrong_weights(holdings.with_columns(weight=pl.Series(values)))
    assert "ipca K=1" in problem
    assert "2004-01" in problem


def test_weights_by_what_the_month_brings(monkeypatch, small, one_model):
    """A planted leak: weights follow the returns of the month that they are held for."""
    honest = rebalancing.weights_of

    def leaky(section, quantile, sizes):
        return honest(section, quantile, sizes * (1 + abs(section.excess_return)))

    monkeypatch.setattr(rebalancing, "weights_of", leaky)
    problems = look_ahead_problems(one_model, small.study.portfolios)
    assert "the weight follows the return of its own month" in problems[0]
    assert problems[-1].startswith("and ")


def test_forecasts_that_are_the_outcome(one_model):
    leak = one_model.with_columns(expected_return=pl.col("excess_return").fill_null(0.0) * 0.5)
    problems = forecast_problems(leak)
    assert "rank correlation of forecasts and returns 1.000" in problems[0]


@pytest.mark.parametrize(("portfolio", "value"), [
    ("long_only", 2.1), ("long_short", 4.1), ("quantile_1", -0.1), ("long_only", None),
    ("long_only", float("nan")),
])  # fmt: skip
def test_turnover_out_of_bounds(returns, portfolio, value):
    place = returns["portfolio"].to_list().index(portfolio)
    values = returns["turnover"].to_list()
    values[place] = value
    (problem,) = turnover_problems(returns.with_columns(turnover=pl.Series(values, dtype=pl.Float64)))
    assert portfolio in problem


def test_months_that_lack_stand_twice_or_are_too_many(returns):
    lacking = returns.filter(~((pl.col("family") == "ipca") & (pl.col("month") == dt.date(2004, 6, 30))))
    problems = month_problems(lacking, "2004-01", "2005-12")
    assert "1 month(s) lacking, the first 2004-06" in problems[0]
    assert any(problem.startswith("and ") for problem in problems)
    (one, *_), doubled = problems, pl.concat([returns, returns.head(1)])
    assert "ipca" in one
    assert "stand twice" in month_problems(doubled, "2004-01", "2005-12")[0]
    assert "too many, the first 2005-12" in month_problems(returns, "2004-01", "2005-11")[0]
    assert month_problems(returns, "2004-01", None) == [], (
        "a study without a last month ends where the table does"
    )
