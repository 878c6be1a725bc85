"""Daily prices of the public files: one long file of ``ticker, Date, High, Low, Close, Volume``.

The "Huge Stock Market Dataset" (B. Marjanovic, Kaggle) stacked over its ``Data/Stocks/*.us.txt``, or any file
with these columns; prices adjusted for splits and dividends.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from seqpricing_core.sources.canonical_files import as_dates
from seqpricing_core.sources.public_files import asset_ids
from seqpricing_core.storage import collect_table, require_columns, scan_table

COLUMNS = ("ticker", "Date", "High", "Low", "Close", "Volume")


def read_public_days(file: Path, year: int) -> pl.DataFrame:
    """Days of ``year``: ``asset_id, day, price, high, low, volume``."""
    table = as_dates(require_columns(scan_table(file), COLUMNS, file), ["Date"], file)
    rows = collect_table(table.filter(pl.col("Date").dt.year() == year), file)
    prices = {"price": "Close", "high": "High", "low": "Low", "volume": "Volume"}
    return rows.select(
        asset_ids(rows["ticker"], file),
        pl.col("Date").alias("day"),
        *(pl.col(theirs).cast(pl.Float64).alias(ours) for ours, theirs in prices.items()),
    )


def years_of_days(file: Path) -> range:
    """Calendar years that the file reaches over."""
    table = as_dates(require_columns(scan_table(file), COLUMNS, file), ["Date"], file)
    years = collect_table(
        table.select(first=pl.col("Date").min().dt.year(), last=pl.col("Date").max().dt.year()), file
    )
    first, last = years.row(0)
    return range(first, last + 1) if first is not None else range(0)
