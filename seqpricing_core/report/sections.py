"""The sections of a page, and in them its tables and figures: what an investment committee asks, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from seqpricing_core.inference.study_inference import InferenceTables
from seqpricing_core.report.coverage import coverage_table, scored_table
from seqpricing_core.report.exhibits import error_exhibit, portfolio_exhibit
from seqpricing_core.report.forecasts import (
    forecast_table,
    interval_table,
    size_table,
    yearly_table,
)
from seqpricing_core.report.importance import importance_table
from seqpricing_core.report.inputs import ReportInputs
from seqpricing_core.report.odd_even import odd_even_table
from seqpricing_core.report.pictures import (
    Picture,
    absent_families,
    importance_pictures,
    loss_pictures,
    r_squared_picture,
    strategy_pictures,
)
from seqpricing_core.report.shown import Model, Shown
from seqpricing_core.report.significance import (
    correlation_table,
    joint_alpha_table,
    reference_model,
    sharpe_test_table,
)
from seqpricing_core.report.strategies import (
    alpha_table,
    deflated_table,
    drawdown_table,
    exposure_table,
    quantile_table,
)
from seqpricing_core.report.table import Table
from seqpricing_core.report.tables import PORTFOLIOS, Scores, family_table, r_squared_tables, strategy_tables
from seqpricing_core.report.training import training_summary, training_table
from seqpricing_core.study import Study


@dataclass(frozen=True)
class Section:
    name: str
    """Its anchor."""
    title: str
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    text: str = ""


def study_sections(study: Study, inputs: ReportInputs, scores: Scores) -> tuple[Section, ...]:
    """Of the page of the study; what has neither table nor figure nor text is left out."""
    shown = Shown(inputs.largest_factors)
    absent, tests = absent_families(study.families, inputs, shown.factors), inputs.inference
    strategy = strategy_pictures(study, inputs, shown, absent)
    sections = (
        Section("r2", "Explaining and predicting returns",
                (*r_squared_tables(scores), *_forecast_tables(study, inputs, shown)),
                (r_squared_picture(inputs, shown, absent),)),
        Section("portfolios", "Portfolios",
                (*strategy_tables(scores), *_portfolio_tables(study, inputs, shown)), tuple(strategy)),
        Section("tests", "Are the differences more than luck?", () if tests is None else
                test_tables(study, inputs.models, tests, shown)),
        Section("factors", "Exposure to known factors",
                () if tests is None else factor_tables(study, tests, shown), text=_factor_text(inputs)),
        Section("importance", "What drives the models", _given(
            [inputs.importance is not None and importance_table(shown, inputs.importance)]
        ), tuple(importance_pictures(inputs, shown))),
        Section("robustness", "Other stocks: the odd-even check", _given(
            [inputs.odd_even is not None and odd_even_table(shown, study, inputs.odd_even)]
        ), text="" if inputs.odd_even is not None else
            "Not run: robustness.odd_even is off in the study file; it trains every model twice more."),
        Section("training", "Training", _given([training_summary(study.families, inputs.training)])),
    )  # fmt: skip
    return tuple(one for one in sections if one.tables or one.pictures or one.text)


def data_tables(inputs: ReportInputs) -> tuple[Table, ...]:
    """Coverage, beside the facts of the page."""
    tables: list[Table | None] = [coverage_table(inputs.managed)]
    if inputs.monthly_scores is not None:
        tables.append(scored_table(Shown(inputs.largest_factors), inputs.monthly_scores))
    return _given(tables)


def family_sections(study: Study, inputs: ReportInputs, scores: Scores, family: str) -> tuple[Section, ...]:
    """Of the page of one family: all of its K."""
    factors = [k for f, k in inputs.models if f == family]
    shown = Shown(max(factors, default=0), family)
    tests, sure = inputs.inference, list[Table | None]()
    if tests is not None:
        sure.append(interval_table(shown, tests, scores.headline))
        sure += [deflated_table(shown, tests, weights) for weights in study.portfolios.weights]
    sections = (
        Section("scores", "Scores by number of factors",
                (family_table(scores, family), *_forecast_tables(study, inputs, shown)),
                (r_squared_picture(inputs, shown),)),
        Section("portfolios", "Portfolios", _portfolio_tables(study, inputs, shown),
                tuple(strategy_pictures(study, inputs, shown))),
        Section("tests", "How sure are these numbers?", _given(sure)),
        Section("factors", "Exposure to known factors",
                () if tests is None else factor_tables(study, tests, shown), text=_factor_text(inputs)),
        Section("importance", "What drives the model", _given(
            [inputs.importance is not None and importance_table(shown, inputs.importance)]
        )),
        Section("training", "Training record", _given([training_table(family, inputs.training)]),
                tuple(loss_pictures(inputs, shown, family))),
    )  # fmt: skip
    return tuple(one for one in sections if one.tables or one.pictures or one.text)


def _forecast_tables(study: Study, inputs: ReportInputs, shown: Shown) -> tuple[Table, ...]:
    tables: list[Table | None] = [yearly_table(shown, inputs.r2_by_year)]
    scores = inputs.monthly_scores
    if scores is not None:
        tables += [size_table(shown, scores), error_exhibit(shown, scores)]
        if inputs.inference is not None:
            reference = None if shown.family else reference_model(study, inputs.models)
            tables.append(forecast_table(shown, scores, inputs.inference, reference))
    return _given(tables)


def _portfolio_tables(study: Study, inputs: ReportInputs, shown: Shown) -> tuple[Table, ...]:
    returns, weightings = inputs.portfolio_returns, study.portfolios.weights
    makers: tuple[Callable[[str], Table | None], ...] = (
        lambda weights: quantile_table(shown, returns, inputs.inference, weights),
        lambda weights: drawdown_table(shown, returns, weights),
        lambda weights: portfolio_exhibit(shown, returns, inputs.without_micro_caps, weights),
    )
    return _given(make(weights) for make in makers for weights in weightings)


def test_tables(
    study: Study, models: Sequence[Model], tests: InferenceTables, shown: Shown
) -> tuple[Table, ...]:
    """Tests between models."""
    weightings, reference = study.portfolios.weights, reference_model(study, models)
    tables: list[Table | None] = []
    if reference is not None:
        tables += [sharpe_test_table(shown, study, tests, reference, weights) for weights in weightings]
    tables += [
        correlation_table(shown, tests, weights, portfolio)
        for portfolio in PORTFOLIOS
        for weights in weightings
    ]
    tables += [deflated_table(shown, tests, weights) for weights in weightings]
    return _given(tables)


def factor_tables(study: Study, tests: InferenceTables, shown: Shown) -> tuple[Table, ...]:
    """Alphas, exposures, joint tests."""
    weightings = study.portfolios.weights
    tables = [
        alpha_table(shown, tests, weights, costs) for weights in weightings for costs in ("before", "after")
    ]
    tables += [exposure_table(shown, tests, weights) for weights in weightings]
    tables += [joint_alpha_table(shown, tests, weights) for weights in weightings]
    return _given(tables)


def _factor_text(inputs: ReportInputs) -> str:
    if inputs.inference is None:
        return ""
    models = set(inputs.inference.exposures["factor_model"])
    if models <= {"CAPM"}:
        return (
            "The study has the returns of the market alone: alphas are those of the CAPM. Name a file of "
            "factor returns under inference.factor_returns for the others."
        )
    return ""


def _given(tables: Iterable[Table | bool | None]) -> tuple[Table, ...]:
    return tuple(table for table in tables if isinstance(table, Table))
