"""Sorts on expected returns: n portfolios, formed at t-1."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.panel.panel import Float64, Int64
from seqpricing_core.portfolios.breakpoints import Setters, breakpoint_setters
from seqpricing_core.portfolios.cross_sections import (
    SORT_COLUMNS,
    CrossSection,
    cross_sections,
    in_order,
    period_column,
)


def rank_of(expected_return: Float64) -> Int64:
    """(N,) ranks 0 (lowest) to N-1; of two equal forecasts the one that stands first is lower."""
    order = np.argsort(expected_return)
    ascending = expected_return[order]
    if (ascending[1:] == ascending[:-1]).any():
        # The stable sort is several times slower, and forecasts seldom tie.
        order = np.argsort(expected_return, kind="stable")
    rank = np.empty(len(expected_return), dtype=np.int64)
    rank[order] = np.arange(len(expected_return))
    return rank


def quantile_of(rank: Int64, quantiles: int, setters: Setters) -> Int64:
    """(N,) portfolios 1 (lowest) to ``quantiles`` from ranks.

    With n setters, the breakpoint above portfolio q is the setter number ceil(q n / Q) from below
    (the inverse of their distribution function at q / Q); a stock above it belongs higher. A stock with b
    setters below it is therefore in portfolio floor(b Q / n) + 1, at most Q.
    """
    if setters.stocks is None:
        return rank * quantiles // len(rank) + 1
    in_rank = np.zeros(len(rank), dtype=np.int64)
    in_rank[rank] = setters.stocks
    below = np.cumsum(in_rank) - in_rank
    quantile: Int64 = np.minimum(below * quantiles // in_rank.sum(), quantiles - 1)[rank] + 1
    return quantile


def sort_section(
    section: CrossSection, quantiles: int, breakpoints: Literal["all", "nyse"] = "all"
) -> tuple[Int64, Int64, str]:
    """Ranks (N,), portfolios (N,), and who set the breakpoints.

    Raises
    ------
    InputError
        There are fewer stocks than portfolios.
    """
    if len(section) < quantiles:
        raise InputError(
            f"{len(section)} stock(s) cannot be sorted into {quantiles} portfolios",
            where=section.where,
            expected=f"at least {quantiles} stocks in every period",
            remedy="lower portfolios.quantiles in the study file, or widen the universe",
        )
    setters = breakpoint_setters(section, quantiles, breakpoints)
    rank = rank_of(section.expected_return)
    return rank, quantile_of(rank, quantiles, setters), setters.record


def assign_quantiles(
    predictions: pl.DataFrame, quantiles: int, breakpoints: Literal["all", "nyse"] = "all"
) -> pl.DataFrame:
    """Add ``quantile``, 1 (lowest expected return) to ``quantiles``, and ``breakpoints``: who set them.

    **Timing.** Formed at the end of t-1 from expected returns; the return of t plays no part.
    Ties are broken by asset id, so that a run repeats exactly.

    Parameters
    ----------
    breakpoints
        Over ``all`` stocks, or those of the ``nyse`` only (column ``exchange``); see `breakpoint_setters`.

    Returns
    -------
    DataFrame
        By model, period, asset.

    Raises
    ------
    InputError
        See `cross_sections`; or a period has fewer stocks than quantiles.
    """
    assigned, records = [], []
    for section in cross_sections(predictions, SORT_COLUMNS):
        _, quantile, record = sort_section(section, quantiles, breakpoints)
        assigned.append(quantile)
        records.append(pl.repeat(record, len(section), eager=True))
    if not assigned:
        return predictions.with_columns(quantile=pl.lit(None, pl.Int32), breakpoints=pl.lit(None, pl.String))
    return in_order(predictions, period_column(predictions)).with_columns(
        pl.Series("quantile", np.concatenate(assigned)).cast(pl.Int32),
        pl.concat(records).alias("breakpoints"),
    )
