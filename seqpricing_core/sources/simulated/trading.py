"""A month of trading days: prices, volume, dividends and quotes that add up to the month's return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from seqpricing_core.sources.simulated.firms import PRICE_TICK, Firms, round_price
from seqpricing_core.sources.simulated.truth import FACTOR_VOLATILITY, Floats

DAYS: Final = 21
"""Trading days of every month of the plain market; the complete one has a calendar."""
RETURN_UNIT: Final = 2.0**-20
"""Daily returns of the complete market are multiples of it: sums of their squares are exact in any order."""
ROUND_LOT: Final = 100
"""Shares."""
HOLIDAYS: Final = ("01-01", "07-04", "12-25")


@dataclass(frozen=True)
class TradedMonth:
    """D days; (S, D) arrays on the split-adjusted basis of ``Firms.price``."""

    days: npt.NDArray[np.datetime64]
    """(D,)"""
    returns: Floats
    """Total returns; NaN on the first day of a stock that has no price before it."""
    prices: Floats
    """Closes; of a quiet day the middle of the quotes."""
    highs: Floats
    lows: Floats
    volume: Floats
    """Shares."""
    half_spread: Floats
    """(S,) unadjusted USD."""
    turnover: Floats
    """(S,) dollar volume of the month over market equity at its end."""
    quiet_days: npt.NDArray[np.int64]
    """(S,) days without volume."""

    @property
    def dollar_volume(self) -> Floats:
        """(S,) USD."""
        volume: Floats = (self.prices * self.volume).sum(axis=1)
        return volume

    @property
    def sum_squared(self) -> Floats:
        """(S,)"""
        squares: Floats = np.nansum(self.returns**2, axis=1)
        return squares

    @property
    def maximum(self) -> Floats:
        """(S,)"""
        largest: Floats = np.nanmax(self.returns, axis=1)
        return largest


def trading_days(month: np.datetime64) -> npt.NDArray[np.datetime64]:
    """Weekdays but for New Year, 4 July and Christmas."""
    days = np.arange(month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]"))
    year = str(month)[:4]
    return days[np.is_busday(days, holidays=[f"{year}-{holiday}" for holiday in HOLIDAYS])]


def trade_plainly(firms: Firms, ret: Floats, random: np.random.Generator) -> TradedMonth:
    """21 days that compound to ``ret``; of volume only the month's turnover and the number of quiet days."""
    slots = len(ret)
    shocks = random.standard_normal((slots, DAYS)) * (firms.volatility / np.sqrt(DAYS))[:, None]
    path = np.log1p(ret)[:, None] / DAYS + shocks - shocks.mean(axis=1, keepdims=True)
    prices = firms.price[:, None] * np.exp(np.cumsum(path, axis=1))
    turnover = firms.turnover * np.exp(0.3 * random.standard_normal(slots))
    quiet = random.binomial(DAYS, np.exp(-60 * firms.turnover))
    nothing = np.full((slots, DAYS), np.nan)
    return TradedMonth(
        np.empty(0, dtype="datetime64[D]"), np.expm1(path), prices, prices, prices, nothing, nothing[:, 0],
        turnover, quiet,
    )  # fmt: skip


def market_days(market: float, count: int, random: np.random.Generator) -> Floats:
    """(D,) log returns of the market that add up to the month's."""
    shocks = FACTOR_VOLATILITY[0] / np.sqrt(count) * random.standard_normal(count)
    days: Floats = np.log1p(market) / count + shocks - shocks.mean()
    return days


def trade_completely(
    firms: Firms,
    ret: Floats,
    month: np.datetime64,
    market: Floats,
    beta: Floats,
    dividends: Floats,
    unpriced: npt.NDArray[np.bool_],
    random: np.random.Generator,
) -> TradedMonth:
    """The days of the calendar, with prices in ticks, volume in lots, dividends and quotes.

    Parameters
    ----------
    ret
        (S,) total return of the month, before any delisting return.
    market
        (D,) log returns of the market; a stock moves with ``beta`` (S,) times them.
    dividends
        (S,) USD a share on the split-adjusted basis, paid on the eighth day.
    unpriced
        (S,) stocks without a price at the end of the month before: their first day has no return.
    """
    days = trading_days(month)
    shape = (len(ret), len(days))
    own = random.standard_normal(shape) * (firms.volatility / np.sqrt(len(days)))[:, None]
    shocks = own + beta[:, None] * (market - market.mean())
    path = np.log1p(ret)[:, None] / len(days) + shocks - shocks.mean(axis=1, keepdims=True)
    returns = np.maximum(np.rint(np.expm1(path) / RETURN_UNIT) * RETURN_UNIT, RETURN_UNIT - 1)
    returns[unpriced, 0] = np.nan
    with_dividend = firms.price[:, None] * np.exp(np.cumsum(path, axis=1))
    paid = 1 - np.minimum(dividends / with_dividend[:, 7], 0.1)
    with_dividend[:, 7:] *= paid[:, None]
    prices = round_price(with_dividend, firms.splits[:, None])
    volume, quiet = _volume(firms, shape, random)
    price = prices[:, -1] / firms.splits
    spread = np.exp(-4.5 + 0.5 * random.standard_normal(len(ret))) * price
    half = np.minimum(np.maximum(np.rint(spread / 2 / PRICE_TICK), 1.0), np.rint(price / PRICE_TICK) / 2)
    dollars = (prices * volume).sum(axis=1)
    turnover = dollars / (prices[:, -1] * firms.shares)
    half_spread = np.floor(half) * PRICE_TICK
    tick = (PRICE_TICK * firms.splits)[:, None]
    reach = np.rint(0.3 * np.nan_to_num(np.abs(returns)) * prices / tick) * tick
    reach = np.where(volume == 0, (half_spread * firms.splits)[:, None], reach)
    lows = np.maximum(prices - reach, np.minimum(prices, tick))
    return TradedMonth(days, returns, prices, prices + reach, lows, volume, half_spread, turnover, quiet)


def _volume(firms: Firms, shape: tuple[int, int], random: np.random.Generator) -> tuple[Floats, Any]:
    """Whole lots of unadjusted shares, none on quiet days."""
    asleep = random.random(shape) < np.exp(-60 * firms.turnover)[:, None]
    month = np.exp(0.3 * random.standard_normal(shape[0]))
    daily = (firms.turnover * month * firms.shares * firms.splits / shape[1])[:, None]
    lots = np.rint(daily * np.exp(0.5 * random.standard_normal(shape) - 0.125) / ROUND_LOT)
    lots[asleep] = 0.0
    volume: Floats = lots * ROUND_LOT / firms.splits[:, None]
    return volume, (lots == 0).sum(axis=1)


def split_shares(firms: Firms, random: np.random.Generator) -> Floats:
    """Shares that one share has become: two for one above 64 dollars, one for eight below one dollar."""
    raw = firms.price / firms.splits
    u = random.random(len(raw))
    doubled = (raw > 64) & (u < 0.5)
    merged = (raw < 1) & (u < 0.3)
    splits: Floats = firms.splits * np.where(doubled, 2.0, np.where(merged, 1 / 8, 1.0))
    return splits
