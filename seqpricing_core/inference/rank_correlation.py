"""How alike strategies are: Spearman correlations of their returns (*memory*, figure 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from seqpricing_core.inference.study_series import PAIR, PortfolioKind, pair_keys


def rank_correlations_table(portfolios: Sequence[PortfolioKind]) -> pl.DataFrame:
    """Every pair of models, both ways round, over the common months, before costs.

    Ties share their mean rank. A strategy whose return never moves has no correlation: null.
    """
    from scipy.stats import rankdata

    schema = PAIR | {"weights": pl.String, "portfolio": pl.String, "correlation": pl.Float64}
    rows = []
    for portfolio in portfolios:
        if portfolio.costs != "before":
            continue
        ranks = np.array([rankdata(series) for series in portfolio.returns.values()])
        centred = ranks - ranks.mean(axis=1, keepdims=True)
        length = np.sqrt((centred**2).sum(axis=1))
        scaled = np.divide(
            centred, length[:, None], out=np.full_like(centred, np.nan), where=length[:, None] > 0
        )
        matrix = np.clip(scaled @ scaled.T, -1, 1)
        rows += [
            pair_keys(a, b)
            | {"weights": portfolio.weights, "portfolio": portfolio.portfolio, "correlation": value}
            for a, values in zip(portfolio.returns, matrix.tolist(), strict=True)
            for b, value in zip(portfolio.returns, values, strict=True)
        ]
    return pl.DataFrame(rows, schema=schema).with_columns(pl.col("correlation").fill_nan(None))
