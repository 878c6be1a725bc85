"""Where a sequence model looks: attention of its decoder over the months of the look-back."""

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


def compute_attention(fitted: FittedFamily, test: Sample) -> pl.DataFrame | None:
    """Mean attention weights over the test year, for every K; None for a family that has none.

    Attention is a share, not a loading: no rotation touches it, and an ensemble is averaged over its members.

    Returns
    -------
    DataFrame
        ``family``, ``number_of_factors``, ``decoder_step`` (1 .. L), ``months_back`` (L - 1 .. 0; 0 is month
        t), ``weight``; in the order of the matrix.
    """
    parts = []
    for factors, members in fitted.models.items():
        models = [member.model for member in members]
        attentive = [model for model in models if isinstance(model, AttentiveModel)]
        if not attentive:
            continue
        months = range(len(test))
        weights = np.mean(
            [m.attention_weights(test.known(t), test.outcome(t)) for m in attentive for t in months], axis=0
        )
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
