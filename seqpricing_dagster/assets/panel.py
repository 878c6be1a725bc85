"""Characteristics, panel and managed portfolios, year by year."""

import dagster as dg
import polars as pl

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.panel.build import build_panel
from seqpricing_core.panel.drift import characteristic_drift as characteristic_drift_of
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.windows import window_for
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import (
    drift_metadata,
    managed_portfolios_metadata,
    panel_metadata,
    table_metadata,
)
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.presentation import panel_columns
from seqpricing_dagster.project import Project, code_version


def panel_assets(project: Project, years: Years) -> list[dg.AssetsDefinition]:
    """From canonical tables to what models read."""
    study = project.study

    @dg.asset(
        key=["panel", "characteristics"],
        group_name="panel",
        kinds={"arrow", "polars"},
        description="Raw characteristics of every stock at the end of every month, point in time.",
        partitions_def=years.characteristics,
        ins={
            "stock_months": dg.AssetIn(["raw", "stock_months"], partition_mapping=years.history),
            "statements": dg.AssetIn(["raw", "statements"], partition_mapping=years.history),
        },
        io_manager_key="table",
        code_version=code_version("characteristics", settings={"acronyms": study.computed_characteristics}),
    )
    def characteristics(
        context: dg.AssetExecutionContext, stock_months: pl.DataFrame, statements: pl.DataFrame
    ) -> dg.MaterializeResult[Encoded]:
        table = compute_characteristics(
            stock_months, statements, int(context.partition_key), study.computed_characteristics
        )
        return stored(table, **table_metadata(table))

    @dg.asset(
        key=["panel", "panel"],
        group_name="panel",
        kinds={"arrow"},
        description="Stock-months: ranked characteristics known at the end of t-1 beside the return of t.",
        partitions_def=years.panel,
        ins={
            "known": dg.AssetIn(["panel", "characteristics"], partition_mapping=years.year_before),
            "stock_months": dg.AssetIn(["raw", "stock_months"], partition_mapping=years.same_year),
            "factors": dg.AssetIn(["raw", "factors"], partition_mapping=years.same_year),
        },
        io_manager_key="panel",
        code_version=code_version(
            "panel/build.py",
            "panel/panel.py",
            settings={"universe": study.universe, "sample": study.sample, "acronyms": study.acronyms},
        ),
    )
    def panel(
        context: dg.AssetExecutionContext,
        known: pl.DataFrame,
        stock_months: pl.DataFrame,
        factors: pl.DataFrame,
    ) -> dg.MaterializeResult[Encoded]:
        built = build_panel(known, stock_months, factors, int(context.partition_key), study)
        return stored(built, **panel_metadata(built), **panel_columns(study.acronyms))

    @dg.asset(
        key=["panel", "managed_portfolios"],
        group_name="panel",
        kinds={"numpy"},
        description="x_t = (Z'Z)^-1 Z' r_t and the Gram matrices it comes from.",
        partitions_def=years.panel,
        ins={"panel": dg.AssetIn(["panel", "panel"])},
        io_manager_key="managed_portfolios",
        code_version=code_version("panel/managed_portfolios.py", settings=study.panel),
    )
    def managed_portfolios(panel: Panel) -> dg.MaterializeResult[Encoded]:
        managed = compute_managed_portfolios(panel, constant=study.panel.managed_portfolio_constant)
        return stored(managed, **managed_portfolios_metadata(managed))

    @dg.asset(
        key=["panel", "characteristic_drift"],
        group_name="panel",
        kinds={"arrow"},
        description="How far the characteristics of the test year are from those of its window: population "
        "stability index.",
        partitions_def=years.test,
        ins={
            "panel": dg.AssetIn(["panel", "panel"], partition_mapping=years.window_and_test),
        },
        io_manager_key="table",
        code_version=code_version("panel/drift.py", settings=study.windows),
    )
    def characteristic_drift(
        context: dg.AssetExecutionContext, panel: Panel
    ) -> dg.MaterializeResult[Encoded]:
        window = window_for(study, int(context.partition_key))
        training = panel.between(*window.estimation)
        table = characteristic_drift_of(training, panel.between(window.test_year, window.test_year))
        return stored(table, **table_metadata(table), **drift_metadata(table))

    return [characteristics, panel, managed_portfolios, characteristic_drift]
