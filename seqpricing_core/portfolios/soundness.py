"""What must hold of portfolios before anybody believes their returns; each says what is wrong, in words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Final

import numpy as np
import polars as pl

from seqpricing_core.portfolios.cross_sections import MODEL, period_column
from seqpricing_core.portfolios.holdings import iterate_holdings
from seqpricing_core.portfolios.returns import STRATEGY
from seqpricing_core.study import Portfolios

ROUNDING: Final = 1e-9
LARGEST_TURNOVER: Final = {"long_short": 4.0}
"""Everything sold and bought, on both legs; 2 for portfolios of one leg."""
LEAK: Final = 0.95
"""No forecast of a month's returns ranks stocks this well; one that does has seen them."""
SHOWN: Final = 5


def weight_problems(predictions: pl.DataFrame, portfolios: Portfolios) -> list[str]:
    """Weights of each quantile portfolio that do not sum to one, are negative, or are no number."""
    (holdings,) = iterate_holdings([predictions], portfolios)
    return wrong_weights(holdings)


def wrong_weights(holdings: pl.DataFrame) -> list[str]:
    """The same, of a table of `iterate_holdings`."""
    keys = [*MODEL, "weights", period_column(holdings), "quantile"]
    held = holdings.filter(pl.col("weight") != 0)
    weight = pl.col("weight")
    sums = held.group_by(keys, maintain_order=True).agg(total=weight.sum(), lowest=weight.min())
    wrong = sums.filter(
        ~((pl.col("total") - 1).abs() <= ROUNDING) | ~(pl.col("lowest") >= 0) | pl.col("total").is_nan()
    )
    return _said(
        f"{_of(row)}: weights sum to {row['total']:.6g}, the lowest is {row['lowest']:.3g}"
        for row in wrong.iter_rows(named=True)
    )


def look_ahead_problems(predictions: pl.DataFrame, portfolios: Portfolios, seed: int = 0) -> list[str]:
    """Weights that change when the returns of their own month are dealt out anew among its stocks.

    Which stocks have a return stays: one that leaves hands its weight to the rest of its portfolio.
    """
    period = period_column(predictions)
    ordered = predictions.sort(*MODEL, period, "asset_id")
    random = np.random.default_rng(seed)
    parts = []
    for _, rows in ordered.group_by(*MODEL, period, maintain_order=True):
        returns = rows["excess_return"].to_numpy().copy()
        there = np.isfinite(returns)
        returns[there] = random.permutation(returns[there])
        parts.append(rows.with_columns(excess_return=pl.Series(returns).fill_nan(None)))
    keys = [*MODEL, "weights", period, "quantile", "asset_id"]
    before, after = (
        next(iterate_holdings([table], portfolios)).filter(pl.col("weight") != 0).select(*keys, "weight")
        for table in (ordered, pl.concat(parts))
    )
    both = before.join(after, on=keys, how="full", coalesce=True, suffix="_after")
    moved = both.filter(~(pl.col("weight") == pl.col("weight_after")).fill_null(value=False)).sort(keys)
    return _said(
        f"{_of(row)}, asset {row['asset_id']}: the weight follows the return of its own month"
        for row in moved.iter_rows(named=True)
    )


def forecast_problems(predictions: pl.DataFrame) -> list[str]:
    """Months whose forecasts rank stocks as their returns do: the outcome has got into the forecast."""
    period = period_column(predictions)
    known = predictions.filter(pl.col("expected_return").is_not_null(), pl.col("excess_return").is_not_null())
    found = known.group_by(*MODEL, period, maintain_order=True).agg(
        stocks=pl.len(), ic=pl.corr("expected_return", "excess_return", method="spearman")
    )
    leaks = found.filter((pl.col("stocks") >= 10) & (pl.col("ic").abs() > LEAK))
    return _said(
        f"{_of(row)}: rank correlation of forecasts and returns {row['ic']:.3f}"
        for row in leaks.iter_rows(named=True)
    )


def turnover_problems(portfolio_returns: pl.DataFrame) -> list[str]:
    """Turnover (*memory*) that is below zero, above all sold and bought, or no number."""
    largest = pl.col("portfolio").replace_strict(LARGEST_TURNOVER, default=2.0, return_dtype=pl.Float64)
    sound = pl.col("turnover").is_between(-ROUNDING, largest + ROUNDING).fill_null(value=False)
    return _said(
        f"{_of(row)}: turnover {row['turnover']}"
        for row in portfolio_returns.filter(~sound).iter_rows(named=True)
    )


def month_problems(portfolio_returns: pl.DataFrame, first: str, last: str | None) -> list[str]:
    """Months of the test years that a strategy lacks or has twice.

    Parameters
    ----------
    first, last
        'YYYY-MM' of the first and last month; without ``last``, that of the table.
    """
    end = dt.date.fromisoformat(f"{last}-01") if last else portfolio_returns["month"].max()
    assert isinstance(end, dt.date)
    start = dt.date.fromisoformat(f"{first}-01")
    expected = set(pl.date_range(start, end, "1mo", eager=True).dt.month_end().to_list())
    problems = []
    for key, rows in portfolio_returns.group_by(STRATEGY, maintain_order=True):
        months = rows["month"].to_list()
        found = set(months)
        name = " ".join(map(str, key))
        if lacking := sorted(expected - found):
            problems.append(f"{name}: {len(lacking)} month(s) lacking, the first {lacking[0]:%Y-%m}")
        if beyond := sorted(found - expected):
            problems.append(f"{name}: {len(beyond)} month(s) too many, the first {beyond[0]:%Y-%m}")
        if len(months) > len(found):
            problems.append(f"{name}: {len(months) - len(found)} month(s) stand twice")
    return _said(problems)


def _of(row: dict[str, object]) -> str:
    names = ("family", "number_of_factors", "weights", "portfolio", "quantile", "month", "day")
    return " ".join(f"K={row[n]}" if n == MODEL[1] else str(row[n]) for n in names if n in row)


def _said(problems: Iterable[str]) -> list[str]:
    """The first few, and how many more there are."""
    every = list(problems)
    rest = [f"and {len(every) - SHOWN} more"] if len(every) > SHOWN else []
    return [*every[:SHOWN], *rest]
