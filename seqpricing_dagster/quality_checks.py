"""The quality gate in Dagster: checks of the raw tables, and three tables about the data as a whole."""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg
import polars as pl

from seqpricing_core.quality.coverage import coverage_by_month
from seqpricing_core.quality.dropped import dropped_before_panel
from seqpricing_core.quality.examination import (
    asset_label,
    days_by_year,
    dropped_by,
    membership_outcomes,
    merged,
    raw_years_of,
    stock_month_outcomes,
)
from seqpricing_core.quality.finding import Finding, Outcome, Table
from seqpricing_core.quality.gate import checks_of, nothing_found, run_checks, severity_of
from seqpricing_core.quality.survivorship import survivorship_of
from seqpricing_core.report.figures import to_png
from seqpricing_core.report.heat_map import coverage_heat_map
from seqpricing_core.storage import write_atomically
from seqpricing_core.study import Study
from seqpricing_dagster.assets.raw import opened_source
from seqpricing_dagster.io import Encoded, stored
from seqpricing_dagster.metadata import plot_metadata, table_metadata
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project, code_version

SHOWN = 50
"""Findings of a check that its metadata lists."""

QUALITY_ASSETS = ("quality/stock_history", "quality/coverage", "quality/dropped")
"""About all years at once."""


def quality_checks(project: Project, years: Years) -> list[dg.AssetChecksDefinition]:
    """Checks of the raw tables, one step for each table; a check blocks if the study says so."""
    checks = [_stock_months(project, years), _statements(project, years), _stock_days(project)]
    return [check for check in checks if check is not None]


def quality_assets(project: Project) -> list[dg.AssetsDefinition]:
    """Tables about all years, with checks of their own."""
    return [_stock_history(project), _coverage(project), _dropped(project)]


def _stock_months(project: Project, years: Years) -> dg.AssetChecksDefinition | None:
    key = ["raw", "stock_months"]
    specs = _specs(project, key, ["stock_months"], years)
    if not specs:
        return None

    @dg.multi_asset_check(name="quality_of_stock_months", specs=specs, ins={"months": dg.AssetIn(key)})
    def checks(context: dg.AssetCheckExecutionContext, months: pl.DataFrame) -> Iterator[dg.AssetCheckResult]:
        year = int(context.partition_key)
        # From the source, as partitions are materialized side by side: the one before may not be there yet.
        source = opened_source(project.study, project.vendor_files)
        before = source.stock_months(year - 1) if year > raw_years_of(project.study).start else None
        yield from _results(project, key, stock_month_outcomes(project.study, before, months, year))

    return checks


def _statements(project: Project, years: Years) -> dg.AssetChecksDefinition | None:
    key = ["raw", "statements"]
    specs = _specs(project, key, ["statements"], years)
    if not specs:
        return None

    @dg.multi_asset_check(name="quality_of_statements", specs=specs, ins={"statements": dg.AssetIn(key)})
    def checks(
        context: dg.AssetCheckExecutionContext, statements: pl.DataFrame
    ) -> Iterator[dg.AssetCheckResult]:
        year = int(context.partition_key)
        source = opened_source(project.study, project.vendor_files)
        first = max(raw_years_of(project.study).start, year - project.study.history_years)
        rows = pl.concat([*(source.statements(y) for y in range(first, year)), statements])
        yield from _results(project, key, run_checks("statements", rows, project.study.quality, year))

    return checks


def _stock_days(project: Project) -> dg.AssetChecksDefinition | None:
    """Of the files, not of a table: most models need no days, and the gate reads them as far as they go."""
    key = ["raw", "vendor_files"]
    specs = _specs(project, key, ["stock_days"]) if _has_days(project.study) else []
    if not specs:
        return None

    @dg.multi_asset_check(name="quality_of_stock_days", specs=specs)
    def checks() -> Iterator[dg.AssetCheckResult]:
        study = project.study
        source = opened_source(study, project.vendor_files)
        outcomes = list(nothing_found("stock_days", study.quality))
        for year, days in days_by_year(study, source):
            outcomes += run_checks("stock_days", days, study.quality, year)
        yield from _results(project, key, merged(outcomes))

    return checks


def _has_days(study: Study) -> bool:
    """Whether the source has, or may have, daily prices."""
    keys = ("daily_prices", "stock_days", "daily")
    return str(study.source.kind) == "daily_files" or any(getattr(study.source, key, None) for key in keys)


def _stock_history(project: Project) -> dg.AssetsDefinition:
    key = ["quality", "stock_history"]
    study = project.study
    has_members = getattr(study.source, "index_members", None) is not None
    tables: list[Table] = ["history", "membership"] if has_members else ["history"]

    @dg.asset(
        key=key,
        group_name="quality",
        kinds={"arrow"},
        description="First and last month of every stock: how many end before the sample does.",
        ins={"stock_months": dg.AssetIn(["raw", "stock_months"], input_manager_key="table_scans")},
        io_manager_key="table",
        code_version=code_version("quality", settings=study.quality),
        check_specs=_specs(project, key, tables),
    )
    def stock_history(stock_months: list[pl.LazyFrame]) -> Iterator[Any]:
        history = pl.concat(stock_months).select("asset_id", "month", "market_equity").collect()
        them = survivorship_of(history)
        yield stored(
            history.group_by("asset_id")
            .agg(first=pl.col("month").min(), last=pl.col("month").max(), months=pl.len().cast(pl.Int64))
            .sort("asset_id"),
            stocks=them.stocks,
            share_that_ends_before_the_sample=them.share_ended,
            ends_per_stock_and_year=them.exit_rate,
        )
        source = opened_source(study, project.vendor_files)
        outcomes = run_checks("history", history, study.quality)
        yield from _results(project, key, (*outcomes, *membership_outcomes(study, source, history)))

    return stock_history


def _coverage(project: Project) -> dg.AssetsDefinition:
    key = ["quality", "coverage"]
    study = project.study

    @dg.asset(
        key=key,
        group_name="quality",
        kinds={"arrow", "png"},
        description="Share of the universe that has each characteristic, by month, and its heat map.",
        ins={"known": dg.AssetIn(["panel", "characteristics"], input_manager_key="table_scans")},
        io_manager_key="table",
        code_version=code_version(
            "quality", "report/heat_map.py",
            settings={"universe": study.universe, "quality": study.quality, "acronyms": study.acronyms},
        ),
        check_specs=_specs(project, key, ["coverage"]),
    )  # fmt: skip
    def coverage(known: list[pl.LazyFrame]) -> Iterator[Any]:
        table = coverage_by_month(pl.concat(known), study)
        figure = coverage_heat_map(table)
        write_atomically(project.coverage_file, to_png(figure))
        yield stored(
            table,
            **table_metadata(table),
            heat_map=plot_metadata(figure),
            file=dg.MetadataValue.path(project.coverage_file),
        )
        yield from _results(project, key, run_checks("coverage", table, study.quality))

    return coverage


def _dropped(project: Project) -> dg.AssetsDefinition:
    study = project.study

    @dg.asset(
        key=["quality", "dropped"],
        group_name="quality",
        kinds={"arrow"},
        description="Stock-months that do not reach the panel, by month, step and reason.",
        ins={
            "known": dg.AssetIn(["panel", "characteristics"], input_manager_key="table_scans"),
            "stock_months": dg.AssetIn(["raw", "stock_months"], input_manager_key="table_scans"),
        },
        io_manager_key="table",
        code_version=code_version(
            "quality", "sources", settings={"universe": study.universe, "sample": study.sample}
        ),
    )
    def dropped(known: list[pl.LazyFrame], stock_months: list[pl.LazyFrame]) -> dg.MaterializeResult[Encoded]:
        source = opened_source(study, project.vendor_files)
        by_panel = dropped_before_panel(pl.concat(known), pl.concat(stock_months), study)
        table = pl.concat([dropped_by(source, raw_years_of(study)), by_panel])
        reasons = table.group_by("step", "reason").agg(pl.col("rows").sum()).sort("step", "rows", "reason")
        lines = ["| step | reason | rows |", "|---|---|---:|"]
        lines += [f"| {step} | {reason} | {rows} |" for step, reason, rows in reasons.iter_rows()]
        return stored(table, **table_metadata(table), reasons=dg.MetadataValue.md("\n".join(lines)))

    return dropped


def _specs(
    project: Project, key: list[str], tables: Iterable[Table], years: Years | None = None
) -> list[dg.AssetCheckSpec]:
    quality = project.study.quality
    return [
        dg.AssetCheckSpec(
            check.name,
            asset=key,
            description=f"{check.means}. What to do: {check.what_to_do}.",
            blocking=severity_of(check, quality) == "block",
            partitions_def=years.raw if years else None,
        )
        for table in tables
        for check in checks_of(table, quality)
    ]


def _results(project: Project, key: list[str], outcomes: Iterable[Outcome]) -> Iterator[dg.AssetCheckResult]:
    label = asset_label(project.study)
    for outcome in outcomes:
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=outcome.check.name,
            passed=outcome.passed,
            severity=dg.AssetCheckSeverity.ERROR
            if outcome.severity == "block"
            else dg.AssetCheckSeverity.WARN,
            metadata={
                "findings": len(outcome.found),
                **({"first": _listed(outcome.findings(label, SHOWN))} if not outcome.passed else {}),
            },
        )


def _listed(findings: list[Finding]) -> dg.MarkdownMetadataValue:
    lines = ["| asset | at | value | expected |", "|---" * 4 + "|"]
    for found in findings:
        value = "" if found.value is None else f"{found.value:.4g}"
        lines.append(f"| {found.asset} | {found.at} | {value} | {found.expected} |")
    return dg.MetadataValue.md("\n".join(lines))
