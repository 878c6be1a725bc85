"""Total and predictive R2 (Kelly, Pruitt, Su 2019; *memory*, eq. 21-22)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def r_squared(outcome: pl.Expr, prediction: pl.Expr) -> pl.Expr:
    """1 - sum (r - prediction)^2 / sum r^2; the denominator is not demeaned.

    Null where a prediction of an outcome is missing: it must not count as a perfect one. So is the total
    R2 of a forecaster, which fits nothing to month t.
    """
    missing = (outcome.is_not_null() & prediction.is_null()).any()
    score = 1 - ((outcome - prediction) ** 2).sum() / (outcome**2).sum()
    return pl.when(~missing).then(score)


def compute_r_squared(predictions: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Total R2 (from fitted returns) and predictive R2 (from expected returns), pooled within ``by``."""
    outcome = pl.col("excess_return")
    return predictions.group_by(by, maintain_order=True).agg(
        total_r2=r_squared(outcome, pl.col("fitted_return")),
        predictive_r2=r_squared(outcome, pl.col("expected_return")),
    )
