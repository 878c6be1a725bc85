"""*sequence*, exhibits 5 to 7: errors of forecasts, and portfolios with and without micro-caps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from seqpricing_core.evaluation.forecast_measures import compute_forecast_measures
from seqpricing_core.evaluation.monthly_scores import ALL_STOCKS
from seqpricing_core.evaluation.return_measures import compute_return_measures
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.cells import percent, plain_number
from seqpricing_core.report.forecasts import SCORES_ASSET
from seqpricing_core.report.published import Published, published
from seqpricing_core.report.shown import Column, Shown, model_table
from seqpricing_core.report.strategies import RETURNS_ASSET
from seqpricing_core.report.table import Block, Cell, Row, Table

PORTFOLIO_MEASURES: Final[dict[str, tuple[str, float]]] = {
    "annual_return": ("Return (%)", 100), "annual_volatility": ("Std. dev. (%)", 100),
    "sharpe": ("Sharpe", 1),
    "skewness": ("Skewness", 1), "kurtosis": ("Kurtosis", 1), "turnover": ("Turnover (%)", 100),
    "max_drawdown": ("MDD (%)", 100),
}  # fmt: skip
"""In the order of the exhibits: header, and factor from decimals."""


def error_exhibit(shown: Shown, monthly_scores: pl.DataFrame) -> Table | None:
    """Exhibit 5: mean squared error and R2 of forecasts."""
    every = monthly_scores.filter(pl.col("size_group") == ALL_STOCKS)
    columns: list[Column] = [("MSE (%)", percent("mse", 2)), ("R² (%)", percent("predictive_r2", 2))]
    table = model_table(
        shown, "exhibit_5", "Errors of forecasts out of sample",
        [("", compute_forecast_measures(every, MODEL))], columns, source=SCORES_ASSET,
        note="MSE: mean squared error of monthly decimal returns, times 100. The paper’s, as printed, must "
        "be of another scale.",
    )  # fmt: skip
    measures = ("mse_stocks", "predictive_r2_stocks")
    block = None if shown.family else _published_models([published("sequence", name) for name in measures])
    return table and table.with_block(block)


def portfolio_exhibit(
    shown: Shown,
    portfolio_returns: pl.DataFrame,
    without_micro_caps: pl.DataFrame | None,
    weights: str,
) -> Table | None:
    """Exhibits 6 (equal weights) and 7 (value weights): long-short portfolios, panels A and B."""
    exhibit = {"equal": 6, "value": 7}.get(weights)
    panels = {"A": ("All stocks", portfolio_returns), "B": ("Without micro-caps", without_micro_caps)}
    groups, blocks = [], []
    for panel, (title, returns) in panels.items():
        if returns is None:
            continue
        groups.append((f"Panel {panel}: {title.lower()}", _annual(returns, weights)))
        where = f"exhibit {exhibit}, panel {panel}"
        names = [f"{measure}_long_short_{weights}" for measure in PORTFOLIO_MEASURES]
        blocks.append(_published_models([published("sequence", name, where) for name in names]))
    columns: list[Column] = [
        (title, plain_number(name, 2, scale)) for name, (title, scale) in PORTFOLIO_MEASURES.items()
    ]
    table = model_table(
        shown, f"exhibit_{exhibit or weights}", f"Long–short portfolios, {weights} weights", groups, columns,
        unit="annual, before costs", source=RETURNS_ASSET,
        note="Kurtosis in excess of the normal distribution's. Turnover: a month, in that paper's way, which "
        "counts half of what is traded per dollar of each leg. MDD: largest compounded drawdown. Panel "
        "B leaves out stocks below the 20th percentile of market equity (of NYSE stocks where exchanges are "
        "known, else of all).",
    )  # fmt: skip
    if table is None or shown.family:
        return table
    for block in blocks:
        table = table.with_block(block)
    return table


def _annual(portfolio_returns: pl.DataFrame, weights: str) -> pl.DataFrame:
    chosen = portfolio_returns.filter(weights=weights, portfolio="long_short")
    # compute_return_measures averages the column that it finds under this name.
    sequence = (
        chosen.with_columns(turnover="turnover_sequence") if "turnover_sequence" in chosen.columns else chosen
    )
    return compute_return_measures(sequence)


def _published_models(figures: Sequence[Published | None]) -> Block | None:
    """All models of the paper, one row each: the exhibits stand as they are, whatever the study trains."""
    first = next((found for found in figures if found), None)
    if first is None:
        return None
    rows = tuple(
        Row((model,), tuple(Cell(found.text(model)) if found else Cell("") for found in figures))
        for model in first.models
    )
    return Block(first.title, rows, published=True)
