"""Total and predictive R2 (Kelly, Pruitt, Su 2019; *memory*, eq. 21-22)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def r_squared(outcome: pl.Expr, prediction: pl.Expr) -> pl.Expr:
    """1 - sum (r - prediction)^2 / sum r^2 over the rows that have both; the denominator is not demeaned.

    Null where no row has both: a plain forecast explains nothing after the fact, and scores no total R2.
    """
    error = outcome - prediction
    scored = error.is_not_null()
    r2 = 1 - (error**2).sum() / (outcome.filter(scored) ** 2).sum()
    return pl.when(scored.any()).then(r2)


def compute_r_squared(predictions: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Total R2 (from fitted returns) and predictive R2 (from expected returns), pooled within ``by``."""
    outcome = pl.col("excess_return")
    return predictions.group_by(by, maintain_order=True).agg(
        total_r2=r_squared(outcome, pl.col("fitted_return")),
        predictive_r2=r_squared(outcome, pl.col("expected_return")),
    )
