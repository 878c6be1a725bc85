"""The 21 daily features of *trend*: returns over volatility, MACD, beta, alpha and trend slopes of every day.

A year's features are computed from that year's days and the two years before it. Windows count a stock's own
trading days.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from seqpricing_core.characteristics.definition import Characteristic, Definition

TREND_HISTORY_YEARS: Final = 2
VOLATILITY_SPAN: Final = 60
"""Of the exponentially weighted volatility that returns are divided by, in days; the paper leaves it open."""
RETURN_DAYS: Final = (1, 5, 21, 63, 126, 252)
MACD_DAYS: Final = ((8, 24), (16, 48), (32, 96))
SLOPE_DAYS: Final = (21, 63, 126, 252)
YEAR: Final = 252


def trend_features(stock_days: pl.DataFrame, market: pl.DataFrame, year: int) -> pl.DataFrame:
    """The features of every stock at the end of every trading day of ``year``.

    Parameters
    ----------
    stock_days, market
        Canonical table and `market_days` of ``year`` and the `TREND_HISTORY_YEARS` before it.

    Returns
    -------
    DataFrame
        ``asset_id``, ``day``, then one column for each of `TREND`; null until a window is full. Days
        without a return have no row. Exponential averages begin with the first day of the history.
    """
    days = (
        stock_days.lazy()
        .filter(
            pl.col("ret").is_not_null(),
            pl.col("day").dt.year().is_between(year - TREND_HISTORY_YEARS, year),
        )
        .select("asset_id", "day", "ret")
        .join(market.lazy().select("day", "market", "risk_free").drop_nulls(), on="day", how="inner")
        .sort("asset_id", "day")
        .with_columns(
            x=pl.col("ret") - pl.col("risk_free"),
            place=pl.int_range(pl.len()).over("asset_id").cast(pl.Float64),
            index=(1 + pl.col("ret")).cum_prod().over("asset_id"),
        )
        .with_columns(
            volatility=pl.col("ret").ewm_std(span=VOLATILITY_SPAN, min_samples=21).over("asset_id"),
            **{f"beta_{n}": _beta(n) for n in (126, YEAR)},
        )
        .with_columns(alpha=pl.col("x") - pl.col(f"beta_{YEAR}") * pl.col("market"))
    )
    features = days.with_columns(entry.definition.expression.alias(entry.acronym) for entry in TREND).filter(
        pl.col("day").dt.year() == year
    )
    names = [entry.acronym for entry in TREND]
    return (
        features.select("asset_id", "day", *names)
        .with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in names)
        .sort("day", "asset_id")
        .collect()
    )


def _mean(column: pl.Expr, days: int) -> pl.Expr:
    return column.rolling_mean(days).over("asset_id")


def _sum(column: pl.Expr, days: int) -> pl.Expr:
    return column.rolling_sum(days).over("asset_id")


def _covariance(a: str, b: str, days: int) -> pl.Expr:
    a_, b_ = pl.col(a), pl.col(b)
    return _mean(a_ * b_, days) - _mean(a_, days) * _mean(b_, days)


def _beta(days: int) -> pl.Expr:
    return _covariance("x", "market", days) / _covariance("market", "market", days)


def _return(days: int) -> pl.Expr:
    before = pl.col("index").shift(days, fill_value=None).over("asset_id")
    whole = pl.when(pl.col("place") == days - 1).then(pl.lit(1.0)).otherwise(before)
    return pl.col("index") / whole - 1


def _average(span: int) -> pl.Expr:
    return pl.col("index").ewm_mean(span=span, adjust=False, min_samples=span).over("asset_id")


def _macd(short: int, long: int) -> pl.Expr:
    return (_average(short) - _average(long)) / pl.col("index")


def _deviation(days: int) -> pl.Expr:
    return pl.col("ret").rolling_std(days).over("asset_id")


def _slope(days: int) -> pl.Expr:
    """Of returns on days: sum of (k - mean of k) r_k / sum of (k - mean of k)^2."""
    middle = pl.col("place") - (days - 1) / 2
    crossed = _sum(pl.col("place") * pl.col("ret"), days) - middle * _sum(pl.col("ret"), days)
    return crossed * (12 / (days * (days**2 - 1)))


def _variance_ratio() -> pl.Expr:
    """1 - R2 of the regression on the market."""
    variance = _covariance("x", "x", YEAR)
    explained = pl.col(f"beta_{YEAR}") * _covariance("x", "market", YEAR)
    return 1 - explained / pl.when(variance > 0).then(variance)


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _feature(acronym: str, name: str, formula: str, expression: pl.Expr) -> Characteristic:
    return Characteristic(
        acronym, name, "Boutier, *trend*", "daily",
        Definition(formula, expression, reads=("stock_days.ret",)),
        history_years=TREND_HISTORY_YEARS,
    )  # fmt: skip


TREND: Final[tuple[Characteristic, ...]] = (
    *(
        _feature(
            f"normalized_return_{n}", f"Normalized return, {_days(n)}",
            f"return over {_days(n)} / exponentially weighted daily volatility (span {VOLATILITY_SPAN} days)",
            _return(n) / pl.col("volatility"),
        )
        for n in RETURN_DAYS
    ),
    *(
        _feature(
            f"macd_{short}_{long}", f"MACD {short}/{long}",
            f"(exponential mean of the price, span {short} days, - the same, span {long} days) / price",
            _macd(short, long),
        )
        for short, long in MACD_DAYS
    ),
    *(
        _feature(
            f"volatility_{n}", f"Daily volatility, {n} days", f"standard deviation of r over {n} days",
            _deviation(n),
        )
        for n in (5, 21)
    ),
    *(
        _feature(
            f"beta_{n}", f"Beta, {n} days",
            f"slope of daily excess returns on the market's over {n} days", pl.col(f"beta_{n}"),
        )
        for n in (126, YEAR)
    ),
    *(
        _feature(
            f"alpha_{n}", f"Alpha, {_days(n)}",
            f"sum over {_days(n)} of (excess return - beta_{YEAR} of the day * market's excess return)",
            _sum(pl.col("alpha"), n),
        )
        for n in (1, 5, 21)
    ),
    _feature(
        "alpha_variance_ratio", "Annual alpha variance ratio",
        f"residual variance / variance of daily excess returns on the market's over {YEAR} days",
        _variance_ratio(),
    ),
    *(
        _feature(
            f"cti_{n}", f"Correlation trend indicator, {n} days",
            f"slope of daily returns on time over {n} days", _slope(n),
        )
        for n in SLOPE_DAYS
    ),
)  # fmt: skip
"""``beta_126`` and ``beta_252`` stand first among the columns that the others use."""
