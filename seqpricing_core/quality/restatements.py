"""Statements filed again with other figures; characteristics keep to the first report."""

from __future__ import annotations

import polars as pl

from seqpricing_core.quality.finding import found
from seqpricing_core.study import Quality
from seqpricing_core.tables import BALANCE_ITEMS, FLOW_ITEMS


def restated_statements(statements: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Later reports of a period whose figures differ by more than ``restatement_tolerance`` of assets.

    ``at`` is the end of the period, ``seen`` the day of the new report, ``value`` the largest change of an
    item over the first report's assets (without assets: over the item itself).
    """
    key = ["asset_id", "period_end", "period_months"]
    in_money = [item for item in (*BALANCE_ITEMS, *FLOW_ITEMS) if item not in {"shares", "employees"}]
    items = [item for item in in_money if statements[item].count()]
    if not items:
        items = in_money[:1]
    first = statements.sort("available_from").unique(key, keep="first", maintain_order=True)
    later = statements.join(first, on=[*key, "available_from"], how="anti")
    both = later.join(first, on=key, suffix="_first")

    def change(item: str) -> pl.Expr:
        was = pl.col(f"{item}_first")
        scale = pl.coalesce(pl.col("assets_first").abs(), was.abs())
        return ((pl.col(item) - was).abs() / pl.when(scale > 0).then(scale)).alias(item)

    changes = both.select(*key, "available_from", "available_from_first", *(change(item) for item in items))
    largest = pl.max_horizontal(items)
    which = pl.coalesce(pl.when(pl.col(item) == largest).then(pl.lit(item)) for item in items)
    return found(
        changes.filter(largest > quality.restatement_tolerance).select(
            "asset_id",
            at="period_end",
            seen="available_from",
            value=largest,
            expected=pl.format(
                "{} as first reported on {}, not as on {}",
                which, pl.col("available_from_first"), pl.col("available_from"),
            ),
        )
    )  # fmt: skip
