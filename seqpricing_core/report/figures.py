"""Figures for the page (SVG) and for the Dagster UI (PNG): decimal returns come in, percent is shown."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqpricing_core.months import Months, month_ends
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.style import (
    COLOURS,
    GREY,
    INK,
    TEXT,
    date_axis,
    dress,
    family_style,
    in_order,
    legend,
    new_figure,
    settled,
)

PERCENT: Final = 100.0

Losses = tuple[Sequence[float], Sequence[float], int]
"""Train and validation loss per epoch (squared percent), and the best epoch from 1."""


def cumulative_returns_figure(
    portfolio_returns: pl.DataFrame,
    number_of_factors: int,
    weights: str = "equal",
    portfolio: str = "long_short",
) -> Figure:
    """Sum of log(1 + monthly return) of every family, in percent, above its drawdown.

    A line ends where a month loses everything.
    """
    rows = _at(portfolio_returns, number_of_factors).filter(weights=weights, portfolio=portfolio)
    figure = new_figure(3.9)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    for family, group in _by_family(rows.sort("month")):
        growth = 1 + group["return"].to_numpy()
        log_wealth = np.cumsum(np.log(np.where(growth > 0, growth, np.nan)))
        log_wealth = np.append(0.0, log_wealth)
        peak = np.maximum.accumulate(log_wealth)
        month = group["month"]
        dates: Any = month.head(1).dt.offset_by("-1mo").dt.month_end().append(month).to_numpy()
        style = family_style(family) | {"marker": ""}
        above.plot(dates, PERCENT * log_wealth, **style)
        below.plot(dates, PERCENT * np.expm1(log_wealth - peak), **style)
    dress(above, "Cumulative log return (%)")
    dress(below, "Drawdown (%)", "Year")
    date_axis(below)
    legend(figure, above)
    return settled(figure)


def quantile_returns_figure(
    portfolio_returns: pl.DataFrame, number_of_factors: int, weights: str = "equal"
) -> Figure:
    """Mean monthly excess return (percent) of each quantile portfolio: does it rise with the forecast?"""
    means = quantile_means(portfolio_returns, number_of_factors, weights)
    figure = new_figure(3.9)
    axes = figure.subplots()
    for family, group in _by_family(means):
        axes.plot(
            group["quantile"].to_numpy(), PERCENT * group["mean_return"].to_numpy(), **family_style(family)
        )
    dress(axes, "Mean excess return (% a month)", "Portfolio, from lowest to highest expected return")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, axes)
    return settled(figure)


def quantile_means(portfolio_returns: pl.DataFrame, number_of_factors: int, weights: str) -> pl.DataFrame:
    """``family``, ``number_of_factors``, ``quantile``, ``mean_return`` (monthly, decimal)."""
    return (
        _at(portfolio_returns, number_of_factors)
        .filter(pl.col("portfolio").str.starts_with("quantile_"), weights=weights)
        .with_columns(quantile=pl.col("portfolio").str.strip_prefix("quantile_").cast(pl.Int32))
        .group_by(*MODEL, "quantile", maintain_order=True)
        .agg(mean_return=pl.col("return").mean())
        .sort(*MODEL, "quantile")
    )


def r_squared_by_year_figure(r2_by_year: pl.DataFrame, number_of_factors: int | None = None) -> Figure:
    """Total and predictive R2 (percent) of every family, one point per test year.

    Parameters
    ----------
    r2_by_year
        ``family``, ``number_of_factors``, ``year``, ``total_r2`` (null for a forecaster, which then has no
        line above), ``predictive_r2`` (decimal).
    number_of_factors
        K; the largest that any family but the oracle has, if not given.
    """
    models = r2_by_year.filter(pl.col("family") != "oracle")["number_of_factors"]
    rows = _at(r2_by_year, number_of_factors or models.max()).sort("year")
    figure = new_figure(3.9)
    above, below = figure.subplots(2, 1, sharex=True)
    for family, group in _by_family(rows):
        years = group["year"].to_numpy()
        above.plot(years, PERCENT * group["total_r2"].cast(pl.Float64).to_numpy(), **family_style(family))
        below.plot(years, PERCENT * group["predictive_r2"].to_numpy(), **family_style(family))
    dress(above, "Total R² (%)")
    dress(below, "Predictive R² (%)", "Test year")
    span = rows["year"].unique().sort().to_list() or [0]
    below.set_xlim(span[0] - 0.5, span[-1] + 0.5)
    below.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    legend(figure, above)
    return settled(figure)


def loss_curves_figure(losses: Mapping[int, Losses], title: str = "") -> Figure:
    """Losses of one fitted window: train solid, validation dashed, one panel per K.

    The vertical line is the best epoch, whose weights are kept.
    """
    columns = min(3, len(losses))
    figure = new_figure(0.8 + 1.7 * -(-len(losses) // columns))
    panels = figure.subplots(-(-len(losses) // columns), columns, squeeze=False).ravel()
    for panel, (factors, (train, validation, best)) in zip(panels, losses.items(), strict=False):
        panel.plot(range(1, len(train) + 1), train, color=COLOURS[0], label="train")
        panel.plot(range(1, len(validation) + 1), validation, color=COLOURS[1], ls="--", label="validation")
        panel.axvline(best, color=GREY, linewidth=0.8, linestyle=":", label="best epoch")
        dress(panel, "", "Epoch", zero=False)
        panel.set_title(f"K = {factors}, epoch {best}", fontsize=TEXT, color=INK)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    for panel in panels[len(losses) :]:
        panel.set_visible(False)
    figure.supylabel("Mean squared residual (%²)", fontsize=TEXT, color=INK)
    legend(figure, panels[0], "outside lower left")
    if title:
        figure.suptitle(title, fontsize=TEXT + 1, color=INK)
    return settled(figure)


def coverage_figure(months: Months, stocks: Iterable[int]) -> Figure:
    """Number of stocks in the panel, month by month."""
    figure = new_figure(1.9)
    axes = figure.subplots()
    dates: Any = month_ends(months).to_numpy()
    counts = np.asarray(stocks)
    axes.fill_between(dates, counts, step="mid", color=COLOURS[0], alpha=0.18, linewidth=0)
    axes.plot(dates, counts, drawstyle="steps-mid", color=COLOURS[0], linewidth=1.2)
    dress(axes, "Stocks", "Year")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    date_axis(axes)
    return settled(figure)


def to_svg(figure: Figure, name: str = "figure") -> str:
    """An ``<svg>`` element: same figure, same text; ids carry ``name``, so that several fit into one page."""
    buffer = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Ids such as "axes_1" are in every figure and nothing refers to them.
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)


def to_png(figure: Figure) -> bytes:
    """144 dots per inch; same figure, same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()


def to_markdown_png(figure: Figure, alternative: str = "figure") -> str:
    """A markdown image with the PNG inside."""
    return f"![{alternative}](data:image/png;base64,{base64.b64encode(to_png(figure)).decode()})"


def _at(table: pl.DataFrame, number_of_factors: Any) -> pl.DataFrame:
    """Models with this K; forecasters, which have none, and the oracle, which has its own, always."""
    shown = pl.col("number_of_factors").is_in([0, number_of_factors])
    return table.filter(shown | (pl.col("family") == "oracle"))


def _by_family(table: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for family in in_order(table["family"].unique()):
        yield family, table.filter(pl.col("family") == family)
