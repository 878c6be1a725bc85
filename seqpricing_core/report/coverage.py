"""What data there were: stocks and months, year by year."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from seqpricing_core.evaluation.monthly_scores import ALL_STOCKS
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.shown import Shown
from seqpricing_core.report.table import Block, Cell, Row, Table, factors_text, number

PANEL_ASSET: Final = "panel/managed_portfolios"


def coverage_table(managed: ManagedPortfolios) -> Table:
    """Months and stocks of every year of the sample."""
    years = managed.months.astype("datetime64[Y]").astype(int) + 1970
    rows = []
    for year in np.unique(years):
        stocks, condition = managed.stocks[years == year], managed.condition_number[years == year]
        values = (
            str(len(stocks)), str(stocks.min()), number(float(np.median(stocks)), 0), str(stocks.max()),
            _condition(condition.max()),
        )  # fmt: skip
        rows.append(Row((str(year),), tuple(map(Cell, values))))
    return Table(
        "coverage", "Coverage of the panel", "",
        ("Months", "Fewest stocks", "Median", "Most stocks", "Condition number"), (Block("", tuple(rows)),),
        ("Year",), note="Condition number of Z′Z: the highest of the year's months.", source=PANEL_ASSET,
    )  # fmt: skip


def _condition(value: float) -> str:
    return f"{value:,.0f}" if value < 1e6 else f"{value:.1e}"


def scored_table(shown: Shown, monthly_scores: pl.DataFrame) -> Table | None:
    """Which months every model is scored on; None where all have the same, which the page then says."""
    every = monthly_scores.filter(pl.col("size_group") == ALL_STOCKS)
    spans = every.group_by(MODEL, maintain_order=True).agg(
        pl.col("month").min().alias("first"), pl.col("month").max().alias("last"),
        pl.col("month").n_unique().alias("months"), pl.col("assets").sum(),
    )  # fmt: skip
    if spans.select("first", "last", "months").n_unique() < 2:
        return None
    rows = tuple(
        Row(
            (shown.label(row["family"], row["number_of_factors"]), factors_text(row["number_of_factors"])),
            tuple(
                map(
                    Cell,
                    (f"{row['first']:%Y-%m}", f"{row['last']:%Y-%m}", str(row["months"]), str(row["assets"])),
                )
            ),
        )
        for row in spans.iter_rows(named=True)
    )
    return Table(
        "scored_months", "Months that models are scored on", "", ("First", "Last", "Months", "Stock-months"),
        (Block("", rows),), ("Model", "K"),
        note="Models are compared on the months that all of them have.", source="evaluation/monthly_scores",
    )  # fmt: skip
