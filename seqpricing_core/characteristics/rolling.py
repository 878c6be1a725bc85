"""Rolling regressions from monthly sums of products: beta, residual risk, price delay, coskewness.

A regression needs no more of its past than the sums of products of its variables. Adding the months'
sums over the window gives the same coefficients as running it over the days or weeks. All stocks of a
year are solved at once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl

from seqpricing_core.characteristics.day_statistics import (
    DAY,
    DAY_SUMS,
    RETURN_SUMS,
    ROLLING,
    THREE_FACTOR_SUMS,
    THREE_FACTORS,
    WEEK,
    WEEK_SUMS,
)
from seqpricing_core.characteristics.segments import Floats

BETA_MONTHS, BETA_WEEKS = 36, 52
"""Weekly regressions: 3 years, with at least this many weeks (GHZ)."""
DAILY_MONTHS, DAILY_DAYS = 12, 100
"""Daily beta and coskewness: *sequence* leaves the window open; a year, at least this many days."""
VARIANCE_MONTHS, VARIANCE_DAYS = 3, 20
"""Variances of daily returns and residuals: a quarter, at least this many days."""
SINGULAR = 1e-10
"""Regressors whose correlation matrix has a smaller determinant say nothing apart from each other."""


def rolling_characteristics(statistics: pl.DataFrame, year: int) -> pl.DataFrame:
    """The columns `ROLLING` for every stock and month of ``year`` in ``statistics``.

    Parameters
    ----------
    statistics
        `day_statistics` of ``year`` and the three years before it (less is a shorter window).

    Returns
    -------
    DataFrame
        ``asset_id``, ``month``, and null where too few days or weeks are known.
    """
    wanted = statistics.filter(pl.col("month").dt.year() == year).select("asset_id", "month")
    windows = _Windows(statistics, wanted, year)
    weekly, daily = windows.sums(WEEK_SUMS, BETA_MONTHS), windows.sums(DAY_SUMS, DAILY_MONTHS)
    recent = windows.sums(["day_1_1", "day_1_x", "day_1_m", "day_x_x", "day_x_m", "day_m_m"], VARIANCE_MONTHS)
    three = windows.sums(THREE_FACTOR_SUMS, VARIANCE_MONTHS)
    returns = windows.sums(RETURN_SUMS, VARIANCE_MONTHS)

    full = _Regression.of(_square(weekly, len(WEEK)), BETA_WEEKS)
    market = _Regression.of(_square(weekly, len(WEEK))[:, :3, :3], BETA_WEEKS)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "weekly_beta": market.slopes[:, 0],
            "weekly_residual_deviation": np.sqrt(market.residual_variance),
            "price_delay": 1 - market.r_squared / full.r_squared,
            "daily_beta": _Regression.of(_square(daily, len(DAY)), DAILY_DAYS).slopes.sum(axis=1),
            "coskewness": _coskewness(dict(zip(DAY_SUMS, daily.T, strict=True))),
            "capm_residual_variance": _Regression.of(_square(recent, 3), VARIANCE_DAYS).residual_variance,
            "three_factor_residual_variance": _Regression.of(
                _square(three, len(THREE_FACTORS)), VARIANCE_DAYS
            ).residual_variance,
            "return_variance": _variance(returns),
        }
    columns = [pl.Series(name, found[name]).fill_nan(None) for name in ROLLING]
    return wanted.with_columns(columns)


class _Windows:
    """Monthly sums as (assets, months) grids, and their totals over windows that end with each wanted row."""

    def __init__(self, statistics: pl.DataFrame, wanted: pl.DataFrame, year: int) -> None:
        assets = wanted["asset_id"].unique().sort()
        rows = statistics.filter(
            pl.col("asset_id").is_in(assets.implode()), pl.col("month").dt.year() <= year
        ).with_columns(month_number=_month_number(year))
        self.rows = rows.filter(pl.col("month_number") >= 0)
        self.asset = assets.search_sorted(self.rows["asset_id"]).to_numpy()
        self.month = self.rows["month_number"].to_numpy()
        self.assets = len(assets)
        self.wanted_asset = assets.search_sorted(wanted["asset_id"]).to_numpy()
        self.wanted_month = wanted.select(_month_number(year)).to_series().to_numpy()

    def sums(self, columns: list[str], months: int) -> Floats:
        """(rows wanted, columns) totals over ``months`` months, added oldest first."""
        grid = np.zeros((self.assets, MONTHS, len(columns)))
        grid[self.asset, self.month] = self.rows.select(columns).to_numpy()
        total = np.zeros((len(self.wanted_asset), len(columns)))
        for back in range(months - 1, -1, -1):
            total += grid[self.wanted_asset, self.wanted_month - back]
        return total


MONTHS = 48


def _month_number(year: int) -> pl.Expr:
    """0 for January three years before ``year``."""
    return (pl.col("month").dt.year().cast(pl.Int64) - (year - 3)) * 12 + pl.col("month").dt.month() - 1


def _square(sums: Floats, width: int) -> Floats:
    """(n, w, w) symmetric matrices from their upper triangles by rows, (n, at least w (w + 1) / 2)."""
    matrices = np.empty((len(sums), width, width))
    for column, (a, b) in enumerate(itertools.combinations_with_replacement(range(width), 2)):
        matrices[:, a, b] = matrices[:, b, a] = sums[:, column]
    return matrices


@dataclass(frozen=True)
class _Regression:
    """Least squares of the second variable on a constant and the others, for many stocks at once."""

    slopes: Floats
    """(n, k)"""
    residual_variance: Floats
    """(n,) sum of squared residuals / (observations - k - 1)"""
    r_squared: Floats

    @classmethod
    def of(cls, products: Floats, minimum: int) -> _Regression:
        """From (n, 2 + k, 2 + k) sums of products of (1, y, regressors); NaN with fewer than ``minimum``."""
        n = products[:, 0, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            means = products[:, 0, 1:] / n[:, None]
            central = products[:, 1:, 1:] - n[:, None, None] * means[:, :, None] * means[:, None, :]
            scale = np.sqrt(np.diagonal(central, axis1=1, axis2=2))
            correlation = central / (scale[:, :, None] * scale[:, None, :])
        k = central.shape[1] - 1
        sound = (n >= max(minimum, k + 2)) & np.isfinite(correlation).all(axis=(1, 2))
        correlation[~sound] = np.eye(k + 1)
        regressors, with_y = correlation[:, 1:, 1:], correlation[:, 1:, 0]
        sound &= np.linalg.det(regressors) > SINGULAR
        regressors[~sound] = np.eye(k)
        standardised = np.linalg.solve(regressors, with_y[:, :, None])[:, :, 0]
        explained = np.clip((standardised * with_y).sum(axis=1), 0.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = standardised * scale[:, :1] / scale[:, 1:]
            residual = scale[:, 0] ** 2 * (1 - explained) / (n - k - 1)
        return cls(
            np.where(sound[:, None], slopes, np.nan),
            np.where(sound, residual, np.nan),
            np.where(sound, explained, np.nan),
        )


def _coskewness(s: dict[str, Floats]) -> Floats:
    """E[e d^2] / (sqrt(E[e^2]) E[d^2]), e the CAPM residual, d the market less its mean.

    Harvey, Siddique (2000), eq. 11.
    """
    n = s["day_1_1"]
    mean, slope_denominator = s["day_1_m"] / n, s["day_m_m"] - s["day_1_m"] ** 2 / n
    slope = (s["day_x_m"] - s["day_1_x"] * s["day_1_m"] / n) / slope_denominator
    intercept = s["day_1_x"] / n - slope * mean
    # E[e d^2] with e = x - intercept - slope m, multiplied out; E[e] = 0 drops the last term.
    squares = s["day_xmm"] - intercept * s["day_m_m"] - slope * s["day_mmm"]
    crossed = s["day_x_m"] - intercept * s["day_1_m"] - slope * s["day_m_m"]
    top = (squares - 2 * mean * crossed) / n
    total = s["day_x_x"] - s["day_1_x"] ** 2 / n
    residual = np.maximum(total - slope**2 * slope_denominator, 0.0) / n
    known = (n >= DAILY_DAYS) & (slope_denominator > 0) & (residual > 0)
    return np.where(known, top / (np.sqrt(residual) * slope_denominator / n), np.nan)


def _variance(sums: Floats) -> Floats:
    n, total, squares = sums.T
    return np.where(n >= VARIANCE_DAYS, (squares - total**2 / n) / (n - 1), np.nan)
