"""Asset checks that warn: what a person should look at before believing a year. They stop nothing."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from seqpricing_core import clock
from seqpricing_core.characteristics.compute import CARRIED
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.models.sanity import doubts
from seqpricing_core.panel.drift import SHIFTED, shifted
from seqpricing_core.panel.panel import Panel
from seqpricing_core.running_year import RunningYear, month_over
from seqpricing_core.sources import open_source
from seqpricing_core.study import SimulatedSource, Study
from seqpricing_dagster.partitions import Years
from seqpricing_dagster.project import Project

NEARLY_EMPTY = 0.9
"""A characteristic that so many stock-months lack says nothing."""
SUDDEN = 0.5
"""A month with so many times fewer stocks than the month before lost a part of the market."""
DAYS_UNTIL_THERE = 5
"""Files of December are expected so many days into January, when the yearly schedule ticks."""


def health_checks(project: Project, years: Years) -> list[dg.AssetChecksDefinition]:
    """Freshness, coverage, drift, and doubts about fits."""
    fits = [_fit_is_believable(family, years) for family in project.study.families]
    checks = [
        _newest_month_is_there(project),
        _coverage(years),
        _no_sudden_loss(years),
        _stable(years),
        *fits,
    ]
    # A simulated market ends with a December.
    grows = project.study.grows and not isinstance(project.study.source, SimulatedSource)
    return [*checks, _signal_is_of_the_running_month()] if grows else checks


def warning(problems: Sequence[str], **shown: Any) -> dg.AssetCheckResult:
    """Passed without problems; else a warning that lists them."""
    return dg.AssetCheckResult(
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"problems": list(problems) or "none", **shown},
    )


def _newest_month_is_there(project: Project) -> dg.AssetChecksDefinition:
    study = project.study

    @dg.asset_check(
        asset=["raw", "vendor_files"],
        name="newest_month_is_there",
        description="The files reach the last month of the sample; of a study without one, last December.",
    )
    def newest_month_is_there() -> dg.AssetCheckResult:
        expected = expected_month(study, clock.today())
        source = open_source(study, project.vendor_files)
        newest = source.stock_months(int(str(expected.astype("datetime64[Y]"))))["month"].max()
        return warning(freshness_problems(newest, expected), newest_month=str(newest), expected=str(expected))

    return newest_month_is_there


def _signal_is_of_the_running_month() -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["signal", "running_year"],
        name="signal_is_of_the_running_month",
        description="The files reach the newest month that is over, returns as well as risk-free rates; else "
        "the signal is of a month that is over too.",
    )
    def of_the_running_month(running: RunningYear) -> dg.AssetCheckResult:
        expected = np.datetime64(month_over(), "M")
        problems = freshness_problems(running.newest_month, expected)
        return warning(problems, newest_month=running.newest_month, expected=str(expected))

    return of_the_running_month


def expected_month(study: Study, today: dt.date) -> np.datetime64:
    """The newest month that the files ought to hold."""
    if study.sample.last_month:
        return np.datetime64(study.sample.last_month, "M")
    there = today - dt.timedelta(days=DAYS_UNTIL_THERE - 1)
    return np.datetime64(f"{there.year - 1}-12", "M")


def freshness_problems(newest: Any, expected: np.datetime64) -> list[str]:
    """``newest``: the last date of the year in which ``expected`` lies, None without any."""
    if newest is None:
        return [f"no data of {expected.astype('datetime64[Y]')}"]
    if np.datetime64(newest, "M") < expected:
        return [f"the newest month is {np.datetime64(newest, 'M')}, not {expected}"]
    return []


def _coverage(years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["panel", "characteristics"],
        name="characteristics_have_values",
        description=f"No characteristic is missing for more than {NEARLY_EMPTY:.0%} of the stock-months.",
        partitions_def=years.characteristics,
    )
    def characteristics_have_values(table: pl.DataFrame) -> dg.AssetCheckResult:
        problems, missing = coverage_problems(table)
        return warning(problems, missing_share_of_all=float(np.mean([*missing.values()] or [0.0])))

    return characteristics_have_values


def coverage_problems(table: pl.DataFrame) -> tuple[list[str], dict[str, float]]:
    """Nearly empty columns in words, and the share of missing values of every column of numbers."""
    if not len(table):
        return ["no stock-month at all"], {}
    numbers = table.drop(CARRIED, strict=False).select(pl.col(pl.Float32, pl.Float64))
    missing = {name: numbers[name].null_count() / len(numbers) for name in numbers.columns}
    empty = {name: share for name, share in missing.items() if share > NEARLY_EMPTY}
    return [f"{name} is missing for {share:.0%}" for name, share in empty.items()], missing


def _no_sudden_loss(years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["panel", "panel"],
        name="no_sudden_loss_of_stocks",
        description="No month has less than half of the stocks of the month before, or of their returns.",
        partitions_def=years.panel,
    )
    def no_sudden_loss(built: Panel) -> dg.AssetCheckResult:
        return warning(loss_problems(built), returns_per_row=len(built.with_returns()) / len(built))

    return no_sudden_loss


def loss_problems(panel: Panel) -> list[str]:
    """Months in which the market halves."""
    stocks = np.diff(panel.offsets)
    there = np.array(
        [np.sum(~np.isnan(panel.excess_return[panel.rows(t)])) for t in range(len(panel.months))]
    )
    return [
        f"{panel.months[t]}: {count[t]} {what} after {count[t - 1]}"
        for what, count in (("stocks", stocks), ("stocks with a return", there))
        for t in np.flatnonzero(count[1:] < SUDDEN * count[:-1]) + 1
    ]


def _stable(years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["panel", "characteristic_drift"],
        name="population_is_stable",
        description=f"No characteristic's population stability index is above {SHIFTED}.",
        partitions_def=years.test,
    )
    def population_is_stable(drift: pl.DataFrame) -> dg.AssetCheckResult:
        moved = shifted(drift)
        return warning([f"{name} is distributed otherwise than in training" for name in moved])

    return population_is_stable


def _fit_is_believable(family: str, years: Years) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["models", family, f"{family}_models"],
        name="fit_is_believable",
        description="No dead units, exploding or cut-off training, no winner at the edge of the grid.",
        partitions_def=years.models,
    )
    def fit_is_believable(fitted: FittedFamily) -> dg.AssetCheckResult:
        return warning([f"{doubt.where}: {doubt.what}" for doubt in doubts(fitted)])

    return fit_is_believable
