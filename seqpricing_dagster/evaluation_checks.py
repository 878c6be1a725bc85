"""Asset checks on portfolios: weights, timing, turnover, months."""

import inspect
from collections.abc import Callable

import dagster as dg
import polars as pl

from seqpricing_core.portfolios.soundness import (
    forecast_problems,
    look_ahead_problems,
    month_problems,
    turnover_problems,
    weight_problems,
)
from seqpricing_dagster.assets.evaluation import StockPredictions, YearlyScans
from seqpricing_dagster.assets.models import predicting_families
from seqpricing_dagster.project import Project

PORTFOLIO_RETURNS = ["evaluation", "portfolio_returns"]
Problems = Callable[[pl.DataFrame], list[str]]


def evaluation_checks(project: Project) -> list[dg.AssetChecksDefinition]:
    """Those of portfolio weights and turnover block what follows; an absent month is a warning.

    A month may be absent for a reason: models are then compared on the months that all have.
    """
    portfolios, stocks = project.study.portfolios, StockPredictions(predicting_families(project))
    return [
        _on_predictions(
            "weights_sum_to_one", stocks, lambda table: weight_problems(table, portfolios),
            "Weights of every quantile portfolio are not negative and sum to one, in the newest test year.",
        ),
        _on_predictions(
            "no_future_return_in_a_weight", stocks,
            lambda table: look_ahead_problems(table, portfolios) + _of_models(table),
            "Returns of a month dealt out anew among its stocks change no weight of that month, and no "
            "forecast ranks stocks as their returns then do, in the newest test year.",
        ),
        _turnover(),
        _months(project),
    ]  # fmt: skip


def _of_models(table: pl.DataFrame) -> list[str]:
    """The oracle of a simulated market may come close to the truth; a model may not."""
    return forecast_problems(table.filter(pl.col("family") != "oracle"))


def _on_predictions(
    name: str, stocks: StockPredictions, problems_of: Problems, description: str
) -> dg.AssetChecksDefinition:
    def check(**predictions: YearlyScans) -> dg.AssetCheckResult:
        newest = (tables[-1].collect() for tables in stocks.in_order(predictions) if tables)
        return _result([problem for table in newest for problem in problems_of(table)])

    # Dagster looks for each input among the parameters, and a study has its own families.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(family, kind, annotation=list) for family in stocks.families]
    check.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return dg.asset_check(
        asset=PORTFOLIO_RETURNS, name=name, description=description, blocking=True,
        additional_ins=stocks.scans,
    )(check)  # fmt: skip


def _turnover() -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=PORTFOLIO_RETURNS,
        name="turnover_within_bounds",
        description="Between nothing and everything sold and bought: 200% a month, long-short 400%.",
        blocking=True,
    )
    def turnover(returns: pl.DataFrame) -> dg.AssetCheckResult:
        return _result(turnover_problems(returns))

    return turnover


def _months(project: Project) -> dg.AssetChecksDefinition:
    study = project.study

    @dg.asset_check(
        asset=PORTFOLIO_RETURNS,
        name="months_complete",
        description="Every portfolio has every month of the test years, once.",
    )
    def months(returns: pl.DataFrame) -> dg.AssetCheckResult:
        first = f"{study.first_test_year}-01"
        return _result(month_problems(returns, first, study.sample.last_month), dg.AssetCheckSeverity.WARN)

    return months


def _result(
    problems: list[str], severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not problems, severity=severity, metadata={"problems": problems or "none"}
    )
