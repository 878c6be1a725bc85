"""A year of days -> what each stock's months need to remember of them.

Rolling regressions over one or three years of days or weeks add up monthly sums of products, so that a year
of days is read once, and never the history. `market_days` comes first: the market's return.

**Weeks** end on Friday and count in the month of their Friday, whether or not the week's last trading days
are known yet. They are cut at the end of the year, so that one year of days is enough: the week of New Year
is two short ones.

Sums run over the rows of one stock and month alone, in the order of days (`numpy.add.reduceat`): no row of
another stock or month can move their last digit.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import reduce
from operator import mul
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl

from seqpricing_core.characteristics.segments import Floats, Starts, add_up, as_floats, runs, segments
from seqpricing_core.tables import FACTOR_DAYS, STOCK_DAYS, with_optional_columns

WEEK_LAGS: Final = 4
WEEK: Final = ("1", "y", *(f"m{lag}" for lag in range(WEEK_LAGS + 1)))
"""One, the stock's weekly excess return, the market's and its lags."""
DAY: Final = ("1", "x", "m", "l")
"""One, the stock's daily excess return, the market's, the market's of the trading day before."""
THREE_FACTORS: Final = ("1", "x", "m", "s", "h")
"""One, the stock's daily excess return, and Fama and French's three factors."""

LIQUIDITY: Final = (
    "high_low_spread", "quoted_spread", "dollar_volume_deviation", "turnover_deviation",
    "volume_deviation", "amihud",
)  # fmt: skip
AGGREGATES: Final = (
    "trading_days", "zero_volume_days", "sum_squared_daily_returns", "maximum_daily_return",
)  # fmt: skip
"""Columns of ``stock_months`` that are what the days add up to; for sources that must make them."""


def product_columns(prefix: str, names: tuple[str, ...]) -> list[str]:
    """Names of the sums of products of each two of ``names``, the upper triangle by rows."""
    return [f"{prefix}_{a}_{b}" for a, b in itertools.combinations_with_replacement(names, 2)]


WEEK_SUMS: Final = product_columns("week", WEEK)
DAY_SUMS: Final = [*product_columns("day", DAY), "day_mmm", "day_xmm"]
THREE_FACTOR_SUMS: Final = product_columns("three", THREE_FACTORS)
RETURN_SUMS: Final = ["ret_1", "ret_r", "ret_rr"]

ROLLING: Final = ("weekly_beta", "weekly_residual_deviation", "price_delay", "daily_beta", "coskewness",
                  "capm_residual_variance", "three_factor_residual_variance", "return_variance")  # fmt: skip
"""Columns that `rolling` makes from the sums."""


def _statistic_inputs() -> dict[str, tuple[str, ...]]:
    ret = ("stock_days.ret",)
    three = ("factor_days.market_excess", "factor_days.size", "factor_days.value", *ret)
    needed = dict.fromkeys(ROLLING, ret) | {"three_factor_residual_variance": three}
    days = {
        "high_low_spread": ("high", "low"),
        "quoted_spread": ("bid", "ask"),
        "dollar_volume_deviation": ("dollar_volume",),
        "turnover_deviation": ("volume", "shares"),
        "amihud": ("ret", "dollar_volume"),
        "volume_deviation": ("volume", "price"),
    }
    liquidity = {name: tuple(f"stock_days.{c}" for c in columns) for name, columns in days.items()}
    return needed | liquidity


STATISTIC_INPUTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(_statistic_inputs())
"""What each statistic of days is made from, as in `RawTables.inputs`."""


def market_days(stock_days: pl.DataFrame, factor_days: pl.DataFrame | None) -> pl.DataFrame:
    """The market of each trading day of a year.

    Parameters
    ----------
    stock_days
        Canonical table of the year.
    factor_days
        The same for the factors; without it the market is the mean return of all stocks of the day (equal
        weights, as in Green, Hand, Zhang 2017), and the risk-free rate is left out.

    Returns
    -------
    DataFrame
        ``day``, ``market`` (excess), ``risk_free``, ``size``, ``value`` (null without factors), sorted.
    """
    if factor_days is not None:
        return (
            with_optional_columns(factor_days, FACTOR_DAYS)
            .select("day", "risk_free", "size", "value", market="market_excess")
            .sort("day")
            .select("day", "market", "risk_free", "size", "value")
        )
    rows = stock_days.select("day", "asset_id", "ret").drop_nulls().sort("day", "asset_id")
    days, starts, counts = segments(rows["day"].to_numpy())
    means = np.add.reduceat(rows["ret"].to_numpy(), starts) / counts if len(rows) else np.empty(0)
    nothing = pl.lit(None, dtype=pl.Float64)
    return pl.DataFrame({"day": days, "market": means}, schema={"day": pl.Date, "market": pl.Float64}).select(
        "day", "market", risk_free=pl.lit(0.0), size=nothing, value=nothing
    )


def day_statistics(stock_days: pl.DataFrame, market: pl.DataFrame, year: int) -> pl.DataFrame:
    """Monthly statistics of the days of ``year``, for every stock and month with a daily row.

    Parameters
    ----------
    stock_days
        Canonical table of ``year`` (other years are ignored).
    market
        `market_days` of ``year``, and of the year before it for the lags of January.

    Returns
    -------
    DataFrame
        ``asset_id``, ``month``, then sums of products over the month's days and weeks (`WEEK_SUMS`,
        `DAY_SUMS`, `THREE_FACTOR_SUMS`, `RETURN_SUMS`; 0 where there are none), `LIQUIDITY`
        and `AGGREGATES` (null where they cannot be computed). Sorted by asset, month.
    """
    days = (
        with_optional_columns(stock_days, STOCK_DAYS)
        .filter(pl.col("day").dt.year() == year)
        .sort("asset_id", "day")
        .join(_with_lag(market), on="day", how="left", maintain_order="left")
        .with_columns(month=pl.col("day").dt.month_end(), x=pl.col("ret") - pl.col("risk_free"))
    )
    keys = days.select("asset_id", "month")
    starts, counts = runs(keys)
    parts = [
        keys[starts],
        _sums(days, starts, DAY_SUMS, dict(zip(DAY, (None, "x", "market", "lagged"), strict=True))),
        _sums(
            days, starts, THREE_FACTOR_SUMS,
            dict(zip(THREE_FACTORS, (None, "x", "market", "size", "value"), strict=True)),
        ),
        _sums(days, starts, RETURN_SUMS, {"1": None, "r": "ret"}),
        _liquidity(days, starts, counts),
        _aggregates(days, starts),
    ]  # fmt: skip
    monthly = pl.concat(parts, how="horizontal")
    weekly = _weekly_sums(days, market, year)
    return (
        monthly.join(weekly, on=["asset_id", "month"], how="full", coalesce=True)
        .with_columns(pl.col([*WEEK_SUMS, *DAY_SUMS, *THREE_FACTOR_SUMS, *RETURN_SUMS]).fill_null(0.0))
        .sort("asset_id", "month")
    )


def _with_lag(market: pl.DataFrame) -> pl.DataFrame:
    return market.sort("day").with_columns(lagged=pl.col("market").shift(1))


def _column(table: pl.DataFrame, name: str | None) -> Floats:
    if name is None:
        return np.ones(len(table))
    return as_floats(table[name])


def _sums(
    table: pl.DataFrame, starts: Starts, columns: list[str], sources: Mapping[str, str | None]
) -> pl.DataFrame:
    """Sums of products over the rows in which every variable is known.

    ``columns`` are named ``<prefix>_<a>_<b>``, or ``<prefix>_<letters>`` for a product of the letters.
    """
    values = {name: _column(table, source) for name, source in sources.items()}
    known = np.logical_and.reduce([np.isfinite(v) for v in values.values()])
    values = {name: np.where(known, v, 0.0) for name, v in values.items()}

    def product(column: str) -> Floats:
        names = column.split("_")[1:]
        factors = names if len(names) > 1 or names[0] in values else list(names[0])
        return reduce(mul, (values[name] for name in factors))

    return pl.DataFrame({column: add_up(product(column), starts) for column in columns})


def _weekly_sums(days: pl.DataFrame, market: pl.DataFrame, year: int) -> pl.DataFrame:
    """`WEEK_SUMS` by stock and month, from compound returns of the days that a week has."""
    weeks = _market_weeks(market)
    traded = days.filter(pl.col("ret").is_not_null()).select("asset_id", "ret", week=_week(pl.col("day")))
    starts, _ = runs(traded.select("asset_id", "week"))
    growth = np.multiply.reduceat(1 + traded["ret"].to_numpy(), starts) if len(traded) else np.empty(0)
    rows = (
        traded.select("asset_id", "week")[starts]
        .with_columns(growth=growth)
        .join(weeks, on="week", how="left", maintain_order="left")
        .filter(pl.col("week").dt.year() == year)
        .with_columns(month=pl.col("week").dt.month_end(), y=pl.col("growth") - pl.col("risk_free"))
    )
    starts, _ = runs(rows.select("asset_id", "month"))
    sources = dict(zip(WEEK, (None, "y", *(f"m{lag}" for lag in range(WEEK_LAGS + 1))), strict=True))
    return pl.concat(
        [rows.select("asset_id", "month")[starts], _sums(rows, starts, WEEK_SUMS, sources)],
        how="horizontal",
    )


def _week(day: pl.Expr) -> pl.Expr:
    """The Friday of the week, or the last day of the year if that comes first."""
    friday = day.dt.truncate("1w") + pl.duration(days=4)
    return pl.min_horizontal(friday, pl.date(day.dt.year(), 12, 31)).cast(pl.Date)


def _market_weeks(market: pl.DataFrame) -> pl.DataFrame:
    """Week, growth of a riskless dollar, the market's excess return and its lags."""
    days = market.filter(pl.col("market").is_not_null()).sort("day").select(
        "risk_free", total=pl.col("market") + pl.col("risk_free"), week=_week(pl.col("day"))
    )  # fmt: skip
    starts, _ = runs(days.select("week"))
    if not len(days):
        starts = np.empty(0, dtype=np.int64)
    growth = {
        name: np.multiply.reduceat(1 + days[name].to_numpy(), starts) if len(days) else np.empty(0)
        for name in ("risk_free", "total")
    }
    return (
        days.select("week")[starts]
        .with_columns(**growth)
        .with_columns(m0=pl.col("total") - pl.col("risk_free"))
        .with_columns(pl.col("m0").shift(lag).alias(f"m{lag}") for lag in range(1, WEEK_LAGS + 1))
        .drop("total")
    )


def _liquidity(days: pl.DataFrame, starts: Starts, counts: Starts) -> pl.DataFrame:
    middle = (pl.col("high") + pl.col("low")) / 2
    quote_middle = (pl.col("bid") + pl.col("ask")) / 2
    daily = days.select(
        high_low_spread=(pl.col("high") - pl.col("low")) / middle,
        quoted_spread=(pl.col("ask") - pl.col("bid")) / quote_middle,
        dollar_volume_deviation=pl.col("dollar_volume").log(),
        turnover_deviation=pl.col("volume") / pl.col("shares"),
        volume_deviation=pl.col("volume"),
        amihud=pl.col("ret").abs() / (pl.col("dollar_volume") * 1e-6),
        last_price=pl.col("price"),
    )
    found = {}
    for name in LIQUIDITY:
        values = _column(daily, name)
        mean, deviation = _moments(values, starts, counts)
        found[name] = deviation if name.endswith("_deviation") else mean
    # Volume in shares as they were at the end of the month, whatever splits came later: the level of
    # split-adjusted volume would know them. The table of months has the price that traded.
    found["volume_deviation"] = found["volume_deviation"] * _last(daily["last_price"], starts)
    return pl.DataFrame(found).with_columns(pl.all().fill_nan(None))


def _last(values: pl.Series, starts: Starts) -> Floats:
    """The last value of each segment that is known; NaN without one."""
    numbers = as_floats(values)
    place = np.where(np.isfinite(numbers), np.arange(len(numbers)), -1)
    newest = np.maximum.reduceat(place, starts) if len(numbers) else np.empty(0, dtype=np.int64)
    return np.where(newest >= starts, numbers[newest], np.nan) if len(numbers) else np.empty(0)


def _moments(values: Floats, starts: Starts, counts: Starts) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the finite values of each segment; NaN with none, or with one."""
    known = np.isfinite(values)
    number = add_up(known.astype(np.float64), starts)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = add_up(np.where(known, values, 0.0), starts) / number
        squares = np.where(known, (values - np.repeat(mean, counts)) ** 2, 0.0)
        deviation = np.sqrt(add_up(squares, starts) / (number - 1))
    return mean, np.where(number > 1, deviation, np.nan)


def _aggregates(days: pl.DataFrame, starts: Starts) -> pl.DataFrame:
    """`AGGREGATES`: trading days are days with a return."""
    ret, volume = _column(days, "ret"), _column(days, "volume")
    known = np.isfinite(ret)
    largest = np.where(known, ret, -np.inf)
    return pl.DataFrame(
        {
            "trading_days": add_up(known.astype(np.float64), starts),
            "zero_volume_days": add_up((volume == 0).astype(np.float64), starts),
            "sum_squared_daily_returns": add_up(np.where(known, ret, 0.0) ** 2, starts),
            "maximum_daily_return": np.maximum.reduceat(largest, starts) if len(days) else np.empty(0),
        }
    ).with_columns(
        pl.col("trading_days", "zero_volume_days").cast(pl.Int32),
        pl.when(pl.col("maximum_daily_return").is_finite()).then(pl.col("maximum_daily_return")),
    )
