"""Days of a month -> the columns of `stock_months` that come from days."""

from __future__ import annotations

import polars as pl


def aggregate_days(days: pl.DataFrame) -> pl.DataFrame:
    """One row per stock and month.

    Parameters
    ----------
    days
        Canonical stock days; columns it lacks count as missing.

    Returns
    -------
    DataFrame
        ``asset_id, month`` and ``trading_days`` (days with a price or a return), ``zero_volume_days`` (of
        those whose volume is known), ``sum_squared_daily_returns``, ``maximum_daily_return``, ``high`` (of
        the day's highs; of closes where a day has none), ``dollar_volume``. A sum or maximum over no value at
        all is null.
    """
    for column in ("price", "high", "volume", "dollar_volume"):
        if column not in days.columns:
            days = days.with_columns(pl.lit(None, dtype=pl.Float64).alias(column))
    traded = pl.col("price").is_not_null() | pl.col("ret").is_not_null()
    return (
        days.sort("asset_id", "day")  # sums depend on the order, and a source's is not ours
        .group_by("asset_id", pl.col("day").dt.month_end().alias("month"), maintain_order=True)
        .agg(
            traded.sum().cast(pl.Int32).alias("trading_days"),
            pl.when(pl.col("volume").is_not_null().any())
            .then((pl.col("volume") == 0).sum())
            .cast(pl.Int32)
            .alias("zero_volume_days"),
            pl.when(pl.col("ret").is_not_null().any())
            .then((pl.col("ret") ** 2).sum())
            .alias("sum_squared_daily_returns"),
            pl.col("ret").max().alias("maximum_daily_return"),
            pl.max_horizontal("high", "price").max().alias("high"),
            pl.when(pl.col("dollar_volume").is_not_null().any())
            .then(pl.col("dollar_volume").sum())
            .alias("dollar_volume"),
        )
    )
