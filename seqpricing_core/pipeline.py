"""The whole study, plainly. Start reading here.

`seqpricing_dagster` runs the same functions, one partition at a time, and keeps what they return.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from seqpricing_core.characteristics.of_study import (
    characteristics_of_study,
    history_of,
    statistics_of_days,
)
from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.evaluation.monthly_scores import compute_monthly_scores
from seqpricing_core.evaluation.performance import compute_performance
from seqpricing_core.fitted_store import FittedStore
from seqpricing_core.inference.study_inference import (
    InferenceTables,
    compute_study_inference,
    published_factors,
)
from seqpricing_core.models.family import FittedFamily, fit_family, starts_warm
from seqpricing_core.panel.build import build_panel
from seqpricing_core.panel.macro import MacroSeries
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios, compute_managed_portfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.portfolios import compute_portfolio_returns
from seqpricing_core.predictions import (
    oracle_predictions,
    predict_managed_portfolios,
    predict_test_year,
)
from seqpricing_core.running_year import newest_month, study_as_of
from seqpricing_core.signal import next_month_signal
from seqpricing_core.sources import prepare_source, truth_file
from seqpricing_core.sources.macro import read_macro
from seqpricing_core.study import Study
from seqpricing_core.windows import WindowSamples, sample_of_test_year, split_estimation, window_for


@dataclass(frozen=True)
class StudyData:
    """What models are made from, by year."""

    characteristics: dict[int, pl.DataFrame]
    panels: dict[int, Panel]
    managed: dict[int, ManagedPortfolios]
    macro: MacroSeries | None
    factors: dict[int, pl.DataFrame]
    """The canonical table."""

    def panel(self, first: int, last: int) -> Panel:
        return Panel.concatenate([self.panels[year] for year in range(first, last + 1)])

    def managed_portfolios(self, first: int, last: int) -> ManagedPortfolios:
        return ManagedPortfolios.concatenate([self.managed[year] for year in range(first, last + 1)])


@dataclass(frozen=True)
class StudyResults:
    """Tables of a finished study; what takes long is computed when it is asked for."""

    study: Study
    predictions: pl.DataFrame
    portfolio_returns: pl.DataFrame
    performance: pl.DataFrame
    monthly_scores: pl.DataFrame
    factor_returns: FactorReturns

    @cached_property
    def inference(self) -> InferenceTables:
        """Every test of every model: bootstraps take seconds to a minute."""
        return compute_study_inference(
            self.study, self.portfolio_returns, self.monthly_scores, self.factor_returns
        )

    @cached_property
    def portfolio_returns_without_micro_caps(self) -> pl.DataFrame:
        """*sequence*, exhibits 6 and 7, panel B."""
        return compute_portfolio_returns(
            self.predictions, self.study.portfolios.without_micro_caps, self.study.costs
        )


def run_study(study: Study, folder: Path, store: FittedStore | None = None) -> StudyResults:
    """Raw -> characteristics -> panel -> managed portfolios -> windows -> models -> predictions -> scores.

    With a ``store``, windows that are in it are not trained again.
    """
    data = prepare_data(study, folder)
    constant = study.panel.managed_portfolio_constant
    predictions: list[pl.DataFrame] = []
    managed_predictions: list[pl.DataFrame] = []
    fitted: dict[str, FittedFamily] = {}
    truth = truth_file(study, folder)
    for test_year in study.test_years:
        samples = estimation_samples(study, data, test_year)
        years = test_year - study.lookback_years, test_year
        test = sample_of_test_year(
            samples.window,
            data.panel(*years) if study.reads_sequences else data.panels[test_year],
            data.managed_portfolios(*years),
            data.macro and data.macro.between(samples.window.estimation[0], test_year),
        )
        fitted = fit_window(study, samples, study.families, fitted, store)
        predictions.extend(predict_test_year(family, test) for family in fitted.values())
        if truth:
            predictions.append(oracle_predictions(pl.read_parquet(truth), test.panel))
        of_year = pl.concat(predictions).filter(pl.col("month").dt.year() == test_year)
        managed_predictions.append(predict_managed_portfolios(of_year, test.panel, constant=constant))

    every = pl.concat(predictions)
    returns = compute_portfolio_returns(every, study.portfolios, study.costs)
    performance = compute_performance(every, pl.concat(managed_predictions), returns)
    scores = compute_monthly_scores(every, by_size=True)
    factors = published_factors(study, pl.concat(data.factors.values()))
    return StudyResults(study, every, returns, performance, scores, factors)


def run_signal(study: Study, folder: Path, store: FittedStore | None = None) -> pl.DataFrame:
    """Train on the newest window, and forecast the month after the data: see `next_month_signal`.

    A study without a last month ends with the newest month that is over, here alone: see `running_year`.
    """
    if study.grows:
        study = study_as_of(study, newest_month(study, prepare_source(study, folder)))
    data = prepare_data(study, folder)
    fitted: dict[str, FittedFamily] = {}
    chained = [config.family for config in study.models if starts_warm(config, study.training)]
    for test_year in study.model_years:
        newest_window = test_year == study.signal_year
        families = [f for f in study.signal_families if newest_window or f in chained]
        if families:
            samples = estimation_samples(study, data, test_year)
            fitted = fit_window(study, samples, families, fitted, store)
    newest, lookback = study.sample.last_year, study.signal_year - study.lookback_years
    years = min(lookback, newest), newest
    return next_month_signal(
        study, [fitted[family] for family in study.signal_families], data.panel(*years),
        data.managed_portfolios(*years), data.characteristics[newest],
    )  # fmt: skip


def fit_window(
    study: Study,
    samples: WindowSamples,
    families: Collection[str],
    before: Mapping[str, FittedFamily],
    store: FittedStore | None = None,
) -> dict[str, FittedFamily]:
    """These families on one window; those that start warm from ``before``, the fits of the window before."""

    def fit(*inputs: Any) -> FittedFamily:
        return store.fit(*inputs).fitted if store else fit_family(*inputs)

    return {
        config.family: fit(
            config, study.number_of_factors, samples, study.training,
            before.get(config.family) if starts_warm(config, study.training) else None,
        )
        for config in study.models
        if config.family in families
    }  # fmt: skip


def prepare_data(study: Study, folder: Path) -> StudyData:
    """Raw -> characteristics -> panel -> managed portfolios, year by year."""
    source = prepare_source(study, folder)
    sample_years = range(study.sample.first_year, study.sample.last_year + 1)
    raw_years = range(sample_years.start - 1 - study.history_years, sample_years.stop)
    stock_months = {year: source.stock_months(year) for year in raw_years}
    statements = {year: source.statements(year) for year in raw_years}

    macro = (
        MacroSeries.from_table(pl.concat(read_macro(study, y) for y in sample_years)) if study.macro else None
    )
    of_days = dict(statistics_of_days(source, raw_years)) if study.reads_days else None
    data = StudyData({}, {}, {}, macro, {})
    for year in range(sample_years.start - 1, sample_years.stop):
        data.characteristics[year] = characteristics_of_study(
            study, source, year, *history_of(study, year, stock_months, statements, of_days)
        )
    for year in sample_years:
        known = pl.concat([data.characteristics[year - 1], data.characteristics[year]])
        data.factors[year] = source.factors(year)
        panel = build_panel(known, stock_months[year], data.factors[year], year, study)
        data.panels[year] = panel
        data.managed[year] = compute_managed_portfolios(
            panel, constant=study.panel.managed_portfolio_constant
        )
    return data


def estimation_samples(study: Study, data: StudyData, test_year: int) -> WindowSamples:
    """What models of ``test_year`` may see."""
    window = window_for(study, test_year)
    return split_estimation(
        window,
        data.panel(*window.estimation),
        data.managed_portfolios(*window.estimation),
        data.macro and data.macro.between(*window.estimation),
    )
