"""Prices outside the day's or month's range, or a high below the low: one of the three is wrong."""

from __future__ import annotations

from typing import Final

import polars as pl

from seqpricing_core.quality.finding import found
from seqpricing_core.study import Quality

ROUNDING: Final = 1e-3
"""Adjusted prices are rounded each by itself."""


def daily_prices_outside_range(days: pl.DataFrame, quality: Quality) -> pl.DataFrame:  # noqa: ARG001
    """Days whose price is above the high or below the low; a bid-ask average, without range, passes."""
    price, high, low = pl.col("price"), pl.col("high"), pl.col("low")
    outside = (price > high * (1 + ROUNDING)) | (price < low * (1 - ROUNDING)) | (high < low * (1 - ROUNDING))
    return found(
        days.filter(outside).select(
            "asset_id",
            at="day",
            value="price",
            expected=pl.format("low {} <= price <= high {}", low.round_sig_figs(4), high.round_sig_figs(4)),
        )
    )


def monthly_prices_above_high(months: pl.DataFrame, quality: Quality) -> pl.DataFrame:  # noqa: ARG001
    """Months that end above their highest price."""
    above = pl.col("price") > pl.col("high") * (1 + ROUNDING)
    expected = pl.format("at most the month's high, {}", pl.col("high").round_sig_figs(4))
    return found(months.filter(above).select("asset_id", at="month", value="price", expected=expected))
