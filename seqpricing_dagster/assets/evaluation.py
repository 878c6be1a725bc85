"""Portfolios and scores, over all test years."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import dagster as dg
import polars as pl

from seqpricing_core.evaluation.performance import compute_performance
from seqpricing_core.panel.panel import Panel
from seqpricing_core.portfolios import MODEL, compute_returns_of_families
from seqpricing_core.predictions import predict_managed_portfolios
from seqpricing_core.study import Portfolios, Study
from seqpricing_dagster.assets.models import predicting_families
from seqpricing_dagster.evaluation_metadata import performance_metadata, portfolio_metadata
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import table_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project, code_version

T = TypeVar("T")
YearlyScans: TypeAlias = list[pl.LazyFrame]
"""The predictions of a family, a table per test year."""


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

    def stack(self, scans: Mapping[str, YearlyScans], *further: str) -> pl.LazyFrame:
        """The families below each other, in the order of the study, with what scores of forecasts need.

        And the ``further`` columns; whatever else predictions carry, and some may not, stays where it is.
        """
        columns = (*MODEL, "month", "asset_id", "expected_return", "fitted_return", "excess_return", *further)
        return pl.concat(table.select(columns) for tables in self.in_order(scans) for table in tables)


def evaluation_assets(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """Everything that reads predictions, whoever made them."""
    stocks = StockPredictions(predicting_families(project))
    return [
        _managed_portfolio_predictions(project, years, stocks),
        portfolio_returns_of(
            project.study,
            stocks,
            "portfolio_returns",
            "Decile, long-short and long-only portfolios sorted on expected returns.",
            project.study.portfolios,
            portfolio_metadata,
        ),
        _performance(project.study, stocks),
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


def portfolio_returns_of(
    study: Study,
    stocks: StockPredictions,
    name: str,
    description: str,
    portfolios: Portfolios,
    shown: Callable[[Study, pl.DataFrame], dict[str, Any]],
) -> dg.AssetsDefinition:
    """An asset of portfolios sorted on expected returns; ``shown`` makes its metadata."""

    @dg.asset(
        key=["evaluation", name],
        group_name="evaluation",
        kinds={"arrow"},
        description=description,
        ins=stocks.scans,
        io_manager_key="table",
        code_version=code_version(
            "portfolios", settings={"portfolios": study.portfolios, "costs": study.costs}
        ),
    )
    def portfolio_returns(**predictions: YearlyScans) -> dg.MaterializeResult[Encoded]:
        table = compute_returns_of_families(stocks.in_order(predictions), portfolios, study.costs)
        return stored(table, **table_metadata(table), **shown(study, table))

    return portfolio_returns


def _performance(study: Study, stocks: StockPredictions) -> dg.AssetsDefinition:
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
        return stored(table, **table_metadata(table), **performance_metadata(study, table))

    return performance
