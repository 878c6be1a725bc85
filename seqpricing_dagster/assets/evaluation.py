"""Portfolios, scores and the report, over all test years."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import dagster as dg
import polars as pl

from seqpricing_core.evaluation.performance import compute_performance
from seqpricing_core.evaluation.r_squared import compute_r_squared
from seqpricing_core.models.family import TITLES
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.portfolios import MODEL, compute_returns_of_families
from seqpricing_core.predictions import predict_managed_portfolios
from seqpricing_core.report.figures import (
    cumulative_returns_figure,
    quantile_returns_figure,
)
from seqpricing_core.report.page import ReportInputs, render_report
from seqpricing_core.report.tables import ABSENT, factors_text
from seqpricing_dagster.assets.models import predicting_families
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import plot_metadata, table_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project, code_version

T = TypeVar("T")
YearlyScans: TypeAlias = list[pl.LazyFrame]
"""The predictions of a family, a table per test year."""
R2_KEYS = ("family", "number_of_factors", "year")


@dataclass(frozen=True)
class StockPredictions:
    """The predictions assets of every family: how an asset asks for them."""

    families: tuple[str, ...]

    @property
    def ins(self) -> dict[str, dg.AssetIn]:
        """By family, of the asset's own test year."""
        return {f: dg.AssetIn(["predictions", f, f"{f}_predictions"]) for f in self.families}

    @property
    def scans(self) -> dict[str, dg.AssetIn]:
        """By family, an unread table per test year, for assets without partitions.

        All predictions together may be larger than memory: an asset goes through them year by year, or
        reads the columns that it needs.
        """
        return {
            f: dg.AssetIn(["predictions", f, f"{f}_predictions"], input_manager_key="table_scans")
            for f in self.families
        }

    def in_order(self, tables: Mapping[str, T]) -> list[T]:
        """Those of every family, in the order of the study."""
        return [tables[family] for family in self.families]

    def stack(self, scans: Mapping[str, YearlyScans]) -> pl.LazyFrame:
        """The families below each other, in the order of the study, with what scores of forecasts need."""
        every = pl.concat(table for tables in self.in_order(scans) for table in tables)
        return every.select(*MODEL, "month", "asset_id", "expected_return", "fitted_return", "excess_return")


def evaluation_assets(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """Everything that reads predictions, whoever made them."""
    stocks = StockPredictions(predicting_families(project))
    return [
        _managed_portfolio_predictions(project, years, stocks),
        _portfolio_returns(project, stocks),
        _performance(stocks),
        _report(project, stocks),
    ]


def _managed_portfolio_predictions(
    project: Project, years: Years, stocks: StockPredictions
) -> dg.AssetsDefinition:
    study = project.study
    constant = study.panel.managed_portfolio_constant

    @dg.asset(
        key=["predictions", "managed_portfolio_predictions"],
        group_name="evaluation",
        kinds={"arrow"},
        description="The predictions of all families carried to the managed portfolios x_t.",
        partitions_def=years.test,
        ins={"panel": dg.AssetIn(["panel", "panel"], partition_mapping=years.same_year), **stocks.ins},
        io_manager_key="table",
        code_version=code_version("predictions.py", "panel/managed_portfolios.py", settings=study.panel),
    )
    def managed_portfolio_predictions(
        panel: Panel, **predictions: pl.DataFrame
    ) -> dg.MaterializeResult[Encoded]:
        every = pl.concat(stocks.in_order(predictions))
        table = predict_managed_portfolios(every, panel, constant=constant)
        return stored(table, **table_metadata(table))

    return managed_portfolio_predictions


def _portfolio_returns(project: Project, stocks: StockPredictions) -> dg.AssetsDefinition:
    study = project.study

    @dg.asset(
        key=["evaluation", "portfolio_returns"],
        group_name="evaluation",
        kinds={"arrow"},
        description="Decile, long-short and long-only portfolios sorted on expected returns.",
        ins=stocks.scans,
        io_manager_key="table",
        code_version=code_version(
            "portfolios", settings={"portfolios": study.portfolios, "costs": study.costs}
        ),
    )
    def portfolio_returns(**predictions: YearlyScans) -> dg.MaterializeResult[Encoded]:
        families = stocks.in_order(predictions)
        table = compute_returns_of_families(families, study.portfolios, study.costs)
        k, weights = max(study.number_of_factors), study.portfolios.weights[0]
        return stored(
            table,
            **table_metadata(table),
            cumulative_returns=plot_metadata(cumulative_returns_figure(table, k, weights)),
            quantile_returns=plot_metadata(quantile_returns_figure(table, k, weights)),
        )

    return portfolio_returns


def _performance(stocks: StockPredictions) -> dg.AssetsDefinition:
    @dg.asset(
        key=["evaluation", "performance"],
        group_name="evaluation",
        kinds={"arrow"},
        description="Total and predictive R2, Sharpe ratios, turnover of every model; shares of the oracle.",
        ins={
            "managed": dg.AssetIn(["predictions", "managed_portfolio_predictions"]),
            "portfolio_returns": dg.AssetIn(["evaluation", "portfolio_returns"]),
            **stocks.scans,
        },
        io_manager_key="table",
        code_version=code_version("evaluation"),
    )
    def performance(
        managed: pl.DataFrame, portfolio_returns: pl.DataFrame, **predictions: YearlyScans
    ) -> dg.MaterializeResult[Encoded]:
        table = compute_performance(stocks.stack(predictions), managed, portfolio_returns)
        return stored(table, **table_metadata(table), scores=dg.MetadataValue.md(_scores(table)))

    return performance


def _report(project: Project, stocks: StockPredictions) -> dg.AssetsDefinition:
    study = project.study

    @dg.asset(
        key=["evaluation", "report"],
        group_name="evaluation",
        kinds={"html"},
        description="One self-contained page: tables by model and K, figures, what data it was.",
        ins={
            "performance": dg.AssetIn(["evaluation", "performance"]),
            "portfolio_returns": dg.AssetIn(["evaluation", "portfolio_returns"]),
            "managed": dg.AssetIn(["panel", "managed_portfolios"]),
            **stocks.scans,
        },
        io_manager_key="report",
        code_version=code_version("report", settings=study),
    )
    def report(
        context: dg.AssetExecutionContext,
        performance: pl.DataFrame,
        portfolio_returns: pl.DataFrame,
        managed: ManagedPortfolios,
        **predictions: YearlyScans,
    ) -> dg.MaterializeResult[Encoded]:
        page = render_report(
            study,
            ReportInputs(
                performance=performance,
                portfolio_returns=portfolio_returns,
                r2_by_year=_r2_by_year(stocks.in_order(predictions)),
                managed=managed,
                provenance=_provenance(context),
            ),
        )
        return stored(page, page=dg.MetadataValue.path(project.report_file))

    return report


def _r2_by_year(families: Iterable[YearlyScans]) -> pl.DataFrame:
    """Test year by test year: only one is in memory."""
    year = pl.col("month").dt.year().alias("year")
    return pl.concat(
        compute_r_squared(table.with_columns(year).collect(), R2_KEYS)
        for tables in families
        for table in tables
    )


def _scores(performance: pl.DataFrame) -> str:
    """A markdown table: one row per model, one column per headline measure."""
    headline = {
        "total_r2_stocks": "total R2 (%)",
        "predictive_r2_stocks": "predictive R2 (%)",
        "sharpe_long_short_equal": "Sharpe, long-short, equal weights",
    }
    wide = performance.pivot("measure", index=["family", "number_of_factors"], values="value")
    lines = ["| model | K | " + " | ".join(headline.values()) + " |", "|---" * (len(headline) + 2) + "|"]
    for row in wide.iter_rows(named=True):
        values = [(row.get(m), 100 if "r2" in m else 1) for m in headline]
        cells = [TITLES[row["family"]], factors_text(row["number_of_factors"])]
        cells += [ABSENT if value is None else f"{value * scale:.2f}" for value, scale in values]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _provenance(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Data versions of what the page was made from, as the lineage records them."""
    event = context.instance.get_latest_materialization_event(dg.AssetKey(["raw", "vendor_files"]))
    recorded = event.asset_materialization if event else None
    version = (recorded.tags or {}).get("dagster/data_version") if recorded else None
    return {
        "data fingerprint": version or "not recorded",
        "code version": code_version(
            ".", "sources", "characteristics", "panel", "models", "nn", "evaluation", "report"
        ),
    }
