"""All scores in one long table, each beside its share of the oracle's where the truth is known."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final, Literal

import polars as pl

from seqpricing_core.evaluation.forecast_measures import compute_forecast_measures
from seqpricing_core.evaluation.monthly_scores import compute_monthly_scores, coverage, on_common_months
from seqpricing_core.evaluation.return_measures import compute_return_measures, sharpe_ratio
from seqpricing_core.portfolios import MODEL, STRATEGY

__all__ = ["compute_performance", "sharpe_ratio"]

STRATEGIES: Final = ("long_short", "long_only")
HEADLINE_FORECAST: Final = ("total_r2", "predictive_r2")
HEADLINE_RETURN: Final = ("sharpe", "net_sharpe", "mean_return", "turnover")
SHARED: Final = (
    "total_r2", "predictive_r2", "rank_ic",
    *(cost + name for cost in ("", "net_") for name in (
        "sharpe", "sortino", "calmar", "mean_return", "annual_return", "compound_return", "capm_alpha",
    )),
)  # fmt: skip
"""Measures that more knowledge raises: a share of the oracle's makes sense of these, not of turnover."""


def compute_performance(
    predictions: pl.DataFrame | pl.LazyFrame,
    managed_predictions: pl.DataFrame | pl.LazyFrame,
    portfolio_returns: pl.DataFrame,
    *,
    measures: Literal["headline", "all"] = "headline",
    market: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Every measure of every model, pooled over all test years.

    Models are compared on the months that all of them have; where that leaves months out, a warning says
    how many. `coverage` gives the months of each model.

    Parameters
    ----------
    measures
        ``headline``: ``{total,predictive}_r2_{stocks,managed}`` and
        ``{sharpe,net_sharpe,mean_return,turnover}_{long_short,long_only}_{equal,value}``. ``all``: those, and
        every measure of `forecast_measures` and `return_measures`, named in the same way, with ``months``.
    market
        ``month``, ``market``: adds ``capm_alpha`` and ``capm_beta`` to ``all``.

    Returns
    -------
    DataFrame
        ``family``, ``number_of_factors``, ``measure``, ``value``, ``share_of_oracle`` (null without an
        oracle, where the oracle's own score is not positive, and for measures that knowledge need not
        raise). Returns are monthly and decimal unless a measure is named annual; ratios of returns to
        risk are annual.

    Raises
    ------
    InputError
        As `compute_monthly_scores`, `compute_return_measures` and `on_common_months`.
    """
    whole = measures == "all"
    forecasts = []
    for table, assets in ((predictions, "stocks"), (managed_predictions, "managed")):
        key = "asset_id" if "asset_id" in table.collect_schema().names() else "portfolio"
        scores = _common(compute_monthly_scores(table, asset=key), MODEL, f"scores of {assets}")
        wide = compute_forecast_measures(scores, MODEL)
        wide = wide if whole else wide.select(*MODEL, *HEADLINE_FORECAST)
        forecasts.append(_long(wide, MODEL).with_columns(pl.col("measure") + f"_{assets}"))
    chosen = portfolio_returns.filter(pl.col("portfolio").is_in(STRATEGIES))
    strategies = compute_return_measures(_common(chosen, STRATEGY, "portfolio returns"), market)
    strategies = strategies if whole else strategies.select(*STRATEGY, *HEADLINE_RETURN)
    named = _long(strategies, STRATEGY).select(
        *MODEL, pl.concat_str("measure", "portfolio", "weights", separator="_").alias("measure"), "value"
    )
    return _beside_oracle(pl.concat([*forecasts, named]))


def _beside_oracle(scores: pl.DataFrame) -> pl.DataFrame:
    oracle = scores.filter(pl.col("family") == "oracle").select("measure", oracle="value")
    shared = pl.any_horizontal(pl.col("measure").str.starts_with(f"{name}_") for name in SHARED)
    share = pl.when(shared & (pl.col("oracle") > 0)).then(pl.col("value") / pl.col("oracle"))
    return scores.join(oracle, on="measure", how="left", maintain_order="left").select(
        *MODEL, "measure", "value", share_of_oracle=share
    )


def _common(table: pl.DataFrame, keys: Sequence[str], what: str) -> pl.DataFrame:
    common = on_common_months(table, keys)
    total, kept = table["month"].n_unique(), common["month"].n_unique()
    if kept < total:
        months = coverage(table, keys)
        short = months.filter(pl.col("months") < total).select(MODEL).unique(maintain_order=True).rows()
        warnings.warn(
            f"{what}: compared on the {kept} of {total} months that every model has; "
            f"absent in some: {', '.join(f'{family} K = {k}' for family, k in short)}",
            stacklevel=3,
        )
    return common


def _long(wide: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    values = wide.with_columns(pl.exclude(keys).cast(pl.Float64))
    return values.unpivot(index=list(keys), variable_name="measure")
