"""How good portfolios are: measures of monthly excess returns, and their drawdowns with dates.

Definitions differ across the field; each docstring says which one is meant.
"""

from __future__ import annotations

import math
from typing import Final

import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.portfolios import STRATEGY

MONTHS_PER_YEAR: Final = 12
RETURNS: Final = {"": "return", "net_": "net_return"}
"""Prefix of a measure -> the column it is of: before and after costs."""


def sharpe_ratio(monthly: pl.Expr) -> pl.Expr:
    """Mean over standard deviation (ddof 1) of monthly excess returns, times sqrt(12)."""
    return _over(monthly.mean(), monthly.std()) * math.sqrt(MONTHS_PER_YEAR)


def sortino_ratio(monthly: pl.Expr) -> pl.Expr:
    """Mean over sqrt(mean of min(r, 0)^2), times sqrt(12) (Sortino, van der Meer 1991; target zero).

    The mean square is over all months, not the losing ones alone, and around zero, not around their mean.
    """
    return _over(monthly.mean(), (monthly.clip(upper_bound=0) ** 2).mean().sqrt()) * math.sqrt(
        MONTHS_PER_YEAR
    )


def compound_return(monthly: pl.Expr) -> pl.Expr:
    """Geometric annual return (prod(1 + r))^(12/T) - 1; -1 once everything is lost."""
    return wealth(monthly).last() ** (MONTHS_PER_YEAR / monthly.len()) - 1


def calmar_ratio(monthly: pl.Expr) -> pl.Expr:
    """`compound_return` over the largest compounded drawdown of the whole period (Young 1991: 36 months)."""
    return _over(compound_return(monthly), drawdown(monthly).max())


def tail_ratio(monthly: pl.Expr) -> pl.Expr:
    """|95th percentile| over |5th percentile|, percentiles by linear interpolation (*trend*)."""
    high, low = (monthly.quantile(q, interpolation="linear").abs() for q in (0.95, 0.05))
    return _over(high, low)


def wealth(monthly: pl.Expr) -> pl.Expr:
    """Value of 1 invested before the first month, compounded; a loss of 100% or more ends it at zero."""
    return (1 + monthly).clip(lower_bound=0).cum_prod()


def drawdown(monthly: pl.Expr, *, compounded: bool = True) -> pl.Expr:
    """Loss since the highest value so far, the starting value included; 0 at a new high.

    Compounded: 1 - wealth / highest wealth, a share between 0 and 1. Additive (the habit for long-short
    portfolios rebuilt to one dollar a side each month): highest sum of returns minus the sum, in returns,
    without an upper bound.
    """
    if compounded:
        value = wealth(monthly)
        return 1 - value / value.cum_max().clip(lower_bound=1)
    total = monthly.cum_sum()
    return total.cum_max().clip(lower_bound=0) - total


def return_measures(column: str) -> dict[str, pl.Expr]:
    """Name -> expression over the months of one strategy, in order of time.

    ``mean_return`` is monthly; ``annual_return`` 12 times it (arithmetic, the numerator of the Sharpe ratio);
    ``annual_volatility`` sqrt(12) times the standard deviation (ddof 1); ``skewness`` and ``kurtosis`` (in
    excess of the normal's) are unbiased under normality, as scipy's with ``bias=False``; ``hit_rate`` is the
    share of months above zero; ``max_drawdown`` is compounded, ``max_drawdown_additive`` is not;
    ``share_under_water`` is the share of months that end below an earlier high,
    ``longest_under_water`` the most such months in a row.
    """
    r = pl.col(column)
    under = drawdown(r) > 0
    runs = under.rle().struct
    return {
        "sharpe": sharpe_ratio(r),
        "mean_return": r.mean(),
        "annual_return": MONTHS_PER_YEAR * r.mean(),
        "compound_return": compound_return(r),
        "annual_volatility": r.std() * math.sqrt(MONTHS_PER_YEAR),
        "sortino": sortino_ratio(r),
        "calmar": calmar_ratio(r),
        "skewness": r.skew(bias=False).fill_nan(None),
        "kurtosis": r.kurtosis(fisher=True, bias=False).fill_nan(None),
        "max_drawdown": drawdown(r).max(),
        "max_drawdown_additive": drawdown(r, compounded=False).max(),
        "tail_ratio": tail_ratio(r),
        "hit_rate": (r > 0).mean(),
        "share_under_water": under.mean(),
        "longest_under_water": runs.field("len").filter(runs.field("value")).max().fill_null(0),
    }


def compute_return_measures(
    portfolio_returns: pl.DataFrame, market: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Measures of every strategy, before and after costs (prefix ``net_``).

    Parameters
    ----------
    portfolio_returns
        `STRATEGY`, ``month``, ``return``, ``turnover``, ``net_return``; decimal excess returns.
    market
        ``month``, ``market`` (decimal excess return). With it, ``capm_beta`` and ``capm_alpha`` (monthly,
        decimal) by least squares over the months that both have; absent without.

    Returns
    -------
    DataFrame
        `STRATEGY`, ``months``, ``turnover`` (mean), then a column per measure. Null where a measure
        is undefined: a ratio over a dispersion or a drawdown of zero.

    Raises
    ------
    InputError
        A return that is missing or not finite, or a strategy-month that stands twice.
    """
    check_portfolio_returns(portfolio_returns)
    exprs = {
        prefix + name: expr for prefix, c in RETURNS.items() for name, expr in return_measures(c).items()
    }
    table = portfolio_returns.sort("month")
    if market is not None:
        table = table.join(market.select("month", "market"), on="month", how="left", maintain_order="left")
        exprs |= {prefix + n: e for prefix, c in RETURNS.items() for n, e in _capm(c).items()}
    measured = table.group_by(STRATEGY).agg(
        months=pl.len(), turnover=pl.col("turnover").mean(), **exprs
    )  # fmt: skip
    # In the order of the table that came in.
    return (
        portfolio_returns.select(STRATEGY)
        .unique(maintain_order=True)
        .join(measured, on=STRATEGY, how="left", nulls_equal=True, maintain_order="left")
    )


def compute_drawdowns(portfolio_returns: pl.DataFrame) -> pl.DataFrame:
    """The largest compounded drawdown of every strategy, with its dates.

    Returns
    -------
    DataFrame
        `STRATEGY`, ``costs`` (``before`` or ``after``), ``max_drawdown``, ``peak`` (the last month at the
        earlier high; the month before the first when that high was the start), ``trough``, ``recovery`` (the
        first month at a new high; null if there is none yet), ``months_to_trough`` and ``months_to_recovery``
        (from the peak; to the last month of the table while not recovered). Dates are null where nothing
        was ever lost.
    """
    check_portfolio_returns(portfolio_returns)
    parts = []
    for prefix, column in RETURNS.items():
        fall, month = drawdown(pl.col(column)), pl.col("month")
        place, trough = pl.int_range(pl.len()), fall.arg_max()
        start = month.first().dt.offset_by("-1mo").dt.month_end()
        dates = {
            "peak": month.filter((fall == 0) & (place < trough)).last().fill_null(start),
            "trough": month.get(trough),
            "recovery": month.filter((fall == 0) & (place > trough)).first(),
        }
        frame = (
            portfolio_returns.sort("month")
            .group_by(STRATEGY)
            .agg(max_drawdown=fall.max(), last_month=month.last(), **dates)
            .with_columns(
                pl.when(pl.col("max_drawdown") > 0).then(pl.col(name)).alias(name) for name in dates
            )
        )
        parts.append(
            frame.select(
                *STRATEGY,
                pl.lit("after" if prefix else "before").alias("costs"),
                "max_drawdown", *dates,
                months_to_trough=_months_between("peak", pl.col("trough")),
                months_to_recovery=_months_between("peak", pl.coalesce("recovery", "last_month")),
            )
        )  # fmt: skip
    return pl.concat(parts).sort(*STRATEGY, "costs", descending=[False] * len(STRATEGY) + [True])


def check_portfolio_returns(portfolio_returns: pl.DataFrame) -> None:
    """Refuse missing and infinite returns, and a strategy-month that stands twice."""
    for column in RETURNS.values():
        bad = portfolio_returns.filter(~pl.col(column).is_finite().fill_null(value=False))
        if len(bad):
            raise InputError(
                f"{column} is {bad[column][0]} in {len(bad)} row(s)",
                where=f"portfolio returns of {_name(bad)}",
                expected="a finite return in every month",
                remedy="look at the predictions and stock returns of that month",
            )
    twice = portfolio_returns.filter(portfolio_returns.select(*STRATEGY, "month").is_duplicated())
    if len(twice):
        raise InputError(
            f"{len(twice)} rows share their strategy and month",
            where=f"portfolio returns of {_name(twice)}",
            expected="one return per strategy and month",
            remedy="test years overlap: keep one window's predictions for each month",
        )


def _name(rows: pl.DataFrame) -> str:
    row = rows.row(0, named=True)
    strategy = f"{row['family']}, K = {row['number_of_factors']}, {row['weights']}, {row['portfolio']}"
    return f"{strategy}, month {row['month']}"


def _capm(column: str) -> dict[str, pl.Expr]:
    market = pl.col("market")
    r = pl.col(column).filter(market.is_not_null())
    m = market.drop_nulls()
    beta = _over(pl.cov(r, m), m.var())
    return {"capm_beta": beta, "capm_alpha": r.mean() - beta * m.mean()}


def _over(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Null over a denominator that is zero, up to rounding, or unknown."""
    return pl.when(denominator.abs() > 1e-15).then(numerator / denominator)


def _months_between(start: str, end: pl.Expr) -> pl.Expr:
    def count(date: pl.Expr) -> pl.Expr:
        return date.dt.year().cast(pl.Int32) * MONTHS_PER_YEAR + date.dt.month().cast(pl.Int32)

    return count(end) - count(pl.col(start))
