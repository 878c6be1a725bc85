"""The whole study, plainly. Start reading here.

`seqpricing_dagster` runs the same functions, one partition at a time, and keeps what they return.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from seqpricing_core.characteristics.compute import HISTORY_YEARS, compute_characteristics
from seqpricing_core.evaluation.performance import compute_performance
from seqpricing_core.models.family import fit_family
from seqpricing_core.panel.build import build_panel
from seqpricing_core.panel.macro import MacroSeries
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios, compute_managed_portfolios
from seqpricing_core.panel.panel import Panel, Sample
from seqpricing_core.portfolios import compute_portfolio_returns
from seqpricing_core.predictions import (
    oracle_predictions,
    predict_managed_portfolios,
    predict_test_year,
)
from seqpricing_core.sources import prepare_source, truth_file
from seqpricing_core.sources.macro import read_macro
from seqpricing_core.study import Study
from seqpricing_core.windows import split_estimation, window_for


@dataclass(frozen=True)
class StudyResults:
    """Tables of a finished study."""

    predictions: pl.DataFrame
    portfolio_returns: pl.DataFrame
    performance: pl.DataFrame


def run_study(study: Study, folder: Path) -> StudyResults:
    """Raw -> characteristics -> panel -> managed portfolios -> windows -> models -> predictions -> scores."""
    source = prepare_source(study, folder)
    constant = study.panel.managed_portfolio_constant
    sample_years = range(study.sample.first_year, study.sample.last_year + 1)
    raw_years = range(sample_years.start - 1 - HISTORY_YEARS, sample_years.stop)
    stock_months = {year: source.stock_months(year) for year in raw_years}
    statements = {year: source.statements(year) for year in raw_years}

    characteristics, panels, managed = {}, {}, {}
    for year in range(sample_years.start - 1, sample_years.stop):
        history = range(year - HISTORY_YEARS, year + 1)
        characteristics[year] = compute_characteristics(
            pl.concat(stock_months[y] for y in history), pl.concat(statements[y] for y in history),
            year, study.computed_characteristics,
        )  # fmt: skip
    for year in sample_years:
        known = pl.concat([characteristics[year - 1], characteristics[year]])
        panels[year] = build_panel(known, stock_months[year], source.factors(year), year, study)
        managed[year] = compute_managed_portfolios(panels[year], constant=constant)
    macro = (
        MacroSeries.from_table(pl.concat(read_macro(study, y) for y in sample_years)) if study.macro else None
    )

    predictions, managed_predictions = [], []
    truth = truth_file(study, folder)
    for test_year in study.test_years:
        window = window_for(study, test_year)
        estimation = range(window.estimation[0], window.estimation[1] + 1)
        samples = split_estimation(
            window,
            Panel.concatenate([panels[year] for year in estimation]),
            ManagedPortfolios.concatenate([managed[year] for year in estimation]),
            macro and macro.between(*window.estimation),
        )
        lookback = range(test_year - study.lookback_years, test_year + 1)
        test = Sample(
            panels[test_year],
            ManagedPortfolios.concatenate([managed[y] for y in lookback]),
            macro and macro.between(estimation.start, test_year),
        )
        for config in study.models:
            fitted = fit_family(config, study.number_of_factors, samples, study.training)
            predictions.append(predict_test_year(fitted, test))
        if truth:
            predictions.append(oracle_predictions(pl.read_parquet(truth), test.panel))
        of_year = pl.concat(predictions).filter(pl.col("month").dt.year() == test_year)
        managed_predictions.append(predict_managed_portfolios(of_year, test.panel, constant=constant))

    every = pl.concat(predictions)
    returns = compute_portfolio_returns(every, study.portfolios, study.costs)
    performance = compute_performance(every, pl.concat(managed_predictions), returns)
    return StudyResults(every, returns, performance)
