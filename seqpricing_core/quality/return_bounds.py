"""Returns beyond bounds, up by the bound or down by its inverse: +300% and -75%, daily +100% and -50%.

Some of them are true (a crisis, a takeover, a trial that failed); the list is short enough to be read. Slips
and level breaks are reported by their own checks and not again.
"""

from __future__ import annotations

import polars as pl

from seqpricing_core.quality.decimal_slips import monthly_decimal_slips
from seqpricing_core.quality.finding import found
from seqpricing_core.quality.level_breaks import daily_level_breaks, lasting_jumps
from seqpricing_core.study import Quality


def monthly_returns_beyond_bounds(months: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Monthly returns above ``maximum_monthly_return`` = b or below 1/(1+b) - 1.

    A loss in the month of a delisting code is the delisting return.
    """
    highest, lowest = _bounds(quality.maximum_monthly_return)
    lost = (pl.col("ret") < lowest) & pl.col("delisting_code").is_null()
    beyond = (pl.col("ret") > highest) | lost
    slips = monthly_decimal_slips(months, quality)
    both_ways = pl.concat([slips.select("asset_id", month="at"), slips.select("asset_id", month="seen")])
    return found(
        months.filter(beyond)
        .join(both_ways, on=["asset_id", "month"], how="anti")
        .select("asset_id", at="month", value="ret", expected=pl.lit(_between(lowest, highest)))
    )


def daily_returns_beyond_bounds(days: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Daily price moves above ``maximum_daily_return`` = b or below 1/(1+b) - 1."""
    highest, lowest = _bounds(quality.maximum_daily_return)
    breaks = daily_level_breaks(days, quality)
    return found(
        lasting_jumps(days, quality)
        .join(breaks, on=["asset_id", "at"], how="anti")
        .select(
            "asset_id",
            "at",
            value=pl.col("price") / pl.col("price_before") - 1,
            expected=pl.lit(_between(lowest, highest)),
        )
    )


def _bounds(highest: float) -> tuple[float, float]:
    return highest, 1 / (1 + highest) - 1


def _between(lowest: float, highest: float) -> str:
    return f"a return between {lowest:.0%} and {highest:.0%}"
