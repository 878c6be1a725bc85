"""Stale prices: the same for many rows. Nobody traded, or a vendor carried the price forward."""

from __future__ import annotations

import polars as pl

from seqpricing_core.quality.finding import found
from seqpricing_core.study import Quality


def daily_stale_prices(days: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Runs of ``stale_days`` equal daily prices, each reported once, on the day it gets that long."""
    return _runs(days.select("asset_id", "price", at="day"), quality.stale_days, "days")


def monthly_stale_prices(months: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Runs of ``stale_months`` equal month-end prices, each reported once, in the month it gets that long."""
    return _runs(months.select("asset_id", "price", at="month"), quality.stale_months, "months")


def _runs(prices: pl.DataFrame, longest: int, unit: str) -> pl.DataFrame:
    return found(
        prices.lazy()
        .drop_nulls("price")
        .with_columns(run=pl.struct("asset_id", "price").rle_id())
        .filter(pl.int_range(pl.len()).over("run") == longest - 1)
        .select(
            "asset_id",
            "at",
            value="price",
            expected=pl.lit(f"another price within {longest} {unit} of trading"),
        )
    )
