"""Prices that nobody traded at."""

from __future__ import annotations

import polars as pl

from seqpricing_core.quality.finding import found
from seqpricing_core.study import Quality


def daily_zero_volume(days: pl.DataFrame, quality: Quality) -> pl.DataFrame:  # noqa: ARG001
    """Days without volume on which the price moved all the same, but for prices between bid and ask.

    CRSP gives the middle of the quotes for a day without a trade.
    """
    before = pl.when(pl.col("asset_id") == pl.col("asset_id").shift(1)).then(pl.col("price").shift(1))
    change = pl.col("price") / before - 1
    silent = days.with_columns(change=change).filter(pl.col("volume") == 0, pl.col("change") != 0)
    if {"bid", "ask"} <= set(days.columns):
        quoted = pl.col("price").is_between("bid", "ask")
        silent = silent.filter(~quoted.fill_null(value=False))
    expected = pl.lit("volume, or the price of the day before")
    return found(silent.select("asset_id", at="day", value="change", expected=expected))


def monthly_zero_volume(months: pl.DataFrame, quality: Quality) -> pl.DataFrame:  # noqa: ARG001
    """Months that have a price and no volume on any day."""
    silent = (pl.col("dollar_volume") == 0) | (
        (pl.col("trading_days") > 0) & (pl.col("zero_volume_days") >= pl.col("trading_days"))
    )
    return found(
        months.filter(silent, pl.col("price").is_not_null()).select(
            "asset_id", at="month", value="price", expected=pl.lit("volume on at least one day of the month")
        )
    )
