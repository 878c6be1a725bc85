"""Characteristics that a source delivers ready-made -> the table that computed ones come in."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from seqpricing_core.characteristics.compute import CARRIED
from seqpricing_core.tables import STOCK_MONTHS, with_optional_columns


def take_characteristics(
    ready: pl.DataFrame, stock_months: pl.DataFrame, year: int, acronyms: Sequence[str]
) -> pl.DataFrame:
    """What `compute.compute_characteristics` would have made, from what the source made.

    **Timing.** The source states the month at whose end a row is known; rows of month m price month m + 1.

    Parameters
    ----------
    ready
        ``asset_id, month`` and the characteristics; months of ``year``.
    stock_months
        Canonical table with the months of ``year`` and of some years before: gives ``market_equity``,
        `compute.CARRIED` and, by a stock's first month in it, ``history_months``.

    Returns
    -------
    DataFrame
        ``asset_id, month, history_months, market_equity``, `compute.CARRIED` and one Float64 column
        per acronym; one row per row of ``ready``.
    """
    observed = pl.concat([stock_months.select("asset_id", "month"), ready.select("asset_id", "month")])
    first = observed.group_by("asset_id").agg(pl.col("month").min().alias("first"))
    elapsed = (pl.col("month").dt.year() - pl.col("first").dt.year()) * 12 + (
        pl.col("month").dt.month().cast(pl.Int32) - pl.col("first").dt.month()
    )
    of_stock = with_optional_columns(stock_months, STOCK_MONTHS).select(
        "asset_id", "month", "market_equity", *CARRIED
    )
    return (
        ready.filter(pl.col("month").dt.year() == year)
        .join(first, on="asset_id")
        .join(of_stock, on=["asset_id", "month"], how="left")
        .select(
            "asset_id",
            "month",
            (elapsed + 1).alias("history_months"),
            "market_equity",
            *CARRIED,
            *(pl.col(name).cast(pl.Float64).alias(name) for name in acronyms),
        )
        .sort("month", "asset_id")
    )
