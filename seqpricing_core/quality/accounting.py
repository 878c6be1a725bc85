"""Accounting identities: assets = liabilities + equity, and parts are no larger than the whole."""

from __future__ import annotations

from typing import Final

import polars as pl

from seqpricing_core.quality.finding import found
from seqpricing_core.study import Quality

PARTS: Final = {
    "current_assets": "assets",
    "cash": "assets",
    "inventory": "assets",
    "receivables": "assets",
    "current_liabilities": "liabilities",
}
"""Items and what holds them; long-term debt may stand beside liabilities in what vendors report."""


def broken_identities(statements: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Statements that do not add up; ``value`` is the gap as a share of assets.

    Common equity leaves out minority interests and preferred stock, so assets may exceed liabilities and equity
    by ``largest_minority`` of assets; they may not fall short by more than ``accounting_tolerance``.
    """
    assets = pl.col("assets")
    gap = (assets - pl.col("liabilities") - pl.col("book_equity")) / pl.when(assets > 0).then(assets)
    outside = (gap < -quality.accounting_tolerance) | (gap > quality.largest_minority)
    rows = [
        statements.filter(outside).select(
            *_KEY,
            value=gap,
            expected=pl.lit(
                f"assets - liabilities - equity between {-quality.accounting_tolerance:.0%} and "
                f"{quality.largest_minority:.0%} of assets"
            ),
        )
    ]
    for part, whole in PARTS.items():
        if part not in statements.columns:
            continue
        excess = (pl.col(part) - pl.col(whole)) / pl.when(assets > 0).then(assets)
        rows.append(
            statements.filter(excess > quality.accounting_tolerance).select(
                *_KEY, value=excess, expected=pl.lit(f"{part} at most {whole}")
            )
        )
    return found(pl.concat(rows))


_KEY: Final = (
    pl.col("asset_id"),
    pl.col("period_end").alias("at"),
    pl.col("available_from").alias("seen"),
)
