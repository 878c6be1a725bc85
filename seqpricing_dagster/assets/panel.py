"""Characteristics, panel and managed portfolios, year by year."""

import dagster as dg
import polars as pl

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.characteristics.day_statistics import day_statistics, market_days
from seqpricing_core.panel.build import build_panel
from seqpricing_core.panel.drift import characteristic_drift as characteristic_drift_of
from seqpricing_core.panel.managed_portfolios import compute_managed_portfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.study import Study
from seqpricing_core.windows import window_for
from seqpricing_dagster.assets.raw import day_tables
from seqpricing_dagster.assets.ready import ready_characteristics
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
            settings={
                "universe": study.universe,
                "sample": study.sample,
                "acronyms": study.acronyms,
                "panel": study.panel,
            },
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

    if study.ready_characteristics is not None:
        known = ready_characteristics(project, years)
    else:
        known = [*_day_assets(study, years), _computed_characteristics(study, years)]
    return [*known, panel, managed_portfolios, _characteristic_drift(study, years)]


def _computed_characteristics(study: Study, years: Years) -> dg.AssetsDefinition:
    days = {"day_statistics": dg.AssetIn(["panel", "day_statistics"], partition_mapping=years.day_history)}

    @dg.asset(
        key=["panel", "characteristics"],
        group_name="panel",
        kinds={"arrow", "polars"},
        description="Raw characteristics of every stock at the end of every month, point in time.",
        partitions_def=years.characteristics,
        ins={
            "stock_months": dg.AssetIn(["raw", "stock_months"], partition_mapping=years.history),
            "statements": dg.AssetIn(["raw", "statements"], partition_mapping=years.history),
            **(days if study.reads_days else {}),
        },
        io_manager_key="table",
        code_version=code_version(
            "characteristics",
            settings={"acronyms": study.computed_characteristics, "inputs": sorted(study.inputs)},
        ),
    )
    def characteristics(
        context: dg.AssetExecutionContext, **tables: pl.DataFrame
    ) -> dg.MaterializeResult[Encoded]:
        table = compute_characteristics(
            year=int(context.partition_key),
            acronyms=study.computed_characteristics,
            inputs=study.inputs,
            **tables,
        )
        return stored(table, **table_metadata(table))

    return characteristics


def _characteristic_drift(study: Study, years: Years) -> dg.AssetsDefinition:
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

    return characteristic_drift


def _day_assets(study: Study, years: Years) -> list[dg.AssetsDefinition]:
    """What months remember of days; nothing if no characteristic is made from days."""
    if not study.reads_days:
        return []
    version = code_version("characteristics/day_statistics.py")

    @dg.asset(
        key=["panel", "market_days"],
        group_name="panel",
        kinds={"arrow", "polars"},
        description="The market's excess return of every trading day.",
        partitions_def=years.raw,
        ins={
            name.removeprefix("raw/"): dg.AssetIn(name.split("/"), partition_mapping=years.same_year)
            for name in day_tables(study)
        },
        io_manager_key="table",
        code_version=version,
    )
    def market(
        context: dg.AssetExecutionContext,  # noqa: ARG001
        **tables: pl.DataFrame,
    ) -> dg.MaterializeResult[Encoded]:
        table = market_days(tables["stock_days"], tables.get("factor_days"))
        return stored(table, **table_metadata(table))

    @dg.asset(
        key=["panel", "day_statistics"],
        group_name="panel",
        kinds={"arrow", "polars"},
        description="What the days of each stock and month add up to: sums of products, spreads, liquidity.",
        partitions_def=years.raw,
        ins={
            "stock_days": dg.AssetIn(["raw", "stock_days"], partition_mapping=years.same_year),
            "of_market": dg.AssetIn(["panel", "market_days"], partition_mapping=years.market_before),
        },
        io_manager_key="table",
        code_version=version,
    )
    def statistics(
        context: dg.AssetExecutionContext, stock_days: pl.DataFrame, of_market: pl.DataFrame
    ) -> dg.MaterializeResult[Encoded]:
        table = day_statistics(stock_days, of_market, int(context.partition_key))
        return stored(table, **table_metadata(table))

    return [market, statistics]
