"""Plots as numbers: what is drawn twice, still for print (`figures`) and to be hovered over (`interactive`).

Decimal returns come in, percent is shown.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import polars as pl

from seqpricing_core.months import Months, month_ends
from seqpricing_core.panel.panel import Float64
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.shown import Shown
from seqpricing_core.report.style import COLOURS, factors_style, family_style

PERCENT: Final = 100.0


Losses: TypeAlias = tuple[Sequence[float], Sequence[float], int]
"""Train and validation loss per epoch (squared percent), and the best epoch from 1."""


@dataclass(frozen=True)
class Line:
    """x: dates or numbers; y may be NaN where there is nothing."""

    style: dict[str, Any]
    """For matplotlib, with ``label``."""
    x: Sequence[Any]
    y: Float64


@dataclass(frozen=True)
class Axes:
    y_label: str
    lines: tuple[Line, ...]
    height: float = 1.0
    """Beside the other axes of the plot."""
    zero: bool = True
    filled: bool = False
    """An area down to zero instead of lines."""


@dataclass(frozen=True)
class Plot:
    """Axes below each other with a common x."""

    name: str
    axes: tuple[Axes, ...]
    x_label: str
    x_kind: Literal["date", "year", "rank"]
    height: float = 3.9
    """Inches."""


def cumulative_returns_plot(
    portfolio_returns: pl.DataFrame, shown: Shown, weights: str = "equal", portfolio: str = "long_short"
) -> Plot:
    """Sum of log(1 + monthly return) of every model, in percent, above its drawdown.

    A line ends where a month loses everything.
    """
    rows = portfolio_returns.filter(weights=weights, portfolio=portfolio)
    above, below = [], []
    for style, group in _by_model(rows.sort("month"), shown):
        growth = 1 + group["return"].to_numpy()
        log_wealth = np.cumsum(np.log(np.where(growth > 0, growth, np.nan)))
        log_wealth = np.append(0.0, log_wealth)
        peak = np.maximum.accumulate(log_wealth)
        month = group["month"]
        dates = month.head(1).dt.offset_by("-1mo").dt.month_end().append(month).to_list()
        style |= {"marker": ""}
        above.append(Line(style, dates, PERCENT * log_wealth))
        below.append(Line(style, dates, PERCENT * np.expm1(log_wealth - peak)))
    axes = (Axes("Cumulative log return (%)", tuple(above), 2.4), Axes("Drawdown (%)", tuple(below)))
    return Plot(f"cumulative_{portfolio}_{weights}", axes, "Year", "date")


def quantile_returns_plot(portfolio_returns: pl.DataFrame, shown: Shown, weights: str = "equal") -> Plot:
    """Mean monthly excess return (percent) of each quantile portfolio: does it rise with the forecast?"""
    lines = [
        Line(style, group["quantile"].to_list(), PERCENT * group["mean_return"].to_numpy())
        for style, group in _by_model(quantile_means(portfolio_returns, weights), shown)
    ]
    axes = Axes("Mean excess return (% a month)", tuple(lines))
    return Plot(f"quantiles_{weights}", (axes,), "Portfolio, from lowest to highest expected return", "rank")


def quantile_means(portfolio_returns: pl.DataFrame, weights: str) -> pl.DataFrame:
    """``family``, ``number_of_factors``, ``quantile``, ``mean_return`` (monthly, decimal)."""
    return (
        portfolio_returns.filter(pl.col("portfolio").str.starts_with("quantile_"), weights=weights)
        .with_columns(quantile=pl.col("portfolio").str.strip_prefix("quantile_").cast(pl.Int32))
        .group_by(*MODEL, "quantile", maintain_order=True)
        .agg(mean_return=pl.col("return").mean())
        .sort(*MODEL, "quantile")
    )


def r_squared_plot(r2_by_year: pl.DataFrame, shown: Shown) -> Plot:
    """Total and predictive R2 (percent) of every model, one point per test year.

    Parameters
    ----------
    r2_by_year
        ``family``, ``number_of_factors``, ``year``, ``total_r2`` (null for a forecaster, which then has no
        line above), ``predictive_r2`` (decimal).
    """
    groups = list(_by_model(r2_by_year.sort("year"), shown))
    titles = {"total_r2": "Total R² (%)", "predictive_r2": "Predictive R² (%)"}
    axes = tuple(
        Axes(
            title,
            tuple(
                Line(style, group["year"].to_list(), PERCENT * group[name].cast(pl.Float64).to_numpy())
                for style, group in groups
            ),
        )
        for name, title in titles.items()
    )
    return Plot("r2", axes, "Test year", "year")


def turnover_plot(portfolio_returns: pl.DataFrame, shown: Shown, weights: str = "equal") -> Plot:
    """Turnover of the long-short portfolio (percent a month, *memory*), mean of each test year."""
    rows = (
        portfolio_returns.filter(weights=weights, portfolio="long_short")
        .group_by(*MODEL, pl.col("month").dt.year().alias("year"), maintain_order=True)
        .agg(pl.col("turnover").mean())
        .sort("year")
    )
    lines = [
        Line(style, group["year"].to_list(), PERCENT * group["turnover"].to_numpy())
        for style, group in _by_model(rows, shown)
    ]
    axes = (Axes("Turnover (% a month)", tuple(lines)),)
    return Plot(f"turnover_{weights}", axes, "Test year", "year", 2.6)


def losses_plot(test_year: int, losses: Mapping[int, Losses]) -> Plot:
    """Losses of one fitted window after each epoch, by K: validation solid, training dashed."""
    lines = []
    for factors, (train, validation, best) in losses.items():
        style = factors_style(factors) | {"linewidth": 1.4, "marker": ""}
        name = f"{style['label']}, best epoch {best}"
        for values, pattern, label in ((validation, "-", name), (train, "--", f"{style['label']}, training")):
            epochs = list(range(1, len(values) + 1))
            lines.append(Line(style | {"linestyle": pattern, "label": label}, epochs, np.asarray(values)))
    axes = Axes("Mean squared residual (%²)", tuple(lines), zero=False)
    return Plot(f"losses_{test_year}", (axes,), "Epoch", "rank", 3.2)


def coverage_plot(months: Months, stocks: Sequence[int]) -> Plot:
    """Number of stocks in the panel, month by month."""
    style = {"label": "Stocks", "color": COLOURS[0], "linewidth": 1.2, "linestyle": "-", "marker": ""}
    line = Line(style, month_ends(months).to_list(), np.asarray(stocks, np.float64))
    axes = Axes("Stocks", (line,), zero=False, filled=True)
    return Plot("coverage", (axes,), "Year", "date", 1.9)


def dates_as_text(values: Sequence[Any]) -> list[Any]:
    return [value.isoformat() if isinstance(value, dt.date) else value for value in values]


def _by_model(table: pl.DataFrame, shown: Shown) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """How a model is drawn, and its rows."""
    for (family, factors), group in shown.rows(table).group_by(MODEL, maintain_order=True):
        name = str(family)
        style = factors_style(int(factors)) if shown.family else family_style(name)
        yield dict(style), group
