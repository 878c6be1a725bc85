"""Covariance of returns by shrinkage, from the past only."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.panel.panel import Float64, Int64
from seqpricing_core.portfolios.cross_sections import period_column

Shrinkage: TypeAlias = Literal["ledoit_wolf", "oas"]


def shrunk_covariance(returns: Float64, shrinkage: Shrinkage = "ledoit_wolf") -> Float64:
    """(N, N) covariance from (T, N) returns, shrunk towards a multiple of the identity; positive definite.

    ``ledoit_wolf``: Ledoit and Wolf (2004); ``oas``: Chen, Wiesel, Eldar, Hero (2010). Both by scikit-learn.
    """
    from sklearn.covariance import OAS, LedoitWolf

    estimator = LedoitWolf() if shrinkage == "ledoit_wolf" else OAS()
    covariance: Float64 = estimator.fit(returns).covariance_
    return covariance


def past_returns(
    returns: pl.DataFrame, before: Any, periods: int, minimum_periods: int
) -> tuple[Int64, Float64]:
    """Ids (N,), ascending, and returns (T, N) of the stocks with a history.

    The last ``periods`` periods before ``before``; of those the stocks with at least ``minimum_periods``
    returns. A return missing in between takes the mean of the stock's others, so that it moves no mean and
    adds no covariance.

    **Timing.** Only periods strictly before ``before``, the period to be held.

    Parameters
    ----------
    returns
        ``asset_id``, ``month`` or ``day``, ``excess_return``; more rows and columns are ignored.

    Raises
    ------
    InputError
        Fewer than ``minimum_periods`` periods lie before ``before``; a stock stands twice in a period.
    """
    period = period_column(returns)
    past = returns.filter(pl.col(period) < before, pl.col("excess_return").is_not_null())
    held = past[period].unique().sort().tail(periods)
    if len(held) < max(minimum_periods, 2):
        raise InputError(
            f"{len(held)} {period}(s) of returns lie before {before}",
            where="past returns of the mean-variance portfolio",
            expected=f"at least {max(minimum_periods, 2)}",
            remedy="begin later, hand over earlier returns, or lower minimum_periods",
        )
    recent = past.filter(pl.col(period) >= held[0])
    if recent.select(pl.struct(period, "asset_id").is_duplicated().any()).item():
        raise InputError(
            f"a stock has several returns in one {period}",
            where=f"past returns of the mean-variance portfolio, before {before}",
            expected=f"each stock once a {period}",
            remedy="hand over returns, not the predictions of several models below each other",
        )
    known = recent.filter(pl.len().over("asset_id") >= minimum_periods)
    centred = known.with_columns(mean=pl.col("excess_return").mean().over("asset_id"))
    means = centred.group_by("asset_id").agg(pl.col("mean").first()).sort("asset_id")
    row = np.searchsorted(held.to_numpy(), centred[period].to_numpy())
    column = np.searchsorted(means["asset_id"].to_numpy(), centred["asset_id"].to_numpy())
    matrix = np.tile(means["mean"].to_numpy(), (len(held), 1))
    matrix[row, column] = centred["excess_return"].to_numpy()
    return means["asset_id"].to_numpy(), matrix
