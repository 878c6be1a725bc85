"""Predictions that cannot be sorted, weighted or charged: one error that names model, period and asset."""

from __future__ import annotations

import datetime as dt
import math

import polars as pl
import pytest

from seqpricing_core.portfolios import assign_quantiles, compute_portfolio_returns, iterate_portfolio_returns
from seqpricing_core.study import Costs, Portfolios

OPTIONS = Portfolios(quantiles=2, weights=("equal",))


@pytest.fixture
def good() -> pl.DataFrame:
    months = [dt.date(2004, 1, 31), dt.date(2004, 2, 29)]
    return pl.DataFrame({
        "family": "ca2", "number_of_factors": pl.Series([3] * 8, dtype=pl.Int32),
        "month": [month for month in months for _ in range(4)], "asset_id": [*range(100, 104)] * 2,
        "expected_return": [0.1, 0.2, 0.3, 0.4] * 2, "fitted_return": 0.0, "excess_return": 0.01,
        "market_equity": 5.0, "exchange": 1, "half_spread": 0.002,
    })  # fmt: skip


@pytest.fixture
def evaluate():
    def run(table, costs=None):
        return compute_portfolio_returns(table, OPTIONS, costs or Costs(half_spreads=True))

    return run


def test_good_predictions(good, evaluate):
    assert len(evaluate(good)) == 8


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("expected_return", math.inf, "expected return is inf"),
        ("expected_return", -math.inf, "expected return is -inf"),
        ("expected_return", math.nan, "expected return is nan"),
        ("expected_return", None, "expected return is None"),
        ("excess_return", math.inf, "excess return is inf"),
        ("market_equity", -1.0, "market equity is -1.0"),
        ("exchange", 7, "exchange is 7"),
        ("half_spread", None, "half-spread is None"),
        ("half_spread", math.nan, "half-spread is nan"),
        ("half_spread", -0.01, "half-spread is -0.01"),
        ("half_spread", 1.5, "half-spread is 1.5"),
    ],
)
def test_a_bad_value(good, evaluate, refuses, with_value, column, value, what):
    """In the sixth row: February, asset 101."""
    table = with_value(good, 5, column, value)
    refuses(lambda: evaluate(table), what, "1 row(s)", "ca2, K = 3", "month 2004-02-29", "asset 101")


@pytest.mark.parametrize("name", ["LSE", "nys", ""])
def test_a_name_that_is_no_exchange(good, evaluate, refuses, name):
    table = good.with_columns(exchange=pl.Series(["NYSE"] * 7 + [name]))
    refuses(lambda: evaluate(table), f"exchange is {name}", "asset 103", "one of 1, NYSE")


def test_what_is_not_used_is_not_asked_for(good, evaluate, with_value):
    """A missing half-spread hurts nobody who charges a common level; sizes and exchanges may be missing."""
    table = with_value(good, 5, "half_spread", None)
    table = with_value(with_value(table, 1, "market_equity", None), 2, "exchange", None)
    assert evaluate(table, Costs())["return"].null_count() == 0


def test_a_stock_that_stands_twice(good, evaluate, refuses):
    table = pl.concat([good, good.slice(6, 1)])
    for action in (lambda: evaluate(table), lambda: assign_quantiles(table, 2)):
        refuses(action, "2 rows share a stock and a month", "ca2, K = 3", "2004-02-29", "asset 102")


@pytest.mark.parametrize(
    "column",
    ["family", "number_of_factors", "asset_id", "expected_return", "excess_return", "market_equity"],
)  # fmt: skip
def test_a_missing_column(good, evaluate, refuses, column):
    refuses(lambda: evaluate(good.drop(column)), f"missing column: {column}")


@pytest.mark.parametrize("column", ["family", "number_of_factors", "month", "asset_id"])
def test_a_row_without_a_key(good, evaluate, refuses, with_value, column):
    refuses(lambda: evaluate(with_value(good, 5, column, None)), f"no {column} in 1 row(s)")


def test_no_date(good, evaluate, refuses):
    refuses(lambda: evaluate(good.drop("month")), "when the stocks were held", "'month'", "'day'")


def test_half_spreads_asked_for_and_not_there(good, evaluate, refuses):
    refuses(lambda: evaluate(good.drop("half_spread")), "costs.half_spreads", "no column half_spread")


def test_tables_out_of_order(good, refuses):
    months = [good.filter(month=month) for month in good["month"].unique().sort()]
    for tables in (months[::-1], [good, months[1]]):
        refuses(
            lambda tables=tables: list(iterate_portfolio_returns(tables, OPTIONS, Costs())),
            "after one that ended with 2004-02-29", "in order",
        )  # fmt: skip


class TestStudyFile:
    @pytest.mark.parametrize(
        ("section", "key", "expected"),
        [
            ({"portfolios": {"breakpoints": "amex"}}, "portfolios.breakpoints", "'all' or 'nyse'"),
            ({"portfolios": {"micro_cap_percentile": 100}}, "micro_cap_percentile", "less than 100"),
            ({"portfolios": {"micro_cap_percentile": 0}}, "micro_cap_percentile", "greater than 0"),
            ({"portfolios": {"weight_cap_percentile": 0}}, "weight_cap_percentile", "greater than 0"),
            ({"portfolios": {"weights": ["equal", "equal"]}}, "portfolios.weights", "weights that differ"),
            ({"costs": {"other_basis_points": [10, 10]}}, "costs.other_basis_points", "levels that differ"),
            ({"costs": {"other_basis_points": [-1]}}, "other_basis_points.0", "greater than or equal to 0"),
        ],
    )  # fmt: skip
    def test_names_key_and_expectation(self, settings, tmp_path, refuses, section, key, expected):
        import yaml

        from seqpricing_core.study import load_study

        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(settings(**section)), encoding="utf-8")
        refuses(lambda: load_study(file), key, expected)
