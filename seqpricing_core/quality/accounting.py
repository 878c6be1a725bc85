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
    "property_plant_equipment": "assets",
    "intangibles": "assets",
    "current_liabilities": "liabilities",
}
"""Items and what holds them; long-term debt may stand beside liabilities in what vendors report."""
BESIDE_EQUITY: Final = ("minority_interest", "preferred_stock")
"""Claims that are neither liabilities nor common equity, where a source reports them."""


def broken_identities(statements: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Statements that do not add up; ``value`` is the gap as a share of assets.

    Assets less liabilities, common equity and the claims `BESIDE_EQUITY` that are reported must be nothing or
    unreported claims, at most ``largest_minority`` of assets; they may fall short by
    ``accounting_tolerance``.
    """
    assets = pl.col("assets")
    claims = pl.sum_horizontal(
        pl.col(item).fill_null(0.0) for item in BESIDE_EQUITY if item in statements.columns
    )
    gap = assets - pl.col("liabilities") - pl.col("book_equity")
    share = _of_assets(gap), _of_assets(gap - claims)
    # Some vendors count minority interests in equity: what does not add up must do so either way.
    outside = (pl.max_horizontal(share) < -quality.accounting_tolerance) | (
        pl.min_horizontal(share) > quality.largest_minority
    )
    rows = [
        statements.filter(outside).select(
            *_KEY,
            value=share[1],
            expected=pl.lit(
                f"assets - liabilities - equity between {-quality.accounting_tolerance:.0%} and "
                f"{quality.largest_minority:.0%} of assets"
            ),
        )
    ]
    for part, whole in PARTS.items():
        if part in statements.columns:
            excess = _of_assets(pl.col(part) - pl.col(whole))
            rows.append(
                statements.filter(excess > quality.accounting_tolerance).select(
                    *_KEY, value=excess, expected=pl.lit(f"{part} at most {whole}")
                )
            )
    return found(pl.concat(rows))


def _of_assets(amount: pl.Expr) -> pl.Expr:
    return amount / pl.when(pl.col("assets") > 0).then(pl.col("assets"))


_KEY: Final = (
    pl.col("asset_id"),
    pl.col("period_end").alias("at"),
    pl.col("available_from").alias("seen"),
)
