"""Table of intervals: every headline number of a study."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import polars as pl

from seqpricing_core.evaluation.return_measures import MONTHS_PER_YEAR
from seqpricing_core.inference.intervals import MEAN, R_SQUARED, SHARPE, Statistic, bootstrap_interval
from seqpricing_core.inference.series import Float64
from seqpricing_core.inference.study_series import (
    COMMON,
    OF_MODEL,
    InferenceSettings,
    Model,
    PortfolioKind,
    attempt,
)
from seqpricing_core.portfolios import MODEL


def intervals_table(
    portfolios: Sequence[PortfolioKind], scores: pl.DataFrame, settings: InferenceSettings
) -> pl.DataFrame:
    """Bootstrap intervals of R2, rank correlations, Sharpe ratios and mean returns of every model."""
    schema = OF_MODEL | {
        "measure": pl.String, "estimate": pl.Float64, "standard_error": pl.Float64, "low": pl.Float64,
        "high": pl.Float64, "level": pl.Float64, "block_length": pl.Int64,
    } | COMMON  # fmt: skip
    rows = [
        dict(zip(MODEL, model, strict=True))
        | {"measure": measure, "months": len(columns)}
        | attempt(_interval, statistic, columns, scale, settings)
        for model, measure, statistic, columns, scale in (
            *_forecast_series(scores), *_return_series(portfolios)
        )
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


Series: TypeAlias = tuple[Model, str, Statistic, Float64, float]
"""Model, measure, what it is of the columns, the columns (T, C), and the factor from there to the measure."""


def _forecast_series(scores: pl.DataFrame) -> Iterator[Series]:
    for (family, factors), rows in scores.group_by(MODEL, maintain_order=True):
        model = (str(family), factors)
        fitted = rows.filter(pl.col("fitted_assets") > 0)
        if len(fitted):
            sums = fitted.select("fitted_squared_error", "fitted_squared_return").to_numpy()
            yield model, "total_r2_stocks", R_SQUARED, sums, 1.0
        sums = rows.select("squared_error", "squared_return").to_numpy()
        yield model, "predictive_r2_stocks", R_SQUARED, sums, 1.0
        rank_ic = rows["rank_ic"].drop_nulls().to_numpy()
        yield model, "rank_ic_stocks", MEAN, rank_ic, 1.0
        yield model, "rank_icir_stocks", SHARPE, rank_ic, _unbiased(len(rank_ic))


def _return_series(portfolios: Sequence[PortfolioKind]) -> Iterator[Series]:
    for portfolio in portfolios:
        for model, returns in portfolio.returns.items():
            scale = math.sqrt(MONTHS_PER_YEAR) * _unbiased(len(returns))
            yield model, f"{portfolio.prefix}sharpe_{portfolio.suffix}", SHARPE, returns, scale
            yield model, f"{portfolio.prefix}mean_return_{portfolio.suffix}", MEAN, returns, 1.0


def _unbiased(months: int) -> float:
    """From a standard deviation with ddof 0 to one with ddof 1, in the denominator."""
    return math.sqrt((months - 1) / months) if months else math.nan


def _interval(
    statistic: Statistic, columns: Float64, scale: float, settings: InferenceSettings
) -> dict[str, Any]:
    found = asdict(
        bootstrap_interval(
            statistic,
            columns,
            level=settings.level,
            replications=settings.replications or 999,
            method=settings.interval,
            seed=settings.seed,
        )
    )
    return found | {name: scale * found[name] for name in ("estimate", "standard_error", "low", "high")}
