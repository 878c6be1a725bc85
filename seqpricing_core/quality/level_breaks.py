"""A new price level without news: an unadjusted split or spin-off, a first row on another basis, two firms.

News moves a price through the day and is traded on. A price that jumps beyond the bound on a day with a
narrow range and no more volume than the day before has changed its unit, not its value. Slips, which reverse,
are not reported again.
"""

from __future__ import annotations

import math
from typing import Final

import polars as pl

from seqpricing_core.quality.decimal_slips import daily_decimal_slips, jumps_of
from seqpricing_core.quality.finding import found
from seqpricing_core.study import Quality

QUIET_RANGE: Final = 0.15
"""High over low, less one, of the day of the jump."""
QUIET_VOLUME: Final = 3.0
"""Times the volume of the day before."""


def daily_level_breaks(days: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Jumps beyond ``maximum_daily_return`` on a quiet day; ``value`` is the price over the one before."""
    jumps = lasting_jumps(days, quality)
    quiet = (pl.col("high") / pl.col("low") - 1 < QUIET_RANGE) & (
        pl.col("volume") < QUIET_VOLUME * pl.col("volume_before")
    )
    ratio = pl.col("price") / pl.col("price_before")
    return found(
        jumps.filter(quiet).select(
            "asset_id",
            "at",
            value=ratio,
            expected=pl.format(
                "a price near {} ({}, {} day(s) before), or a wide day with much volume",
                pl.col("price_before").round_sig_figs(4),
                pl.col("at_before"),
                (pl.col("at") - pl.col("at_before")).dt.total_days(),
            ),
        )
    )


def lasting_jumps(days: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Moves up or down by a factor of 1 + ``maximum_daily_return`` or more that are no decimal slips."""
    prices = days.select("asset_id", "price", "high", "low", pl.col("volume").cast(pl.Float64), at="day")
    jumps = jumps_of(prices, math.log10(1 + quality.maximum_daily_return))
    slips = daily_decimal_slips(days, quality)
    both_ways = pl.concat([slips.select("asset_id", "at"), slips.select("asset_id", at="seen")])
    return jumps.join(both_ways, on=["asset_id", "at"], how="anti")
