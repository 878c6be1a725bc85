"""*memory*, figure 5: the characteristics that every model leans on most, as a table."""

from __future__ import annotations

from typing import Final

import polars as pl

from seqpricing_core.explain.importance import Method
from seqpricing_core.report.explanations import METHOD_TITLES, MOST
from seqpricing_core.report.shown import Shown
from seqpricing_core.report.table import Block, Cell, Row, Table, number

IMPORTANCE_ASSET: Final = "explain/characteristic_importance"


def importance_table(shown: Shown, importance: pl.DataFrame, method: Method = "zero") -> Table | None:
    """Rank by rank, acronym and share of each model, largest first.

    Parameters
    ----------
    importance
        Of `pool_importance`.
    """
    rows = importance.filter(method=method)
    models = shown.models(rows)
    if not models:
        return None
    lists = [
        rows.filter(family=family, number_of_factors=k)
        .sort("importance", "characteristic", descending=[True, False])
        .head(MOST)
        .select("characteristic", "importance")
        .rows()
        for family, k in models
    ]
    body = tuple(
        Row((str(rank + 1),), tuple(Cell(_entry(of_model, rank)) for of_model in lists))
        for rank in range(max(map(len, lists)))
    )
    return Table(
        f"{shown.slug}importance_{method}", f"Most important characteristics{shown.where}", "% of all losses",
        tuple(shown.name(*model) for model in models), (Block("", body),), ("Rank",),
        note=f"R² that a model loses with the characteristic {METHOD_TITLES[method]}, as a share of all such "
        "losses (losses below zero count as zero). Total R²; of forecasts without factors, predictive R².",
        source=IMPORTANCE_ASSET,
    )  # fmt: skip


def _entry(ranked: list[tuple[str, float]], rank: int) -> str:
    if rank >= len(ranked) or ranked[rank][1] <= 0:
        return ""
    acronym, share = ranked[rank]
    return f"{acronym} {number(100 * share, 1)}"
