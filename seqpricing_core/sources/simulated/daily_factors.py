"""Daily factors of the simulated market: the market, and size and value as portfolios of its stocks."""

from __future__ import annotations

import numpy as np
import polars as pl

from seqpricing_core.sources.simulated.trading import TradedMonth
from seqpricing_core.sources.simulated.truth import DRIVERS, Floats


def daily_factors(
    traded: TradedMonth, market: Floats, risk_free: float, equity: Floats, drivers: Floats
) -> pl.DataFrame:
    """Rows of a month, as `seqpricing_core.tables.FACTOR_DAYS` has them.

    ``size`` and ``value`` are Fama and French's (1993) differences of six value-weighted portfolios, cut
    at the median of market equity and at the 30th and 70th percentile of book to market, formed anew each month.

    Parameters
    ----------
    market
        (D,) log excess returns of the market.
    equity, drivers
        (S,) and (S, 7), at the end of the month before.
    """
    value = drivers[:, DRIVERS.index("bm")]
    usable = np.isfinite(value)
    if usable.sum() < 2:
        small_minus_big = high_minus_low = np.full(len(market), np.nan)
    else:
        small = equity <= np.median(equity[usable])
        low, high = np.quantile(value[usable], [0.3, 0.7])
        group = np.where(value <= low, 0, np.where(value > high, 2, 1))
        of = {
            (size, third): _portfolio(traded.returns, equity, usable & (small == size) & (group == third))
            for size in (True, False)
            for third in range(3)
        }
        small_minus_big = sum(of[True, third] - of[False, third] for third in range(3)) / 3
        high_minus_low = sum(of[size, 2] - of[size, 0] for size in (True, False)) / 2
    return pl.DataFrame({
        "day": pl.Series(traded.days).cast(pl.Date),
        "risk_free": np.full(len(market), (1 + risk_free) ** (1 / len(market)) - 1),
        "market_excess": np.expm1(market),
        "size": small_minus_big,
        "value": high_minus_low,
    }).with_columns(pl.col("size", "value").fill_nan(None))  # fmt: skip


def _portfolio(returns: Floats, equity: Floats, held: Floats) -> Floats:
    """(D,) value-weighted; stocks without a return on a day are left out of it."""
    weights = np.where(np.isfinite(returns), equity[:, None], 0.0)[held]
    total = weights.sum(axis=0)
    earned: Floats = (weights * np.nan_to_num(returns[held])).sum(axis=0)
    return np.divide(earned, total, out=np.full(len(total), np.nan), where=total > 0)
