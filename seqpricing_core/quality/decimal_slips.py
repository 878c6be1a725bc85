"""Price spikes that reverse: a decimal point slipped, by 10, 100 or 1,000.

A slip is a jump of the price by a power of ten that the next jump takes back within a few rows, to near where
it came from. Real crashes and rebounds are none: they are not
tenfold, and none returns to its level of before within days (2008 is in the tests).
"""

from __future__ import annotations

from typing import Final

import polars as pl

from seqpricing_core.quality.finding import found
from seqpricing_core.study import Quality

DAILY_TOLERANCE: Final = 0.1
"""In log10: within a factor of 1.26, since the price also moves by itself."""
MONTHLY_TOLERANCE: Final = 0.2
"""A factor of 1.58."""
LEAST_STEP: Final = 0.6
"""In log10: what counts as a jump at all, a factor of four."""
LONGEST_DAYS: Final = 5
LONGEST_MONTHS: Final = 2
"""That a slip may last."""


def daily_decimal_slips(days: pl.DataFrame, quality: Quality) -> pl.DataFrame:  # noqa: ARG001
    """Slips among the daily prices; ``value`` is the first wrong price, ``at`` its day."""
    return found(_slips(days.select("asset_id", "price", at="day"), DAILY_TOLERANCE, LONGEST_DAYS))


def monthly_decimal_slips(months: pl.DataFrame, quality: Quality) -> pl.DataFrame:  # noqa: ARG001
    """Slips among the month-end prices, and those that came and went inside a month.

    Inside a month the daily aggregates tell: the largest daily return is a power of ten less one, and the
    other squared returns hold the way down, (1/10 - 1)^2 or more; the month itself ends near where it began.
    """
    ends = _slips(months.select("asset_id", "price", at="month"), MONTHLY_TOLERANCE, LONGEST_MONTHS)
    largest = pl.col("maximum_daily_return")
    power = (1 + largest).log10()
    way_down = pl.col("sum_squared_daily_returns") - largest**2
    inside = months.filter(
        power.round() >= 1,
        (power - power.round()).abs() < DAILY_TOLERANCE,
        way_down > 0.7,
        (1 + pl.col("ret")).log10().abs() < LEAST_STEP,
    ).select(
        "asset_id",
        at="month",
        seen="month",
        value=largest,
        expected=pl.format(
            "daily returns of the size of the month's ({} in all): one of {}% went back within the month",
            _percent(pl.col("ret")),
            (100 * largest).round(0).cast(pl.Int64),
        ),
    )
    return found(pl.concat([ends, inside]))


def _slips(prices: pl.DataFrame, tolerance: float, longest: int) -> pl.DataFrame:
    """``prices``: asset_id, at, price. A jump that takes one back is not itself the start of a slip."""
    jumps = jumps_of(prices, LEAST_STEP).with_columns(
        pl.col("step", "row", "price", "at").shift(-1).over("asset_id").name.suffix("_back")
    )
    power = pl.col("step").round()
    reverses = (
        (power.abs() >= 1)
        & ((pl.col("step") - power).abs() < tolerance)
        & ((pl.col("step_back") + power).abs() < tolerance)
        & ((pl.col("price_back") / pl.col("price_before")).log10().abs() < tolerance)
        & (pl.col("row_back") - pl.col("row") <= longest)
    ).fill_null(value=False)
    chain = reverses.rle_id().over("asset_id")
    return (
        jumps.with_columns(reverses=reverses, chain=chain)
        .with_columns(link=pl.int_range(pl.len()).over("asset_id", "chain"))
        .filter("reverses", pl.col("link") % 2 == 0)
        .select(
            "asset_id",
            "at",
            seen="at_back",
            value="price",
            expected=pl.format(
                "about {}: it was {} before and {} on {}",
                _short(pl.col("price_before")),
                _short(pl.col("price_before")),
                _short(pl.col("price_back")),
                pl.col("at_back"),
            ),
        )
    )


def jumps_of(prices: pl.DataFrame, least: float) -> pl.DataFrame:
    """Rows whose price is a factor of 10^least away from the row before of the same stock.

    Parameters
    ----------
    prices
        ``asset_id``, ``at``, ``price``, and what else shall stay beside them, by stock and time.
    least
        In log10.

    Returns
    -------
    DataFrame
        The columns of ``prices``, those of the row before as ``..._before``, ``step`` (log10 of the ratio)
        and ``row``.
    """
    return (
        prices.lazy()
        .filter(pl.col("price") > 0)
        # Not per stock: over millions of rows that costs ten times as much as to compare the stocks.
        .with_columns(pl.all().shift(1).name.suffix("_before"))
        .with_columns(row=pl.int_range(pl.len()), step=(pl.col("price") / pl.col("price_before")).log10())
        .filter(pl.col("step").abs() > least, pl.col("asset_id") == pl.col("asset_id_before"))
        .collect()
    )


def _short(price: pl.Expr) -> pl.Expr:
    return price.round_sig_figs(4)


def _percent(value: pl.Expr) -> pl.Expr:
    return pl.format("{}%", (100 * value).round(1))
