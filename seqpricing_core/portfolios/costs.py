"""Returns after proportional costs of trading."""

from __future__ import annotations

from typing import TypeAlias

import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.study import Costs

Frame: TypeAlias = pl.DataFrame | pl.LazyFrame
BASIS_POINT = 1e-4
SPREAD_COST = "half_spreads_paid"


def net_returns(costs: Costs) -> list[pl.Expr]:
    """Columns after costs: ``net_return`` at the study's level, then one for each further kind.

    r_p - c * turnover with *memory*'s one-way turnover (section 3.7: 30 bp); ``net_return_10bp`` and the like
    for other levels; ``net_return_half_spread`` pays each stock's own half-spread instead of a common level.
    """
    levels = {"net_return": costs.basis_points}
    levels |= {f"net_return_{level:g}bp": level for level in costs.other_basis_points}
    columns = [
        (pl.col("return") - pl.col("turnover") * level * BASIS_POINT).alias(name)
        for name, level in levels.items()
    ]
    if costs.half_spreads:
        columns.append((pl.col("return") - pl.col(SPREAD_COST)).alias("net_return_half_spread"))
    return columns


def require_half_spreads(table: Frame, costs: Costs) -> Frame:
    """``table``, if it has the column that ``costs.half_spreads`` needs; else without that column."""
    columns = table.collect_schema().names()
    if not costs.half_spreads:
        return table.drop("half_spread", strict=False)
    if "half_spread" not in columns:
        raise InputError(
            "costs.half_spreads is on, and the predictions have no column half_spread",
            where=f"predictions (their columns: {', '.join(columns)})",
            expected="half_spread: share of the price, as of the end of t-1",
            remedy="add the column to the predictions, or leave out costs.half_spreads",
        )
    return table
