"""Where a sequence model looks: attention over the months of its look-back.

Factor networks attend from each step of a decoder; LSTM-ATT and the Transformer once, from the last month,
and for each stock anew: `attention_by_stock` has all of them, `compute_attention` their mean.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.panel import Float64, MonthKnown, MonthOutcome, Sample


@runtime_checkable
class AttentiveModel(Protocol):
    """A fitted model whose factors come from a decoder that attends to the months before."""

    def attention_weights(self, known: MonthKnown, outcome: MonthOutcome) -> Float64:
        """(L, L) weights alpha of decoder step i (rows) on month s (columns, oldest first, t last).

        Each row sums to one (*memory*, eq. 9); months before the first x have none.
        """
        ...


@runtime_checkable
class AttentiveForecaster(Protocol):
    """A fitted forecaster that may attend to the months of each stock's window."""

    def attention_by_stock(self, known: MonthKnown) -> Float64 | None:
        """(N, L) weights of each stock, oldest month first; each row sums to one. None: no attention."""
        ...


def attention_by_stock(fitted: FittedFamily, known: MonthKnown) -> pl.DataFrame | None:
    """Attention of every stock, averaged over an ensemble; None for a family without.

    Returns
    -------
    DataFrame
        ``asset_id``, ``months_back`` (L - 1 .. 0; 0 is the newest month known, t-1), ``weight``.
    """
    each = [_by_stock(member.model, known) for member in fitted.models.get(0, ())]
    found = [weights for weights in each if weights is not None]
    if not found:
        return None
    weights = np.mean(found, axis=0)
    stocks, lookback = weights.shape
    return pl.DataFrame({
        "asset_id": np.repeat(known.asset_id, lookback),
        "months_back": np.tile(np.arange(lookback)[::-1], stocks).astype(np.int32),
        "weight": weights.ravel(),
    })  # fmt: skip


def _by_stock(model: object, known: MonthKnown) -> Float64 | None:
    return model.attention_by_stock(known) if isinstance(model, AttentiveForecaster) else None


def _mean_weights(model: object, test: Sample) -> Float64 | None:
    """(steps, L) mean over the months, and for forecasters over the stocks of each."""
    months = range(len(test))
    if isinstance(model, AttentiveModel):
        every = [model.attention_weights(test.known(t), test.outcome(t)) for t in months]
        return np.asarray(np.mean(every, axis=0))
    by_stock = [_by_stock(model, test.known(t)) for t in months]
    means = [weights.mean(axis=0, keepdims=True) for weights in by_stock if weights is not None]
    return np.asarray(np.mean(means, axis=0)) if means else None


def compute_attention(fitted: FittedFamily, test: Sample) -> pl.DataFrame | None:
    """Mean attention weights over the test year, for every K; None for a family that has none.

    Attention is a share, not a loading: no rotation touches it, and an ensemble is averaged over its members.

    Returns
    -------
    DataFrame
        ``family``, ``number_of_factors``, ``decoder_step`` (1 .. L; of a forecaster 1), ``months_back``
        (L - 1 .. 0; 0 is month t, of a forecaster t-1), ``weight``; in the order of the matrix.
    """
    parts = []
    for factors, members in fitted.models.items():
        each = [_mean_weights(member.model, test) for member in members]
        attentive = [weights for weights in each if weights is not None]
        if not attentive:
            continue
        weights = np.mean(attentive, axis=0)
        steps, lookback = weights.shape
        parts.append(
            pl.DataFrame({
                "decoder_step": np.repeat(np.arange(1, steps + 1), lookback),
                "months_back": np.tile(np.arange(lookback)[::-1], steps),
                "weight": weights.ravel(),
            }).select(
                pl.lit(fitted.config.family).alias("family"),
                pl.lit(factors, dtype=pl.Int32).alias("number_of_factors"),
                pl.col("decoder_step", "months_back").cast(pl.Int32),
                "weight",
            )
        )  # fmt: skip
    return pl.concat(parts) if parts else None
