"""Tables and plots of the report, as the UI shows them beside the assets they are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg
import polars as pl

from seqpricing_core.inference.study_inference import InferenceTables
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.exhibits import error_exhibit, portfolio_exhibit
from seqpricing_core.report.exports import to_markdown
from seqpricing_core.report.figures import draw
from seqpricing_core.report.forecasts import r_squared_by_year, size_table, yearly_table
from seqpricing_core.report.plots import (
    cumulative_returns_plot,
    quantile_returns_plot,
    r_squared_plot,
    turnover_plot,
)
from seqpricing_core.report.sections import factor_tables, test_tables
from seqpricing_core.report.shown import Shown
from seqpricing_core.report.strategies import drawdown_table, quantile_table
from seqpricing_core.report.table import Table
from seqpricing_core.report.tables import Scores, r_squared_tables, strategy_tables
from seqpricing_core.study import Study
from seqpricing_dagster.metadata import plot_metadata


def portfolio_metadata(study: Study, returns: pl.DataFrame, *, stills: bool = True) -> dict[str, Any]:
    """Cumulative returns, returns by portfolio, turnover; deciles, drawdowns, exhibits 6 and 7.

    Parameters
    ----------
    stills
        All plots; else the first alone.
    """
    shown, weightings = _shown(returns), study.portfolios.weights
    plots = {f"cumulative_returns_{w}": cumulative_returns_plot(returns, shown, w) for w in weightings}
    plots["quantile_returns"] = quantile_returns_plot(returns, shown, weightings[0])
    plots["turnover_by_year"] = turnover_plot(returns, shown, weightings[0])
    plots = plots if stills else dict(list(plots.items())[:1])
    tables = [quantile_table(shown, returns, None, w) for w in weightings]
    tables += [drawdown_table(shown, returns, w) for w in weightings]
    return {name: plot_metadata(draw(plot)) for name, plot in plots.items()} | _tables(
        [*tables, *(portfolio_exhibit(shown, returns, None, w) for w in weightings)]
    )


def exhibit_metadata(study: Study, without_micro_caps: pl.DataFrame) -> dict[str, Any]:
    """Exhibits 6 and 7 of these stocks."""
    shown = _shown(without_micro_caps)
    return _tables(portfolio_exhibit(shown, without_micro_caps, None, w) for w in study.portfolios.weights)


def scores_metadata(study: Study, monthly_scores: pl.DataFrame) -> dict[str, Any]:
    """R2 by year and size, and exhibit 5."""
    del study
    shown, by_year = _shown(monthly_scores), r_squared_by_year(monthly_scores)
    return {"r2": plot_metadata(draw(r_squared_plot(by_year, shown)))} | _tables(
        [
            yearly_table(shown, by_year),
            size_table(shown, monthly_scores),
            error_exhibit(shown, monthly_scores),
        ]
    )


def performance_metadata(study: Study, performance: pl.DataFrame) -> dict[str, Any]:
    """*memory*, tables 1 to 4, 6 and 7."""
    scores = Scores(study, performance)
    return _tables([*r_squared_tables(scores), *strategy_tables(scores)])


def comparison_metadata(study: Study, returns: pl.DataFrame, tables: InferenceTables) -> dict[str, Any]:
    """*memory*, table 5 and figure 6; deflated Sharpe ratios, alphas, exposures."""
    models = tuple((f, k) for f, k in returns.select(MODEL).unique(maintain_order=True).iter_rows())
    shown = _shown(returns)
    return _tables([*test_tables(study, models, tables, shown), *factor_tables(study, tables, shown)])


def _shown(table: pl.DataFrame) -> Shown:
    models = table.filter(pl.col("family") != "oracle")
    return Shown(int(models.select(pl.col("number_of_factors").max()).item()))


def _tables(tables: Iterable[Table | None]) -> dict[str, Any]:
    return {
        table.name: dg.MetadataValue.md(f"**{table.title}** {table.unit}\n\n{to_markdown(table)}")
        for table in tables
        if table is not None
    }
