"""A simulated market whose truth is known (METHODS: the measuring rod).

Everything in it is invented; every file and report made from it says so. Firms enter, report with
delay, and leave. Returns follow a conditional factor model,

    r_it - rf_t = beta(c_i,t-1)' f_t + e_it,    f_t = mu(s_t) + v_t L eta_t

where c are seven observable characteristics as ranks in (-1, 1), s a persistent bull or bear
regime and v a volatility cycle, so that the past says something about the next month; e has fat tails.
Loadings are linear in c, or non-linear: squares, products and signs, after the two designs of Gu, Kelly, Xiu
(2020, internet appendix A). The oracle knows beta, s and mu, and is the ceiling of every score.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from seqpricing_core.months import month_ends
from seqpricing_core.storage import write_atomically
from seqpricing_core.study import SimulatedSource
from seqpricing_core.tables import STATEMENT_ITEMS

Floats = npt.NDArray[np.float64]

DRIVERS: Final = ("mvel1", "bm", "mom_12", "roe", "agr", "retvol", "turn")
"""The characteristics that true loadings depend on, in the order of the columns of c."""

FACTORS: Final = 3
REGIME_STAY: Final = 0.94
FACTOR_MEAN: Final = np.array([[0.010, 0.009, 0.009], [-0.004, 0.001, 0.002]])
"""(regime, factor) monthly: bull, bear."""
FACTOR_VOLATILITY: Final = np.array([0.036, 0.020, 0.020])
DAYS: Final = 21
BURN_IN: Final = 48
"""Months simulated before the first one written, so that histories exist."""

LINEAR: Final = np.array(
    #  size   bm   mom   roe   agr  vol  turn
    [[-0.10, 0.00, 0.00, 0.00, 0.00, 0.45, 0.30],
     [-0.35, 0.70, 0.00, 0.00, -0.50, 0.00, 0.00],
     [0.00, 0.00, 0.75, 0.60, 0.00, -0.20, 0.00]]
)  # fmt: skip


def true_loadings(c: Floats, design: str) -> Floats:
    """(N, 3) beta from the ranks c (N, 7).

    In the non-linear design the market loading bends, value pays among small firms only, and
    momentum turns with the sign of profitability.
    """
    beta: Floats = c @ LINEAR.T
    if design == "nonlinear":
        size, bm, mom, roe, agr, vol, turn = c.T
        beta[:, 0] = 0.5 * (3 * vol**2 - 1) + 0.5 * vol * turn
        beta[:, 1] = 1.4 * bm * (size < 0) - 0.5 * (3 * agr**2 - 1)
        beta[:, 2] = 1.1 * mom * np.sign(roe) + 0.4 * roe
    beta[:, 0] += 1.0
    return beta


def write_simulated_market(source: SimulatedSource, first_year: int, last_year: int, folder: Path) -> None:
    """Simulate and write ``stock_months``, ``statements``, ``factors`` and ``truth`` (parquet) to ``folder``.

    Same arguments, same bytes.
    """
    market = _Market(source, first_year, last_year)
    market.run()
    for name, table in market.tables().items():
        buffer = io.BytesIO()
        table.write_parquet(buffer, compression="zstd", statistics=True)
        write_atomically(folder / f"{name}.parquet", buffer.getvalue())


@dataclass
class _Firms:
    """State of every slot, one firm at a time in each; (S,) arrays at the end of the month before."""

    asset_id: npt.NDArray[np.int64]
    price: Floats
    shares: Floats
    volatility: Floats
    """Monthly idiosyncratic."""
    turnover: Floats
    assets: Floats
    book: Floats
    profitability: Floats
    """Quarterly earnings over book equity, mean-reverting."""


class _Market:
    """Month by month; every stock of a month at once."""

    def __init__(self, source: SimulatedSource, first_year: int, last_year: int) -> None:
        self.random = np.random.default_rng(source.seed)
        self.design = source.loadings
        self.slots = source.stocks
        first = np.datetime64(f"{first_year}-01", "M")
        self.months = np.arange(first - BURN_IN, np.datetime64(f"{last_year + 1}-01", "M"))
        self.first_written = first
        self.next_id = 10_001
        self.firms = self._new_firms(self.slots)
        # Look-backs of the drivers, newest last; NaN where the firm did not exist.
        self.log_returns = np.full((self.slots, 12), np.nan)
        self.turnovers = np.full((self.slots, 3), np.nan)
        self.daily_volatility = np.full(self.slots, np.nan)
        self.quarters = _Quarters(self.slots)
        self.bear, self.cycle = False, 0.0
        self.rows: dict[str, list[pl.DataFrame]] = {
            n: [] for n in ("stock_months", "statements", "factors", "truth")
        }

    def tables(self) -> dict[str, pl.DataFrame]:
        tables = {name: pl.concat(parts) for name, parts in self.rows.items()}
        tables["statements"] = self._with_gaps(tables["statements"])
        return tables

    def run(self) -> None:
        for month in self.months:
            drivers = self._drivers()
            beta = true_loadings(_ranks(drivers), self.design)
            premia, factors = self._factors()
            risk_free = 0.0025 + 0.001 * np.sin(2 * np.pi * float(month.astype(int)) / 120)
            noise = self._fat_tails() * self.firms.volatility * np.exp(0.5 * self.cycle)
            excess = np.maximum(beta @ factors + noise, -0.9)
            if month >= self.first_written:
                self._write_factors(month, risk_free, float(factors[0]))
                self._write_truth(month, drivers, beta, premia, factors)
            self._trade(month, excess + risk_free)
            if _closes_quarter(month):
                self._close_quarter(month)
            self._enter_and_leave()

    def _factors(self) -> tuple[Floats, Floats]:
        """Mean of the factors given the regime of the month before, and the factors."""
        stay = np.array([REGIME_STAY, 1 - REGIME_STAY])
        premia = (stay[::-1] if self.bear else stay) @ FACTOR_MEAN
        self.bear = self.bear if self.random.random() < REGIME_STAY else not self.bear
        self.cycle = 0.9 * self.cycle + 0.18 * self.random.standard_normal()
        volatility = FACTOR_VOLATILITY * np.exp(self.cycle) * (1.3 if self.bear else 1.0)
        factors = FACTOR_MEAN[int(self.bear)] + volatility * self.random.standard_normal(FACTORS)
        return premia, factors

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

    def _trade(self, month: np.datetime64, ret: Floats) -> None:
        """A month of daily prices and volume that compounds to ``ret``; only the aggregates are kept."""
        firms = self.firms
        if _closes_quarter(month):
            firms.shares = firms.shares * np.exp(0.004 + 0.01 * self.random.standard_normal(self.slots))
        shape = (self.slots, DAYS)
        shocks = self.random.standard_normal(shape) * (firms.volatility / np.sqrt(DAYS))[:, None]
        path = np.log1p(ret)[:, None] / DAYS + shocks - shocks.mean(axis=1, keepdims=True)
        daily = np.expm1(path)
        prices = firms.price[:, None] * np.exp(np.cumsum(path, axis=1))
        firms.price = prices[:, -1]
        equity = firms.price * firms.shares
        turnover = firms.turnover * np.exp(0.3 * self.random.standard_normal(self.slots))
        quiet = self.random.binomial(DAYS, np.exp(-60 * firms.turnover))
        self.log_returns = np.column_stack([self.log_returns[:, 1:], np.log1p(ret)])
        self.turnovers = np.column_stack([self.turnovers[:, 1:], turnover])
        self.daily_volatility = np.sqrt((daily**2).sum(axis=1) / DAYS)
        if month >= self.first_written:
            self.rows["stock_months"].append(pl.DataFrame({
                "asset_id": firms.asset_id,
                "month": _dates(month, self.slots),
                "ret": ret,
                "market_equity": equity,
                "price": firms.price,
                "high": prices.max(axis=1),
                "dollar_volume": turnover * equity,
                "trading_days": np.full(self.slots, DAYS, dtype=np.int32),
                "zero_volume_days": quiet.astype(np.int32),
                "sum_squared_daily_returns": (daily**2).sum(axis=1),
                "maximum_daily_return": daily.max(axis=1),
            }))  # fmt: skip
        firms.turnover = np.exp(0.97 * np.log(firms.turnover) + 0.03 * np.log(0.08)
                                + 0.08 * self.random.standard_normal(self.slots))  # fmt: skip
        firms.volatility = np.exp(0.97 * np.log(firms.volatility) + 0.03 * np.log(0.085)
                                  + 0.06 * self.random.standard_normal(self.slots))  # fmt: skip
        self.quarters.publish(month)

    def _close_quarter(self, month: np.datetime64) -> None:
        """Earnings, growth and issuance of the quarter; the statement is filed 20 to 75 days later."""
        firms, draw = self.firms, self.random.standard_normal
        firms.profitability += -0.15 * (firms.profitability - 0.03) + 0.012 * draw(self.slots)
        earnings = firms.profitability * firms.book
        growth = 0.015 + 0.3 * (firms.profitability - 0.03) + 0.03 * draw(self.slots)
        equity = firms.price * firms.shares
        assets_before = firms.assets
        firms.assets = firms.assets * (1 + growth)
        # Book equity is drawn towards half of the market's: ratios to price stay in bounds.
        pull = 0.04 * np.log(0.5 * equity / firms.book)
        firms.book = np.maximum(firms.book * np.exp(pull) + 0.5 * earnings, 0.02 * equity)
        firms.assets = np.maximum(firms.assets, 1.2 * firms.book)
        liabilities = firms.assets - firms.book
        revenue = assets_before * 0.25 * np.exp(0.2 * draw(self.slots))
        filed = month_ends(np.array([month])).to_numpy()[0] + self.random.integers(20, 76, self.slots)
        self.quarters.close(filed, firms.book, earnings, firms.assets)
        items = {
            "assets": firms.assets,
            "current_assets": firms.assets * 0.4 * np.exp(0.1 * draw(self.slots)),
            "liabilities": liabilities,
            "current_liabilities": liabilities * 0.45 * np.exp(0.1 * draw(self.slots)),
            "book_equity": firms.book,
            "cash": firms.assets * 0.1 * np.exp(0.4 * draw(self.slots)),
            "long_term_debt": liabilities * 0.4 * np.exp(0.1 * draw(self.slots)),
            "revenue": revenue,
            "earnings": earnings,
            "operating_cash_flow": earnings + 0.01 * firms.assets * draw(self.slots),
            "capital_expenditures": 0.015 * firms.assets * np.exp(0.3 * draw(self.slots)),
            "shares": firms.shares,
        }
        self.rows["statements"].append(pl.DataFrame({
            "asset_id": firms.asset_id,
            "period_end": _dates(month, self.slots),
            "available_from": pl.Series(filed).cast(pl.Date),
            **{item: items[item] for item in STATEMENT_ITEMS},
        }))  # fmt: skip

    def _with_gaps(self, statements: pl.DataFrame) -> pl.DataFrame:
        """Two in a hundred items were not reported."""
        return statements.with_columns(
            pl.when(pl.Series(self.random.random(len(statements)) >= 0.02)).then(pl.col(item)).alias(item)
            for item in STATEMENT_ITEMS
            if item not in ("assets", "book_equity", "earnings")
        )

    def _enter_and_leave(self) -> None:
        """One firm in two hundred leaves each month, losers sooner; a new one takes the slot."""
        year = np.nan_to_num(self.log_returns.sum(axis=1))
        gone = np.flatnonzero(self.random.random(self.slots) < 0.005 * np.exp(-0.5 * year))
        if not len(gone):
            return
        new = self._new_firms(len(gone))
        for field in _Firms.__dataclass_fields__:
            state = getattr(self.firms, field).copy()  # the tables written so far share the old one
            state[gone] = getattr(new, field)
            setattr(self.firms, field, state)
        self.log_returns[gone] = np.nan
        self.turnovers[gone] = np.nan
        self.daily_volatility[gone] = np.nan
        self.quarters.forget(gone)

    def _new_firms(self, count: int) -> _Firms:
        draw = self.random.standard_normal
        equity = np.exp(20.0 + 1.6 * draw(count))
        price = np.exp(3.0 + 0.4 * draw(count))
        book = equity * 0.5 * np.exp(0.5 * draw(count))
        ids = np.arange(self.next_id, self.next_id + count, dtype=np.int64)
        self.next_id += count
        return _Firms(
            asset_id=ids,
            price=price,
            shares=equity / price,
            volatility=0.085 * np.exp(0.25 * draw(count)),
            turnover=0.08 * np.exp(0.5 * draw(count)),
            assets=book * (1.5 + np.exp(0.5 * draw(count))),
            book=book,
            profitability=0.03 + 0.02 * draw(count),
        )

    def _write_factors(self, month: np.datetime64, risk_free: float, market: float) -> None:
        self.rows["factors"].append(pl.DataFrame({
            "month": _dates(month, 1), "risk_free": [risk_free], "market_excess": [market],
        }))  # fmt: skip

    def _write_truth(
        self, month: np.datetime64, drivers: Floats, beta: Floats, premia: Floats, factors: Floats
    ) -> None:
        self.rows["truth"].append(pl.DataFrame({
            "asset_id": self.firms.asset_id,
            "month": _dates(month, self.slots),
            "expected_return": beta @ premia,
            "fitted_return": beta @ factors,
            **{f"true_{name}": drivers[:, j] for j, name in enumerate(DRIVERS)},
            **{f"beta_{k + 1}": beta[:, k] for k in range(FACTORS)},
            **{f"factor_{k + 1}": np.full(self.slots, factors[k]) for k in range(FACTORS)},
        }))  # fmt: skip


class _Quarters:
    """Book equity, earnings and assets of closed quarters: filed, and since when public."""

    ITEMS = ("book", "earnings", "assets")

    def __init__(self, slots: int) -> None:
        self.known = {item: np.full((slots, 5), np.nan) for item in self.ITEMS}
        """(S, 5) newest public quarter first."""
        self._pending: dict[str, Any] | None = None

    def close(self, filed: Any, *values: Floats) -> None:
        self._pending = {"filed": filed, **{i: v.copy() for i, v in zip(self.ITEMS, values, strict=True)}}

    def publish(self, month: np.datetime64) -> None:
        """Statements filed by the end of ``month`` become the newest known ones."""
        if self._pending is None:
            return
        end = month_ends(np.array([month])).to_numpy()[0]
        public = np.flatnonzero(self._pending["filed"] <= end)
        for item in self.ITEMS:
            known = self.known[item]
            known[public, 1:] = known[public, :-1]
            known[public, 0] = self._pending[item][public]
        self._pending["filed"][public] = np.datetime64("9999-12-31")

    def forget(self, slots: npt.NDArray[np.int64]) -> None:
        """The firm left; its successor has reported nothing."""
        for item in self.ITEMS:
            self.known[item][slots] = np.nan
        if self._pending is not None:
            self._pending["filed"][slots] = np.datetime64("9999-12-31")


def _ranks(raw: Floats) -> Floats:
    """2 rank / (N + 1) - 1 over the firms that have the value; 0, the median, for those that have not."""
    order = np.argsort(np.argsort(raw, axis=0), axis=0) + 1.0  # NaN sorts last
    present = np.isfinite(raw)
    ranks: Floats = np.where(present, 2 * order / (present.sum(axis=0) + 1) - 1, 0.0)
    return ranks


def _closes_quarter(month: np.datetime64) -> bool:
    return int(month.astype(int)) % 3 == 2


def _dates(month: np.datetime64, count: int) -> pl.Series:
    return pl.repeat(month_ends(np.array([month]))[0], count, dtype=pl.Date, eager=True)
