"""Asset checks: what must hold of every partition before anything later is believed."""

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.panel import Panel
from seqpricing_core.tables import FACTORS, STATEMENTS, STOCK_MONTHS, check_table
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project


def asset_checks(project: Project, years: Years) -> list[dg.AssetChecksDefinition]:
    """All checks; each is blocking, since a later step would be wrong."""
    schemas = {"stock_months": STOCK_MONTHS, "statements": STATEMENTS, "factors": FACTORS}
    checks = [_canonical(name, schema, years) for name, schema in schemas.items()]
    checks.append(_panel_is_sound(years))
    for family in project.study.families:
        checks += [_no_month_beyond_window(family, years), _predictions_complete(family, years)]
    return checks


def _canonical(name: str, schema: pa.DataFrameSchema, years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["raw", name],
        name="canonical_schema_and_unique_keys",
        description="Column types, bounds and unique keys of the canonical table.",
        partitions_def=years.raw,
        blocking=True,
    )
    def canonical(table: pl.DataFrame) -> dg.AssetCheckResult:
        try:
            check_table(table, schema, f"raw/{name}")
        except InputError as error:
            return dg.AssetCheckResult(passed=False, metadata={"problem": str(error)})
        return dg.AssetCheckResult(passed=True, metadata={"rows": len(table)})

    return canonical


def _panel_is_sound(years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["panel", "panel"],
        name="ranks_inside_unit_interval_and_unique_rows",
        description="Characteristics in (-1, 1), no infinite return, each stock once a month.",
        partitions_def=years.panel,
        blocking=True,
    )
    def sound(built: Panel) -> dg.AssetCheckResult:
        problems = panel_problems(built)
        return dg.AssetCheckResult(passed=not problems, metadata={"problems": problems or "none"})

    return sound


def panel_problems(panel: Panel) -> list[str]:
    """What is wrong with a panel, in words; nothing for a sound one."""
    problems = []
    if not (np.abs(panel.characteristics) < 1).all():
        problems.append("a characteristic is outside (-1, 1) or NaN")
    if np.isinf(panel.excess_return).any():
        problems.append("an excess return is infinite")
    for t, month in enumerate(panel.months):
        ids = panel.asset_id[panel.rows(t)]
        if len(np.unique(ids)) != len(ids):
            problems.append(f"a stock stands twice in {month}")
    return problems


def _no_month_beyond_window(family: str, years: Years) -> dg.AssetChecksDefinition:
    key = ["models", family, f"{family}_models"]

    @dg.asset_check(
        asset=key,
        name="no_month_beyond_the_window",
        description="The last month a model has seen is the December before its test year.",
        partitions_def=years.models,
        blocking=True,
    )
    def no_month_beyond(context: dg.AssetCheckExecutionContext, fitted: FittedFamily) -> dg.AssetCheckResult:
        test_year = int(context.partition_key)
        first, last = fitted.months_seen
        expected = np.datetime64(f"{test_year - 1}-12", "M")
        return dg.AssetCheckResult(
            passed=bool(last == expected and fitted.window.test_year == test_year),
            metadata={"first_month_seen": str(first), "last_month_seen": str(last)},
        )

    return no_month_beyond


def _predictions_complete(family: str, years: Years) -> dg.AssetChecksDefinition:
    key = ["predictions", family, f"{family}_predictions"]

    @dg.asset_check(
        asset=key,
        name="months_of_the_test_year_only_and_finite",
        description="Predictions are finite and cover the panel's months of the test year and no other; "
        "a forecaster has no fitted return.",
        partitions_def=years.test,
        blocking=True,
        additional_ins={"panel": dg.AssetIn(["panel", "panel"], partition_mapping=years.same_year)},
    )
    def complete(predictions: pl.DataFrame, panel: Panel) -> dg.AssetCheckResult:
        months = set(predictions["month"].dt.strftime("%Y-%m").unique())
        finite = predictions_are_finite(predictions)
        return dg.AssetCheckResult(
            passed=bool(months == set(map(str, panel.months)) and finite),
            metadata={"months": len(months), "finite": finite},
        )

    return complete


def predictions_are_finite(predictions: pl.DataFrame) -> bool:
    """Every expected return is a finite number, and every fitted one; a forecaster (K = 0) has none."""
    expected, fitted = (
        pl.col(column).is_finite().fill_null(value=False) for column in ("expected_return", "fitted_return")
    )
    forecaster = pl.col("number_of_factors") == 0
    sound = expected & pl.when(forecaster).then(pl.col("fitted_return").is_null()).otherwise(fitted)
    return bool(predictions.select(sound.all()).item())
