"""All scores in one long table, each beside its share of the oracle's where the truth is known."""

from __future__ import annotations

import math

import polars as pl

from seqpricing_core.evaluation.r_squared import compute_r_squared
from seqpricing_core.portfolios import MODEL, STRATEGY

MONTHS_PER_YEAR = 12


def sharpe_ratio(monthly: pl.Expr) -> pl.Expr:
    """Mean over standard deviation (ddof 1) of monthly excess returns, times sqrt(12)."""
    return monthly.mean() / monthly.std() * math.sqrt(MONTHS_PER_YEAR)


def compute_performance(
    predictions: pl.DataFrame, managed_predictions: pl.DataFrame, portfolio_returns: pl.DataFrame
) -> pl.DataFrame:
    """Every measure of every model, pooled over all test years.

    Returns
    -------
    DataFrame
        ``family``, ``number_of_factors``, ``measure``, ``value`` (null for the total R2 of a forecaster),
        ``share_of_oracle`` (null without an oracle, and where the oracle's own score is not positive).
        Measures: ``{total,predictive}_r2_{stocks,managed}``;
        ``{sharpe,net_sharpe,mean_return,turnover}_{long_short,long_only}_{equal,value}``. Returns are
        monthly and decimal, Sharpe ratios annual.
    """
    r2 = [
        compute_r_squared(table, MODEL)
        .unpivot(index=MODEL, variable_name="measure")
        .with_columns(pl.col("measure") + f"_{assets}")
        for table, assets in ((predictions, "stocks"), (managed_predictions, "managed"))
    ]
    strategies = (
        portfolio_returns.filter(pl.col("portfolio").is_in(["long_short", "long_only"]))
        .group_by(STRATEGY, maintain_order=True)
        .agg(
            sharpe=sharpe_ratio(pl.col("return")),
            net_sharpe=sharpe_ratio(pl.col("net_return")),
            mean_return=pl.col("return").mean(),
            turnover=pl.col("turnover").mean(),
        )
        .unpivot(index=STRATEGY, variable_name="measure")
        .select(
            *MODEL, pl.concat_str("measure", "portfolio", "weights", separator="_").alias("measure"), "value"
        )
    )
    scores = pl.concat([*r2, strategies])
    oracle = scores.filter(pl.col("family") == "oracle").select("measure", oracle="value")
    # A share makes sense of scores that more knowledge raises, not of turnover, and of a positive ceiling.
    meaningful = ~pl.col("measure").str.starts_with("turnover") & (pl.col("oracle") > 0)
    share = pl.when(meaningful).then(pl.col("value") / pl.col("oracle"))
    return scores.join(oracle, on="measure", how="left", maintain_order="left").select(
        *MODEL, "measure", "value", share_of_oracle=share
    )
