"""Characteristics from monthly prices and volume, known at the end of the month.

The table is a grid, every stock and every month of the history, sorted by stock and month (`compute.py`):
so a shift of k rows is a shift of k months, and what it brings in from the stock above falls into the
history, never into the year that is wanted. Windows are written out as sums of shifts: a value then
depends on its own months alone, to the last bit. (Constants multiply for the same reason: polars divides
a column by a number in two ways, one of them for pieces of a single row.) Windows demand every month in
them; a stock with gaps has no momentum over the gap.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from seqpricing_core.characteristics.definition import Characteristic, Definition, total

GHZ = "Green, Hand, Zhang (2017)"
FNW = "Freyberger, Neuhierl, Weber (2020)"


def _months(column: pl.Expr, months: int, before: int = 0) -> list[pl.Expr]:
    """The ``months`` months that end ``before`` months ago, newest first."""
    return [column.shift(k) if k else column for k in range(before, before + months)]


def _mean(column: pl.Expr, months: int) -> pl.Expr:
    return total(_months(column, months)) * (1 / months)


def _power_sum(column: pl.Expr, months: int, power: int) -> pl.Expr:
    return total([value**power for value in _months(column, months)])


def _variance(column: pl.Expr, months: int, freedom: int) -> pl.Expr:
    """Sum of squared deviations over ``freedom``; never negative, which rounding can make it."""
    squares = _power_sum(column, months, 2) - months * _mean(column, months) ** 2
    return squares.clip(lower_bound=0.0) * (1 / freedom)


def _std(column: pl.Expr, months: int) -> pl.Expr:
    return _variance(column, months, months - 1).sqrt()


def _skewness(column: pl.Expr, months: int) -> pl.Expr:
    mean = _mean(column, months)
    third = (
        _power_sum(column, months, 3) * (1 / months)
        - 3 * mean * _power_sum(column, months, 2) * (1 / months)
        + 2 * mean**3
    )
    return third / _variance(column, months, months) ** 1.5


def _complete(column: pl.Expr, months: int, value: pl.Expr) -> pl.Expr:
    """``value`` where none of the ``months`` months of ``column`` is missing."""
    return pl.when(pl.all_horizontal(v.is_not_null() for v in _months(column, months))).then(value)


def _momentum(months: int, before: int) -> pl.Expr:
    """Compound return over ``months`` months that end ``before`` months ago."""
    return total([value.log1p() for value in _months(_ret, months, before)]).exp() - 1


def _entries(table: dict[str, tuple[str, str, str, pl.Expr]], history_years: int) -> Iterator[Characteristic]:
    for acronym, (name, formula, paper, expression) in table.items():
        definition = Definition(formula, expression)
        yield Characteristic(acronym, name, paper, "monthly", definition, history_years=history_years)


_ret = pl.col("ret")
_turnover = pl.col("dollar_volume") / pl.when(pl.col("market_equity") > 0).then(pl.col("market_equity"))
_amihud = pl.col("ret").abs() / (pl.col("dollar_volume") * 1e-6)
_mom_12 = _momentum(11, 1)

_THREE_YEARS: dict[str, tuple[str, str, str, pl.Expr]] = {
    "mom_1": ("1-month momentum (reversal)", "r[t-1]", "Jegadeesh (1990)", _ret),
    "mom_6": (
        "6-month momentum", "compound r[t-6 .. t-2]", "Jegadeesh, Titman (1993)", _momentum(5, 1),
    ),
    "mom_12": ("12-month momentum", "compound r[t-12 .. t-2]", "Jegadeesh (1990)", _mom_12),
    "mom_36": (
        "36-month momentum (long-term reversal)", "compound r[t-36 .. t-13]", "De Bondt, Thaler (1985)",
        _momentum(24, 12),
    ),
    "chmom": (
        "Change in 6-month momentum", "compound r[t-6 .. t-1] - compound r[t-12 .. t-7]",
        "Gettleman, Marks (2006)", _momentum(6, 0) - _momentum(6, 6),
    ),
    "seas": (
        "Seasonality", "r[t-12]: the return of the same calendar month a year before",
        "Heston, Sadka (2008)", _ret.shift(11),
    ),
    "high52": (
        "Nearness to the 52-week high", "price / highest price of 12 months", "George, Hwang (2004)",
        _complete(
            pl.col("high"), 12, pl.col("price") / pl.max_horizontal(_months(pl.col("high"), 12))
        ),
    ),
    "retvol": (
        "Return volatility", "root mean square of the month's daily returns", "Ang et al. (2006)",
        (pl.col("sum_squared_daily_returns") / pl.col("trading_days")).sqrt(),
    ),
    "maxret": (
        "Maximum daily return", "largest daily return of the month", "Bali, Cakici, Whitelaw (2011)",
        pl.col("maximum_daily_return"),
    ),
    "retvol_12": (
        "Volatility of monthly returns", "standard deviation of r over 12 months", GHZ, _std(_ret, 12),
    ),
    "mvel1": ("Size", "log market equity", "Banz (1981)", pl.col("market_equity").log()),
    "dolvol": (
        "Dollar trading volume", "log dollar volume of month t-2",
        "Chordia, Subrahmanyam, Anshuman (2001)", pl.col("dollar_volume").shift(1).log(),
    ),
    "turn": (
        "Share turnover", "mean of dollar volume / market equity over 3 months",
        "Datar, Naik, Radcliffe (1998)", _mean(_turnover, 3),
    ),
    "turn_1": (
        "Turnover of the month", "dollar volume / market equity", "Datar, Naik, Radcliffe (1998)",
        _turnover,
    ),
    "zerotrade": (
        "Zero trading days", "(days without volume + (1/turnover)/480000) * 21 / trading days",
        "Liu (2006)",
        (pl.col("zero_volume_days") + 1 / (_turnover * 480_000)) * 21 / pl.col("trading_days"),
    ),
    "dshrout": (
        "Change in shares outstanding (market data)", "shares / shares 12 months before - 1",
        "Pontiff, Woodgate (2008)",
        pl.col("shares_outstanding")
        / pl.when(pl.col("shares_outstanding").shift(12) > 0).then(
            pl.col("shares_outstanding").shift(12)
        )
        - 1,
    ),
}  # fmt: skip

_SIX_YEARS: dict[str, tuple[str, str, str, pl.Expr]] = {
    "mom_60": (
        "60-month momentum (long-term reversal)", "compound r[t-60 .. t-13]", "De Bondt, Thaler (1985)",
        _momentum(48, 12),
    ),
    "ret_60": (
        "60-month return", "compound r[t-60 .. t-1]", "Jegadeesh, Titman (2001)", _momentum(60, 0),
    ),
    "retvol_60": (
        "60-month volatility", "standard deviation of r over 60 months", "Ang et al. (2006)",
        _std(_ret, 60),
    ),
    "skew_60": (
        "60-month skewness", "third central moment of r over 60 months / second^(3/2)",
        "Boyer, Mitton, Vorkink (2010)", _skewness(_ret, 60),
    ),
}  # fmt: skip

_WITH_DAYS = (
    Characteristic(
        "stdturn", "Volatility of liquidity (share turnover)", "Chordia, Subrahmanyam, Anshuman (2001)",
        "monthly",
        Definition(
            "standard deviation of the month's daily volume / shares", pl.col("turnover_deviation")
        ),
        Definition(
            "(without days) standard deviation of monthly turnover over 12 months", _std(_turnover, 12)
        ),
    ),
    Characteristic(
        "ill", "Illiquidity", "Amihud (2002)", "monthly",
        Definition("mean of the month's daily |r| / dollar volume (USD m)", pl.col("amihud")),
        Definition(
            "(without days) mean of monthly |r| / dollar volume (USD m) over 12 months",
            _mean(_amihud, 12),
        ),
    ),
)  # fmt: skip

MARKET: tuple[Characteristic, ...] = (
    *_entries(_THREE_YEARS, 3), *_entries(_SIX_YEARS, 6), *_WITH_DAYS,
)  # fmt: skip
