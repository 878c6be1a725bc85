"""Weights within sorted portfolios: equal, value, capped value, rank."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from seqpricing_core.errors import InputError
from seqpricing_core.panel.panel import Float64, Int64
from seqpricing_core.portfolios.breakpoints import has_size
from seqpricing_core.portfolios.cross_sections import CrossSection

Weighting: TypeAlias = Literal["equal", "value", "capped", "rank"]


def sizes_of(
    section: CrossSection, rank: Int64, quantile: Int64, weighting: Weighting, cap: float
) -> Float64:
    """(N,) what weights are proportional to.

    ``equal``
        1.
    ``value``
        Market equity of t-1; 0 for a stock without it, which is left out.
    ``capped``
        The same, at most ``cap``, a NYSE percentile (Jensen, Kelly, Pedersen 2023: the 80th; see
        `size_limit`), so that no giant is the portfolio.
    ``rank``
        Distance of the rank 1..N from the middle, |rank - (N+1)/2| (Asness, Moskowitz, Pedersen 2013, eq. 1;
        with two portfolios the long-short of these is their factor). Where it is 0 for a whole portfolio,
        that is for the one stock in the very middle, 1.

    **Timing.** All of it is known at the end of t-1.
    """
    if weighting == "equal":
        return np.ones(len(section))
    if weighting == "rank":
        distance = np.abs(rank - (len(rank) - 1) / 2)
        return np.where(np.bincount(quantile, distance)[quantile] > 0, distance, 1.0)
    sizes = np.where(has_size(section), section.market_equity, 0.0)
    return np.minimum(sizes, cap) if weighting == "capped" else sizes


def weights_of(section: CrossSection, quantile: Int64, sizes: Float64) -> Float64:
    """(N,) weights; they sum to one in each portfolio.

    A stock that was sorted at t-1 and then has no return in t has weight 0: it counts as if it had earned
    what the rest of its portfolio did.

    Raises
    ------
    InputError
        All sizes of a portfolio are 0 (no stock of it has market equity), or none of its stocks has a
        return: it would vanish from the table.
    """
    held = np.where(np.isnan(section.excess_return), 0.0, sizes)
    totals = np.bincount(quantile, held)
    if not totals[1:].all() and (empty := np.flatnonzero((totals == 0) & (np.bincount(quantile) > 0))).size:
        number = int(empty[0])
        lacks_size = not sizes[quantile == number].any()
        lacking = "market equity" if lacks_size else f"a return, in {section.period}"
        raise InputError(
            f"no stock of portfolio {number} has {lacking}",
            where=section.where,
            expected="at least one stock that can be held in every portfolio",
            remedy="require mvel1 in universe.require, or use equal weights"
            if lacks_size
            else "check the returns of that period in the source, or lower portfolios.quantiles",
        )
    weights: Float64 = held / totals[quantile]
    return weights
