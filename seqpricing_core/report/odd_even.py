"""*memory*, appendix E: trained on odd (even) asset ids, tested on both."""

from __future__ import annotations

from typing import Final

import polars as pl

from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.cells import plain_number
from seqpricing_core.report.published import published
from seqpricing_core.report.shown import Column, Shown, model_table, title_of
from seqpricing_core.report.table import Block, Cell, Row, Table
from seqpricing_core.robustness import PARITIES
from seqpricing_core.study import Study

SCENARIOS: Final = tuple((trained, tested) for trained in PARITIES for tested in PARITIES)
MEASURES: Final = {
    "total_r2": ("Total R² (%)", 100), "predictive_r2": ("Predictive R² (%)", 100),
    "sharpe_long_short": ("Sharpe ratio, long–short", 1), "sharpe_long_only": ("Sharpe ratio, long-only", 1),
}  # fmt: skip


def odd_even_table(shown: Shown, study: Study, pooled: pl.DataFrame) -> Table | None:
    """A block per measure; columns are what a model was trained and then tested on.

    Parameters
    ----------
    pooled
        Of `pool_odd_even`.
    """
    weights = study.portfolios.weights[0]
    groups, blocks = [], []
    keyed = pooled.with_columns(scenario=pl.concat_str("trained_on", "tested_on", separator="_"))
    for name, (title, scale) in MEASURES.items():
        column = f"{name}_{weights}" if name.startswith("sharpe") else name
        wide = keyed.pivot("scenario", index=list(MODEL), values=column, maintain_order=True)
        scaled = wide.with_columns(pl.exclude(MODEL) * scale)
        shown_as = f"{title}, {weights} weights" if name.startswith("sharpe") else title
        groups.append((shown_as, scaled))
        blocks.append(_published(name, title))
    columns: list[Column] = [
        (f"{trained} → {tested}", plain_number(f"{trained}_{tested}", 2)) for trained, tested in SCENARIOS
    ]
    table = model_table(
        shown, "odd_even", "Trained on odd (even) asset ids, tested on both", groups, columns,
        note="Before costs. Columns: trained on → tested on.", source="robustness/odd_even",
    )  # fmt: skip
    if table is None or shown.family not in (None, "seqlat"):
        return table
    for block in blocks:
        table = table.with_block(block)
    return table


def _published(measure: str, title: str) -> Block | None:
    cells, where = [], ""
    for trained, tested in SCENARIOS:
        figures = published("memory", f"{measure}_trained_{trained}_tested_{tested}")
        if figures is None:
            return None
        where = figures.title
        cells.append(Cell(figures.text("SeqLAT", 6)))
    return Block(f"{title}. {where}, K = 6", (Row((title_of("seqlat"),), tuple(cells)),), published=True)
