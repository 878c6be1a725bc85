"""All tests of a study, as tidy tables ready for a report."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from seqpricing_core.evaluation.factor_returns import FactorReturns
from seqpricing_core.evaluation.monthly_scores import ALL_STOCKS, on_common_months
from seqpricing_core.evaluation.return_measures import check_portfolio_returns
from seqpricing_core.inference.forecast_tables import confidence_set_table, forecast_comparison_table
from seqpricing_core.inference.interval_table import intervals_table
from seqpricing_core.inference.return_tables import (
    alphas_table,
    deflated_table,
    joint_alphas_table,
    sharpe_tests_table,
)
from seqpricing_core.inference.study_series import ORACLE, STRATEGIES, InferenceSettings, portfolio_kinds
from seqpricing_core.portfolios import MODEL, STRATEGY

__all__ = ["InferenceSettings", "InferenceTables", "compute_inference"]


@dataclass(frozen=True)
class InferenceTables:
    """Tidy tables. Whatever cannot be computed is null, and ``reason`` says why.

    ``costs`` is ``before`` or ``after``. Adjusted p-values (``p_holm``, ``p_benjamini_hochberg``,
    ``p_benjamini_yekutieli``) count the tests of the same table, portfolio and factor model; the oracle is no
    model that anyone tried, and its tests have none.
    """

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
    )
