"""All tests of a study, as tidy tables ready for a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import polars as pl

from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.evaluation.monthly_scores import ALL_STOCKS, on_common_months
from seqpricing_core.evaluation.return_measures import check_portfolio_returns
from seqpricing_core.inference.forecast_tables import confidence_set_table, forecast_comparison_table
from seqpricing_core.inference.interval_table import intervals_table
from seqpricing_core.inference.monotonicity import monotonicity_table
from seqpricing_core.inference.rank_correlation import rank_correlations_table
from seqpricing_core.inference.return_tables import (
    alphas_table,
    deflated_table,
    exposures_table,
    joint_alphas_table,
    sharpe_tests_table,
)
from seqpricing_core.inference.study_series import ORACLE, STRATEGIES, InferenceSettings, portfolio_kinds
from seqpricing_core.portfolios import MODEL, STRATEGY
from seqpricing_core.storage import frames_from_zip, frames_to_zip
from seqpricing_core.study import Study

__all__ = [
    "InferenceSettings",
    "InferenceTables",
    "compute_inference",
    "compute_study_inference",
    "published_factors",
]


@dataclass(frozen=True)
class InferenceTables:
    """Tidy tables. Whatever cannot be computed is null, and ``reason`` says why.

    ``costs`` is ``before`` or ``after``. Adjusted p-values (``p_holm``, ``p_benjamini_hochberg``,
    ``p_benjamini_yekutieli``) count the tests of the same table, portfolio and factor model; the oracle is no
    model that anyone tried, and its tests have none.
    """

    suffix: ClassVar[str] = "zip"

    sharpe_tests: pl.DataFrame
    """Pairs of models: `PAIR`, `PORTFOLIO`, ``sharpe_a``, ``sharpe_b``, ``difference`` (annual),
    ``statistic``, ``p_value`` (Jobson, Korkie, Memmel, two-sided), ``p_a_better`` (one-sided),
    ``p_ledoit_wolf`` (two-sided), ``rank_correlation`` (Spearman, of the returns), adjusted p-values of
    ``p_value``."""
    alphas: pl.DataFrame
    """Of `compute_alphas`, per `STRATEGY` and ``costs``, with adjusted p-values."""
    joint_alphas: pl.DataFrame
    """Gibbons-Ross-Shanken over a model's quantile portfolios, before costs: `MODEL`, ``weights``,
    ``factor_model``, ``portfolios``, ``statistic``, ``p_value``, adjusted p-values."""
    intervals: pl.DataFrame
    """`MODEL`, ``measure`` (named and scaled as in `compute_performance`), ``estimate``, ``standard_error``,
    ``low``, ``high``, ``level``, ``block_length``."""
    forecast_comparison: pl.DataFrame
    """Diebold-Mariano over pairs: `PAIR`, ``difference`` (positive: a has the smaller squared errors),
    ``statistic``, ``p_value``, ``p_a_better``, ``lags``, ``same_assets`` (whether both forecast equally many
    stocks in every month), adjusted p-values."""
    confidence_set: pl.DataFrame
    """`MODEL`, ``mean_squared_error``, ``p_value``, ``included``, ``p_superior_exists`` (Hansen's SPA: the
    null that no other model has smaller errors than this one)."""
    deflated: pl.DataFrame
    """`MODEL`, `PORTFOLIO`, ``sharpe``, ``threshold`` (annual), ``probability``, ``trials``."""
    exposures: pl.DataFrame
    """Of `compute_exposures`, per `STRATEGY`, before costs."""
    monotonicity: pl.DataFrame
    """Patton-Timmermann, per model and ``weights``: ``portfolios``, ``rises`` (steps upward),
    ``smallest_step`` (monthly, decimal), ``statistic``, ``p_value`` (small: returns rise at every
    step)."""
    rank_correlations: pl.DataFrame
    """Spearman, of the returns before costs: `PAIR`, ``weights``, ``portfolio``, ``correlation``; every pair
    both ways round, also with itself."""

    def to_bytes(self) -> bytes:
        return frames_to_zip({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> InferenceTables:
        (path,) = paths
        return cls(**frames_from_zip(path))


def compute_inference(
    portfolio_returns: pl.DataFrame,
    monthly_scores: pl.DataFrame,
    factors: FactorReturns | None = None,
    settings: InferenceSettings | None = None,
) -> InferenceTables:
    """Every test of every model of a study.

    Only months that all models have are used, which need not be consecutive: a gap is passed over as if the
    months were neighbours. Pairs are models of the same number of factors, and a family that has one alone
    (the oracle, a plain forecast) against all.

    Parameters
    ----------
    portfolio_returns
        Of `compute_portfolio_returns`.
    monthly_scores
        Of `compute_monthly_scores`, of stocks; rows of size groups are passed over.
    factors
        Published factors; without, every alpha but the mean is absent.

    Raises
    ------
    InputError
        Returns that are missing, infinite or doubled; models without a common month.
    """
    chosen = settings or InferenceSettings()
    check_portfolio_returns(portfolio_returns)
    # The oracle comes last: in a pair it is the one that a model is held against.
    last = pl.col("family") == ORACLE
    strategies, quantiles = (
        on_common_months(portfolio_returns.filter(kind), STRATEGY).sort(last, *STRATEGY, "month")
        for kind in (pl.col("portfolio").is_in(STRATEGIES), pl.col("portfolio").str.starts_with("quantile_"))
    )
    scores = on_common_months(monthly_scores.filter(pl.col("size_group") == ALL_STOCKS)).sort(
        last, *MODEL, "month"
    )
    portfolios = list(portfolio_kinds(strategies))
    return InferenceTables(
        sharpe_tests=sharpe_tests_table(portfolios, chosen),
        alphas=alphas_table(strategies, factors),
        joint_alphas=joint_alphas_table(quantiles, factors),
        intervals=intervals_table(portfolios, scores, chosen),
        forecast_comparison=forecast_comparison_table(scores),
        confidence_set=confidence_set_table(scores, chosen),
        deflated=deflated_table(portfolios, chosen),
        exposures=exposures_table(strategies, factors),
        monotonicity=monotonicity_table(quantiles, chosen),
        rank_correlations=rank_correlations_table(portfolios),
    )


def published_factors(study: Study, source_factors: pl.DataFrame) -> FactorReturns:
    """Factor returns of the file that the study names, else the market of its source alone.

    Parameters
    ----------
    source_factors
        The canonical ``factors`` table, all years.
    """
    if file := study.inference.factor_returns:
        return FactorReturns.from_file(file)
    return FactorReturns.from_table(source_factors, "factors of the source")


def compute_study_inference(
    study: Study, portfolio_returns: pl.DataFrame, monthly_scores: pl.DataFrame, factors: FactorReturns
) -> InferenceTables:
    """`compute_inference`, as the study file asks for it."""
    asked = study.inference
    settings = InferenceSettings(
        level=asked.level, replications=asked.replications, trials=asked.trials, seed=asked.seed
    )
    return compute_inference(portfolio_returns, monthly_scores, factors, settings)
