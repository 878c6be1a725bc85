"""The simulated market, month by month; every stock of a month at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from seqpricing_core.months import month_ends
from seqpricing_core.sources.simulated.accounting import KnownQuarters, Reports, close_quarter, closes_quarter
from seqpricing_core.sources.simulated.daily_factors import daily_factors
from seqpricing_core.sources.simulated.delisting import Delistings
from seqpricing_core.sources.simulated.firms import COMMON_SHARE_CODES, EXCHANGE_NAMES, Listings, new_firms
from seqpricing_core.sources.simulated.trading import (
    TradedMonth,
    market_days,
    split_shares,
    trade_completely,
    trade_plainly,
    trading_days,
)
from seqpricing_core.sources.simulated.truth import (
    DRIVERS,
    FACTORS,
    PATH_MONTHS,
    FactorProcess,
    Floats,
    path_of,
    ranks,
    true_loadings,
)
from seqpricing_core.study import SimulatedSource

BURN_IN: Final = 48
"""Months simulated before the first one written, so that histories exist."""
FIRST_ID: Final = 10_001
UNPRICED: Final = 0.002
"""Share of stock-months of the complete market without a return, for want of a price before."""


@dataclass(frozen=True)
class MarketMonth:
    """Rows of one month: the canonical columns of `seqpricing_core.tables`, and beside them what vendors add.

    During the burn-in there is nothing but statements.
    """

    month: np.datetime64
    statements: pl.DataFrame | None
    """Of periods that ended, and of restatements filed, in the month."""
    stock_months: pl.DataFrame | None = None
    stock_days: pl.DataFrame | None = None
    factors: pl.DataFrame | None = None
    factor_days: pl.DataFrame | None = None
    truth: pl.DataFrame | None = None


@dataclass(frozen=True)
class _Prospect:
    """What the month will bring if no stock is delisted; (S,) arrays unless said otherwise."""

    drivers: Floats
    """(S, 7)"""
    beta: Floats
    """(S, 3)"""
    premia: Floats
    """(3,)"""
    factors: Floats
    """(3,)"""
    risk_free: float
    ret: Floats


class SimulatedMarket:
    """The market of a seed: the same months whatever the last one is, if it is a complete one.

    The generator ``random`` draws what returns depend on, in the order in which the plain market has always
    drawn it; names, further statement items and the additions of the complete market have generators of
    their own.
    """

    def __init__(self, source: SimulatedSource, first_year: int, last_year: int) -> None:
        self.random = np.random.default_rng(source.seed)
        self.complete = source.detail == "complete"
        self.with_days = source.daily
        self.design = source.loadings
        self.slots = source.stocks
        first = np.datetime64(f"{first_year}-01", "M")
        self.calendar = np.arange(first - BURN_IN, np.datetime64(f"{last_year + 1}-01", "M"))
        self.first_written = first
        self.firms = new_firms(self.random, FIRST_ID, self.slots)
        self.next_id = FIRST_ID + self.slots
        self.listings = Listings(source.seed, self.slots, self.calendar[0], complete=self.complete)
        self.listings.enter(np.arange(self.slots), self.firms.asset_id, self.calendar[0])
        self.delistings = Delistings(source.seed)
        self.books = np.random.default_rng([source.seed, 4])
        self.others = np.random.default_rng([source.seed, 5])
        self.reports = Reports(source.seed, self.slots, lagged=source.filing == "lagged")
        # Look-backs of the drivers, newest last; NaN where the firm did not exist.
        self.log_returns = np.full((self.slots, 12), np.nan)
        self.turnovers = np.full((self.slots, 3), np.nan)
        self.daily_volatility = np.full(self.slots, np.nan)
        self.rank_history = np.zeros((PATH_MONTHS, self.slots, len(DRIVERS)))
        self.entered = np.ones(self.slots, dtype=np.bool_)
        self.dividends = np.zeros(self.slots)
        """A share, of the quarter before, to be paid next month."""
        self.quarters = KnownQuarters(self.slots)
        self.factor_process = FactorProcess()

    def months(self) -> Iterator[MarketMonth]:
        """Every month once, in order; statements of the burn-in come first."""
        for month in self.calendar:
            yield self._next(month)

    def names(self) -> pl.DataFrame:
        """Names, tickers, exchanges and industries of every stock up to now, spell by spell."""
        return self.listings.names(self.calendar[-1])

    def _next(self, month: np.datetime64) -> MarketMonth:
        if self.complete:
            self.firms.splits = split_shares(self.firms, self.others)
            self.firms.round_to_ticks()
        prospect = self._prospect(month)
        self.delistings.begin(prospect.ret, self.log_returns, self.entered, self.listings, drop=self.complete)
        price_before, equity_before = self.firms.price, self.firms.price * self.firms.shares
        unpriced = self._unpriced()
        market = market_days(float(prospect.factors[0]), len(trading_days(month)), self.others)
        traded = self._trade(month, prospect, market, unpriced)
        statements = self._report(month) if closes_quarter(month) else None
        leaving = self._leaving(unpriced)
        self.delistings.settle(leaving, self.log_returns, self.listings, returns=self.complete)
        written = month >= self.first_written
        rows = MarketMonth(
            month,
            _stack(statements, self.reports.restatements(month, self.firms.asset_id) if self.complete else None),
            *(
                (
                    self._stock_months(month, traded, price_before, unpriced),
                    self._stock_days(traded) if self.with_days else None,
                    _factors(month, prospect),
                    daily_factors(traded, market, prospect.risk_free, equity_before, prospect.drivers)
                    if self.with_days
                    else None,
                    self._truth(month, prospect),
                )
                if written
                else ()
            ),
        )
        self._replace(leaving, month)
        return rows

    def _prospect(self, month: np.datetime64) -> _Prospect:
        drivers = self._drivers()
        second, first = np.flatnonzero(self.listings.second), self.listings.primary[self.listings.second]
        drivers[second] = drivers[first]
        c = ranks(drivers)
        if self.design == "path":
            self.rank_history = np.concatenate([self.rank_history[1:], c[None]])
            c = path_of(self.rank_history)
        beta = true_loadings(c, self.design)
        beta[second] = beta[first]
        premia, factors = self.factor_process.step(self.random)
        risk_free = 0.0025 + 0.001 * np.sin(2 * np.pi * float(month.astype(int)) / 120)
        noise = self._fat_tails() * self.firms.volatility * np.exp(0.5 * self.factor_process.cycle)
        if len(second):
            # Two classes of one firm differ by little.
            noise[second] = noise[first] + 0.01 * self.random.standard_normal(len(second))
        excess = np.maximum(beta @ factors + noise, -0.9)
        return _Prospect(drivers, beta, premia, factors, float(risk_free), excess + risk_free)

    def _fat_tails(self) -> Floats:
        """Student t with 5 degrees of freedom, variance one."""
        draws: Floats = self.random.standard_t(5, self.slots) * np.sqrt(3 / 5)
        return draws

    def _drivers(self) -> Floats:
        """(S, 7) raw characteristics at the end of the month before, by the definitions of the registry."""
        firms, quarters = self.firms, self.quarters
        equity = firms.price * firms.shares
        return np.column_stack([
            np.log(equity),
            quarters.known["book"][:, 0] / equity,
            np.expm1(self.log_returns[:, :-1].sum(axis=1)),
            quarters.known["earnings"][:, 0] / quarters.known["book"][:, 1],
            quarters.known["assets"][:, 0] / quarters.known["assets"][:, 4] - 1,
            self.daily_volatility,
            self.turnovers.mean(axis=1),
        ])  # fmt: skip

    def _unpriced(self) -> Any:
        """Stocks whose month has no return: newly listed ones, and a few whose last price is unknown."""
        if not self.complete:
            return np.zeros(self.slots, dtype=np.bool_)
        return self.entered | ((self.random.random(self.slots) < UNPRICED) & ~self.delistings.dropped)

    def _trade(self, month: np.datetime64, prospect: _Prospect, market: Floats, unpriced: Any) -> TradedMonth:
        firms = self.firms
        if closes_quarter(month):
            firms.shares = firms.shares * np.exp(0.004 + 0.01 * self.random.standard_normal(self.slots))
        ret = self.delistings.ret_before
        if self.complete:
            firms.round_to_ticks()
            traded = trade_completely(
                firms, ret, month, market, prospect.beta[:, 0], self.dividends, unpriced, self.random
            )
        else:
            traded = trade_plainly(firms, ret, self.random)
        firms.price = traded.prices[:, -1]
        observed = np.where(unpriced, np.nan, np.log1p(ret))
        self.dividends = np.zeros(self.slots)
        self.log_returns = np.column_stack([self.log_returns[:, 1:], observed])
        self.turnovers = np.column_stack([self.turnovers[:, 1:], traded.turnover])
        self.daily_volatility = np.sqrt(traded.sum_squared / traded.prices.shape[1])
        firms.turnover = np.exp(0.97 * np.log(firms.turnover) + 0.03 * np.log(0.08)
                                + 0.08 * self.random.standard_normal(self.slots))  # fmt: skip
        firms.volatility = np.exp(0.97 * np.log(firms.volatility) + 0.03 * np.log(0.085)
                                  + 0.06 * self.random.standard_normal(self.slots))  # fmt: skip
        self.quarters.publish(month)
        return traded

    def _report(self, month: np.datetime64) -> pl.DataFrame:
        closed = close_quarter(self.firms, month, self.random, self.books, exact=self.complete)
        self.quarters.close(closed.filed, *(closed.items[i] for i in ("book_equity", "earnings", "assets")))
        if self.complete:
            self.dividends = closed.items["dividends"] / self.firms.shares
            self.dividends[self.listings.second] = 0.0
            return self.reports.rows(closed, self.firms, self.listings, month)
        return self.reports.plain_rows(closed, self.firms, month)

    def _leaving(self, unpriced: Any) -> Any:
        """(S,) one firm in two hundred leaves each month, losers sooner."""
        year = np.nan_to_num(self.log_returns.sum(axis=1))
        hazard = (0.0035 if self.complete else 0.005) * np.exp(-0.5 * year)
        leaving = (self.random.random(self.slots) < hazard) & ~unpriced
        leaving |= self.delistings.dropped
        second = self.listings.second
        leaving[second] |= leaving[self.listings.primary[second]]
        return leaving

    def _replace(self, leaving: Any, month: np.datetime64) -> None:
        """New firms take the slots of those that left."""
        gone = np.flatnonzero(leaving)
        self.entered = leaving
        if self.complete:
            self.listings.change_names(np.flatnonzero(~leaving), month)
        if not len(gone):
            return
        new = new_firms(self.random, self.next_id, len(gone))
        self.next_id += len(gone)
        self.listings.leave(gone, month)
        self.firms.put(gone, new)
        self.listings.enter(gone, new.asset_id, month + 1)
        self.log_returns[gone] = np.nan
        self.turnovers[gone] = np.nan
        self.daily_volatility[gone] = np.nan
        self.rank_history[:, gone] = 0.0
        self.dividends[gone] = 0.0
        self.quarters.forget(gone)
        self.reports.forget(gone)

    def _stock_months(
        self, month: np.datetime64, traded: TradedMonth, price_before: Floats, unpriced: Any
    ) -> pl.DataFrame:
        """The canonical columns, then what the vendors' tables need besides."""
        firms, listings, left = self.firms, self.listings, self.delistings
        equity = firms.price * firms.shares
        days = traded.prices.shape[1]
        turned = traded.dollar_volume if self.complete else traded.turnover * equity
        code = left.code
        return pl.DataFrame({
            "asset_id": firms.asset_id,
            "month": _dates(month, self.slots),
            "ret": np.where(unpriced, np.nan, left.ret),
            "market_equity": equity,
            "price": firms.price,
            "high": traded.highs.max(axis=1),
            "dollar_volume": turned,
            "trading_days": np.full(self.slots, days, dtype=np.int32),
            "zero_volume_days": traded.quiet_days.astype(np.int32),
            "sum_squared_daily_returns": traded.sum_squared,
            "maximum_daily_return": traded.maximum,
            "shares": firms.shares,
            "unadjusted_price": firms.price / firms.splits,
            "exchange": pl.Series(listings.exchange).replace_strict(EXCHANGE_NAMES, return_dtype=pl.String),
            "common_share": np.isin(listings.share_code, COMMON_SHARE_CODES),
            "sic": listings.sic.copy(),
            "company_id": listings.company_id.copy(),
            "delisting_code": pl.Series(code, dtype=pl.Int32),
            "splits": firms.splits,
            "ret_before_delisting": np.where(unpriced, np.nan, left.ret_before),
            "ret_without_dividends": np.where(unpriced, np.nan, firms.price / price_before - 1),
            "delisting_return": left.delisting_return,
            "volume": traded.volume.sum(axis=1),
            "half_spread": traded.half_spread,
            "quiet_close": traded.volume[:, -1] == 0,
            "exchange_code": listings.exchange.copy(),
            "share_code": listings.share_code.copy(),
            "ticker": listings.tickers,
        }).with_columns(
            pl.col("ret", "ret_before_delisting", "ret_without_dividends", "delisting_return", "volume",
                   "half_spread").fill_nan(None),
            pl.when(pl.col("delisting_code") > 0).then(pl.col("delisting_code")).alias("delisting_code"),
        )  # fmt: skip

    def _stock_days(self, traded: TradedMonth) -> pl.DataFrame:
        firms, count = self.firms, len(traded.days)
        half = (traded.half_spread * firms.splits)[:, None]

        def by_day(values: Any) -> Floats:
            """Day after day, as the files are sorted."""
            column: Floats = np.broadcast_to(values, traded.prices.shape).T.ravel()
            return column

        return pl.DataFrame({
            "asset_id": np.tile(firms.asset_id, count),
            "day": pl.Series(np.repeat(traded.days, self.slots)).cast(pl.Date),
            "ret": by_day(traded.returns),
            "price": by_day(traded.prices),
            "high": by_day(traded.highs),
            "low": by_day(traded.lows),
            "volume": by_day(traded.volume),
            "dollar_volume": by_day(traded.prices * traded.volume),
            "shares": by_day(firms.shares[:, None]),
            "bid": by_day(traded.prices - half),
            "ask": by_day(traded.prices + half),
            "splits": by_day(firms.splits[:, None]),
        }).with_columns(pl.col("ret").fill_nan(None))  # fmt: skip

    def _truth(self, month: np.datetime64, prospect: _Prospect) -> pl.DataFrame:
        beta, factors = prospect.beta, prospect.factors
        return pl.DataFrame({
            "asset_id": self.firms.asset_id,
            "month": _dates(month, self.slots),
            "expected_return": beta @ prospect.premia,
            "fitted_return": beta @ factors,
            **{f"true_{name}": prospect.drivers[:, j] for j, name in enumerate(DRIVERS)},
            **{f"beta_{k + 1}": beta[:, k] for k in range(FACTORS)},
            **{f"factor_{k + 1}": np.full(self.slots, factors[k]) for k in range(FACTORS)},
        })  # fmt: skip


def _factors(month: np.datetime64, prospect: _Prospect) -> pl.DataFrame:
    return pl.DataFrame({
        "month": _dates(month, 1),
        "risk_free": [prospect.risk_free],
        "market_excess": [float(prospect.factors[0])],
    })  # fmt: skip


def _stack(*parts: pl.DataFrame | None) -> pl.DataFrame | None:
    present = [part for part in parts if part is not None]
    return pl.concat(present) if present else None


def _dates(month: np.datetime64, count: int) -> pl.Series:
    return pl.repeat(month_ends(np.array([month]))[0], count, dtype=pl.Date, eager=True)
