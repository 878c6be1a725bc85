"""How good forecasts are: R2, errors, bias, rank correlation; pooled, by year, by size group."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def forecast_measures() -> dict[str, pl.Expr]:
    """Name -> expression over the rows of `compute_monthly_scores`.

    - ``total_r2``, ``predictive_r2``: 1 - sum squared error / sum squared return over all stock-months
      (*memory*, eq. 21-22), not the mean of monthly R2; total R2 is null without fitted returns.
    - ``mse``, ``rmse``, ``mae``: of expected returns, decimal, over stock-months, each counting once (so
      months with more stocks weigh more).
    - ``bias_bp``: mean expected minus mean realised return over stock-months, in basis points a month.
    - ``rank_ic``: mean over months of the Spearman correlation of expected and realised returns, each month
      counting once; ``rank_icir``: that mean over the standard deviation (ddof 1) of the months, not
      annualised. Months in which all forecasts are equal have no correlation and are left out.
    """
    n = pl.col("assets").sum()
    mse = pl.col("squared_error").sum() / n
    ic = pl.col("rank_ic")
    return {
        "total_r2": _ratio(pl.col("fitted_squared_error"), pl.col("fitted_squared_return")),
        "predictive_r2": _ratio(pl.col("squared_error"), pl.col("squared_return")),
        "mse": mse,
        "rmse": mse.sqrt(),
        "mae": pl.col("absolute_error").sum() / n,
        "bias_bp": 1e4 * (pl.col("expected_return").sum() - pl.col("excess_return").sum()) / n,
        "rank_ic": ic.mean(),
        "rank_icir": pl.when(ic.std() > 0).then(ic.mean() / ic.std()),
    }


def compute_forecast_measures(scores: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Measures pooled over the rows of each group.

    Parameters
    ----------
    scores
        Of `compute_monthly_scores`.
    by
        Columns that stay apart, such as ``family``, ``number_of_factors``, ``size_group``; ``year`` is made
        from ``month``.

    Returns
    -------
    DataFrame
        ``by``, ``months`` (scored), then a column per measure of `forecast_measures`.
    """
    return (
        scores.with_columns(year=pl.col("month").dt.year())
        .group_by(by, maintain_order=True)
        .agg(months=pl.col("month").n_unique(), **forecast_measures())
    )


def _ratio(error: pl.Expr, outcome: pl.Expr) -> pl.Expr:
    return pl.when(outcome.sum() > 0).then(1 - error.sum() / outcome.sum())
