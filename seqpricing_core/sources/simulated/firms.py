"""Firms of the simulated market: what each is worth, how it grows, and what it is called."""

from __future__ import annotations

import string
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from seqpricing_core.months import month_ends
from seqpricing_core.sources.simulated.truth import Floats

Ints = npt.NDArray[np.int64]

PRICE_TICK: Final = 1 / 1024
"""USD. Prices, share counts and statement items of the complete market are such that converting them to a
vendor's units (thousands of shares, millions of dollars) and back is exact in floating point."""
SHARE_LOT: Final = 125_000.0
"""Shares: a multiple of it is exact in thousands (125) and in millions (1/8)."""
FEWEST_LOTS: Final = 8

EXCHANGE_NAMES: Final = {1: "NYSE", 2: "AMEX", 3: "NASDAQ", 4: "OTHER"}
"""By CRSP's exchange code."""
COMMON_SHARE_CODES: Final = (10, 11)
"""CRSP's share codes of ordinary common shares."""
OTHER_SHARE_CODES: Final = (12, 18, 31)
INDUSTRIES: Final = (
    100, 1311, 1521, 2011, 2086, 2300, 2621, 2834, 2911, 3312, 3559, 3571, 3674, 3711, 3845, 4011, 4512, 4813,
    4911, 5045, 5311, 5411, 5812, 6021, 6282, 6331, 7011, 7372, 7812, 8062,
)  # fmt: skip
"""SIC codes."""

MERGED: Final = (231, 233, 241)
LIQUIDATED: Final = (400, 470)
DROPPED: Final = (500, 520, 551, 552, 560, 561, 572, 574, 580, 584)
"""CRSP's delisting codes; the last group is related to performance (Shumway 1997)."""


@dataclass
class Firms:
    """State of every slot, one stock at a time in each; (S,) arrays at the end of the month before."""

    asset_id: Ints
    price: Floats
    """On the basis of the stock's first month; the price that trades is this over ``splits``."""
    shares: Floats
    volatility: Floats
    """Monthly idiosyncratic."""
    turnover: Floats
    assets: Floats
    book: Floats
    profitability: Floats
    """Quarterly earnings over book equity, mean-reverting."""
    splits: Floats
    """Shares that one share of the first month has become."""

    def put(self, slots: Ints, new: Firms) -> None:
        """``new`` firms take over ``slots``."""
        for field in fields(self):
            state = getattr(self, field.name).copy()  # the tables written so far share the old one
            state[slots] = getattr(new, field.name)
            setattr(self, field.name, state)

    def round_to_ticks(self) -> None:
        """Prices that trade in whole ticks, shares in whole lots."""
        self.price = round_price(self.price, self.splits)
        lots = np.maximum(np.rint(self.shares * self.splits / SHARE_LOT), FEWEST_LOTS)
        self.shares = lots * SHARE_LOT / self.splits


def round_price(price: Floats, splits: Floats) -> Floats:
    """Adjusted price whose unadjusted price is a whole number of ticks, and at least one."""
    rounded: Floats = np.maximum(np.rint(price / splits / PRICE_TICK), 1.0) * PRICE_TICK * splits
    return rounded


def new_firms(random: np.random.Generator, first_id: int, count: int) -> Firms:
    draw = random.standard_normal
    equity = np.exp(20.0 + 1.6 * draw(count))
    price = np.exp(3.0 + 0.4 * draw(count))
    book = equity * 0.5 * np.exp(0.5 * draw(count))
    return Firms(
        asset_id=np.arange(first_id, first_id + count, dtype=np.int64),
        price=price,
        shares=equity / price,
        volatility=0.085 * np.exp(0.25 * draw(count)),
        turnover=0.08 * np.exp(0.5 * draw(count)),
        assets=book * (1.5 + np.exp(0.5 * draw(count))),
        book=book,
        profitability=0.03 + 0.02 * draw(count),
        splits=np.ones(count),
    )


class Listings:
    """Under which name, exchange and code the stock of every slot is listed, and its earlier names.

    In the plain market every stock is an ordinary common share that keeps its name. In the complete one
    names, exchanges and industries change, tickers of the dead are used again, and some firms have a second
    class.
    """

    def __init__(self, seed: int, slots: int, first_month: np.datetime64, *, complete: bool) -> None:
        self.random = np.random.default_rng([seed, 1])
        self.complete = complete
        self.company_id = np.zeros(slots, dtype=np.int64)
        self.exchange = np.zeros(slots, dtype=np.int32)
        self.share_code = np.zeros(slots, dtype=np.int32)
        self.sic = np.zeros(slots, dtype=np.int32)
        self.fiscal_year_end = np.zeros(slots, dtype=np.int64)
        """Calendar month."""
        self.primary = np.full(slots, -1, dtype=np.int64)
        """Slot of the first class of the same firm; -1 for a first class."""
        self.tickers = [""] * slots
        self._since = np.full(slots, first_month)
        self._asset = np.zeros(slots, dtype=np.int64)
        self._free: list[str] = []
        self._next_company = 20_001
        self._next_ticker = 0
        self._spells: list[dict[str, Any]] = []

    @property
    def second(self) -> npt.NDArray[np.bool_]:
        """Whether the slot holds the second class of a firm."""
        return self.primary >= 0

    def with_second_classes(self, slots: Ints) -> Ints:
        """``slots``, and those of their second classes: both leave together."""
        return np.union1d(slots, np.flatnonzero(np.isin(self.primary, slots))).astype(np.int64)

    def enter(self, slots: Ints, assets: Ints, month: np.datetime64) -> None:
        """New stocks, listed from ``month`` on, take over the slots."""
        count, draw = len(slots), self.random
        self.company_id[slots] = self._next_company + np.arange(count)
        self._next_company += count
        other = 0.02 if self.complete else 0.0
        self.exchange[slots] = draw.choice([1, 2, 3, 4], count, p=[0.35, 0.1, 0.55 - other, other])
        self.share_code[slots] = draw.choice(COMMON_SHARE_CODES, count, p=[0.05, 0.95])
        self.sic[slots] = draw.choice(INDUSTRIES, count)
        self.fiscal_year_end[slots] = 12
        self.primary[slots] = -1
        self._asset[slots], self._since[slots] = assets, month
        if self.complete:
            unusual = draw.random(count) < 0.06
            self.share_code[slots[unusual]] = draw.choice(OTHER_SHARE_CODES, int(unusual.sum()))
            self.fiscal_year_end[slots] = draw.choice([3, 6, 9, 12], count, p=[0.1, 0.1, 0.1, 0.7])
            self._pair(slots)
        for slot in slots:
            self.tickers[slot] = self._new_ticker()

    def _pair(self, slots: Ints) -> None:
        """One new stock in twelve is the second class of a firm that is listed with one."""
        others = np.setdiff1d(np.arange(len(self.primary)), slots)
        for slot in slots[self.random.random(len(slots)) < 0.08]:
            candidates = others if len(others) else slots[slots != slot]
            first = int(self.random.choice(candidates))
            if self.second[first] or first in self.primary or slot in self.primary:
                continue
            self.primary[slot] = first
            for name in ("company_id", "exchange", "share_code", "sic", "fiscal_year_end"):
                getattr(self, name)[slot] = getattr(self, name)[first]

    def leave(self, slots: Ints, month: np.datetime64) -> None:
        """These stocks traded for the last time in ``month``."""
        for slot in slots:
            self._close_spell(slot, month)
            self._free.append(self.tickers[slot])

    def change_names(self, keep: Ints, month: np.datetime64) -> None:
        """A few of the stocks ``keep`` get another ticker, exchange or industry after ``month``."""
        for slot in keep[self.random.random(len(keep)) < 0.004]:
            if self.second[slot] or slot in self.primary:
                continue
            self._close_spell(slot, month)
            self._since[slot] = month + 1
            kind = self.random.choice(["ticker", "exchange", "industry"])
            if kind == "ticker":
                self._free.append(self.tickers[slot])
                self.tickers[slot] = self._new_ticker()
            elif kind == "exchange":
                self.exchange[slot] = self.random.choice([1, 3])
            else:
                self.sic[slot] = self.random.choice(INDUSTRIES)

    def names(self, last_month: np.datetime64) -> pl.DataFrame:
        """Every name a stock has had: a row per stock and spell, days inclusive."""
        running = [self._spell(slot, last_month) for slot in range(len(self.tickers))]
        rows = pl.DataFrame([*self._spells, *running]).sort("asset_id", "first_day")
        return rows.filter(pl.col("first_day") <= pl.col("last_day"))  # some enter the month after

    def _close_spell(self, slot: int, month: np.datetime64) -> None:
        self._spells.append(self._spell(slot, month))

    def _spell(self, slot: int, month: np.datetime64) -> dict[str, Any]:
        return {
            "asset_id": int(self._asset[slot]),
            "first_day": self._since[slot].astype("datetime64[D]").astype(object),
            "last_day": month_ends(np.array([month]))[0],
            "ticker": self.tickers[slot],
            "company": f"SIMULATED {self.company_id[slot]} INC",
            "share_class": "B" if self.second[slot] else "A",
            "company_id": int(self.company_id[slot]),
            "exchange_code": int(self.exchange[slot]),
            "share_code": int(self.share_code[slot]),
            "sic": int(self.sic[slot]),
        }

    def _new_ticker(self) -> str:
        """In the complete market one in three takes the ticker that was given up longest ago."""
        if self.complete and self._free and self.random.random() < 1 / 3:
            return self._free.pop(0)
        number, letters = self._next_ticker, ""
        self._next_ticker += 1
        for _ in range(4):
            number, letter = divmod(number, 26)
            letters = string.ascii_uppercase[letter] + letters
        return letters
