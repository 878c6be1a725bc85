"""Asset checks: what must hold of every partition before anything later is believed."""

from typing import Any

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.leak_test import months_that_saw_the_future, moves_of_forecasts
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.models.sanity import not_finite
from seqpricing_core.panel.macro import MacroSeries
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.running_year import RunningYear, study_as_of
from seqpricing_core.study import Study
from seqpricing_core.tables import FACTORS, STATEMENTS, STOCK_MONTHS, check_table
from seqpricing_core.windows import sample_of_test_year
from seqpricing_dagster.io import Kind, io_managers
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project
from seqpricing_dagster.refusals import accept, refuse


def asset_checks(project: Project, years: Years) -> list[dg.AssetChecksDefinition]:
    """What must hold; each is blocking, since a later step would be wrong. `health` has the warnings."""
    schemas = {"stock_months": STOCK_MONTHS, "statements": STATEMENTS, "factors": FACTORS}
    checks = [_canonical(name, schema, project, years) for name, schema in schemas.items()]
    checks += [_panel_is_sound(project, years), _every_month_is_there(project, years)]
    if project.study.grows:
        checks.append(_running_year_is_sound(project))
    for family in project.study.families:
        checks += [
            _no_month_beyond_window(family, project, years),
            _parameters_are_finite(family, project, years),
            _predictions_complete(family, project, years),
            _forecasts_do_not_see_the_future(family, project, years),
        ]
    return checks


def verdict(
    project: Project, context: dg.AssetCheckExecutionContext, problems: list[str], **shown: Any
) -> dg.AssetCheckResult:
    """What a blocking check of a partition, or of an asset without any, found; with problems it is refused to
    later steps.
    """
    (key,) = context.selected_asset_check_keys
    name = context.partition_key if context.has_partition_key else key.asset_key.path[-1]
    partition = project.assets.joinpath(*key.asset_key.path, name)
    if problems:
        refuse(project.shared_assets, partition, key.name, "; ".join(problems))
    else:
        accept(project.shared_assets, partition, key.name)
    return dg.AssetCheckResult(passed=not problems, metadata={"problems": problems or "none", **shown})


def _canonical(
    name: str, schema: pa.DataFrameSchema, project: Project, years: Years
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["raw", name],
        name="canonical_schema_and_unique_keys",
        description="Column types, bounds and unique keys of the canonical table.",
        partitions_def=years.raw,
        blocking=True,
    )
    def canonical(context: dg.AssetCheckExecutionContext, table: pl.DataFrame) -> dg.AssetCheckResult:
        problems = []
        try:
            check_table(table, schema, f"raw/{name}")
        except InputError as error:
            problems.append(str(error))
        return verdict(project, context, problems, rows=len(table))

    return canonical


def _panel_is_sound(project: Project, years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["panel", "panel"],
        name="ranks_inside_unit_interval_and_unique_rows",
        description="Characteristics in (-1, 1), no infinite return, each stock once a month.",
        partitions_def=years.panel,
        blocking=True,
    )
    def sound(context: dg.AssetCheckExecutionContext, built: Panel) -> dg.AssetCheckResult:
        return verdict(project, context, panel_problems(built))

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


def _every_month_is_there(project: Project, years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["panel", "panel"],
        name="every_month_of_the_year_is_there",
        description="January to December, or to the end of the sample; each with enough stocks to sort.",
        partitions_def=years.panel,
        blocking=True,
    )
    def complete(context: dg.AssetCheckExecutionContext, built: Panel) -> dg.AssetCheckResult:
        problems = month_problems(built, int(context.partition_key), project.study)
        stocks = np.diff(built.offsets)
        return verdict(project, context, problems, months=len(built.months), fewest_stocks=int(stocks.min()))

    return complete


def month_problems(panel: Panel, year: int, study: Study) -> list[str]:
    """Months of the year that the panel lacks, and those with fewer stocks than portfolios."""
    months = np.arange(f"{year}-01", f"{year + 1}-01", dtype="datetime64[M]")
    if study.sample.last_month:
        months = months[months <= np.datetime64(study.sample.last_month, "M")]
    missing = sorted(set(months) - set(panel.months))
    stocks, quantiles = np.diff(panel.offsets), study.portfolios.quantiles
    thin = panel.months[stocks < quantiles]
    problems = [f"no stock in {', '.join(map(str, missing))}"] if missing else []
    if len(thin):
        problems.append(f"fewer than {quantiles} stocks in {', '.join(map(str, thin))}")
    return problems


def _running_year_is_sound(project: Project) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["signal", "running_year"],
        name="as_sound_as_a_whole_year",
        description="What must hold of the panel of a whole year, of the months so far.",
        blocking=True,
    )
    def sound(context: dg.AssetCheckExecutionContext, running: RunningYear) -> dg.AssetCheckResult:
        so_far, study = running.so_far, study_as_of(project.study, running.newest_month)
        problems = (
            panel_problems(so_far.panel) + month_problems(so_far.panel, running.year, study) if so_far else []
        )
        return verdict(project, context, problems)

    return sound


def _no_month_beyond_window(family: str, project: Project, years: Years) -> dg.AssetChecksDefinition:
    key = ["models", family, f"{family}_models"]

    @dg.asset_check(
        asset=key,
        name="no_month_beyond_the_window",
        description="The last month a model has seen is the December before its test year.",
        partitions_def=years.models,
        blocking=True,
    )
    def no_month_beyond(context: dg.AssetCheckExecutionContext, fitted: FittedFamily) -> dg.AssetCheckResult:
        first, last = fitted.months_seen
        problems = window_problems(fitted, int(context.partition_key))
        return verdict(project, context, problems, first_month_seen=str(first), last_month_seen=str(last))

    return no_month_beyond


def window_problems(fitted: FittedFamily, test_year: int) -> list[str]:
    """A fit of another window, or one that saw other months than its own."""
    problems = []
    expected, last = np.datetime64(f"{test_year - 1}-12", "M"), fitted.months_seen[1]
    if fitted.window.test_year != test_year:
        problems.append(f"its window is that of {fitted.window.test_year}")
    if last != expected:
        problems.append(f"the last month it saw is {last}, not {expected}")
    return problems


def _parameters_are_finite(family: str, project: Project, years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["models", family, f"{family}_models"],
        name="parameters_are_finite",
        description="Every parameter of every fit is a number.",
        partitions_def=years.models,
        blocking=True,
    )
    def finite(context: dg.AssetCheckExecutionContext, fitted: FittedFamily) -> dg.AssetCheckResult:
        found = not_finite(fitted)
        return verdict(project, context, [f"{doubt.where}: {doubt.what}" for doubt in found])

    return finite


def _predictions_complete(family: str, project: Project, years: Years) -> dg.AssetChecksDefinition:
    key = ["predictions", family, f"{family}_predictions"]

    @dg.asset_check(
        asset=key,
        name="months_of_the_test_year_only_and_finite",
        description="Predictions are finite and cover every stock-month of the test year and no other; "
        "a forecaster has no fitted return.",
        partitions_def=years.test,
        blocking=True,
        additional_ins={"panel": dg.AssetIn(["panel", "panel"], partition_mapping=years.same_year)},
    )
    def complete(
        context: dg.AssetCheckExecutionContext, predictions: pl.DataFrame, panel: Panel
    ) -> dg.AssetCheckResult:
        problems = prediction_problems(predictions, panel)
        return verdict(project, context, problems, months=predictions["month"].n_unique())

    return complete


def prediction_problems(predictions: pl.DataFrame, panel: Panel) -> list[str]:
    """Months or stock-months that are missing or too many, and numbers that are none."""
    problems = []
    months = set(predictions["month"].dt.strftime("%Y-%m").unique())
    if other := months ^ set(map(str, panel.months)):
        problems.append(f"months in only one of predictions and panel: {', '.join(sorted(other))}")
    for (factors,), of_model in predictions.group_by("number_of_factors"):
        if len(of_model) != len(panel):
            problems.append(f"K = {factors}: {len(of_model)} rows for {len(panel)} stock-months")
    if not predictions_are_finite(predictions):
        problems.append("a return is not finite")
    return problems


def _forecasts_do_not_see_the_future(family: str, project: Project, years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["predictions", family, f"{family}_predictions"],
        name="forecasts_do_not_see_the_future",
        description="With returns from the middle of the test year on made into others, forecasts up to "
        "then stay what they are.",
        partitions_def=years.test,
        blocking=True,
    )
    def no_leak(context: dg.AssetCheckExecutionContext, predictions: pl.DataFrame) -> dg.AssetCheckResult:
        year = int(context.partition_key)
        fitted, test = window_of_predictions(project, family, year)
        moves = moves_of_forecasts(fitted, test, predictions)
        moved = months_that_saw_the_future(moves)
        problems = [f"moved: {', '.join(moved)}"] if moved else []
        return verdict(project, context, problems, largest_move=float(moves["move"].max()))  # type: ignore[arg-type]

    return no_leak


def window_of_predictions(project: Project, family: str, year: int) -> tuple[FittedFamily, Sample]:
    """What the predictions of a year were made from.

    Dagster 1.13 gives a check the same partition of every asset it reads, whatever mapping is asked for; the
    look-back needs others.
    """
    study, files = project.study, io_managers(project.shared_assets)

    def read(kind: Kind, *key: str, first: int = year) -> Any:
        return files[kind].read(dg.AssetKey([*key]), [str(y) for y in range(first, year + 1)], refused=True)

    fitted = read("fitted_family", "models", family, f"{family}_models")
    managed = read("managed_portfolios", "panel", "managed_portfolios", first=year - study.lookback_years)
    macro = None
    if study.reads_macro(family):
        macro = MacroSeries.from_table(read("table", "raw", "macro", first=fitted.window.estimation[0]))
    first = year - study.lookback_years if study.reads_sequences else year
    panel = read("panel", "panel", "panel", first=first)
    return fitted, sample_of_test_year(fitted.window, panel, managed, macro)


def predictions_are_finite(predictions: pl.DataFrame) -> bool:
    """Every expected return is a finite number, and every fitted one; a forecaster (K = 0) has none."""
    expected, fitted = (
        pl.col(column).is_finite().fill_null(value=False) for column in ("expected_return", "fitted_return")
    )
    forecaster = pl.col("number_of_factors") == 0
    sound = expected & pl.when(forecaster).then(pl.col("fitted_return").is_null()).otherwise(fitted)
    return bool(predictions.select(sound.all()).item())
