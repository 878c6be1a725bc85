"""Figures for print (SVG) and for the Dagster UI (PNG)."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqpricing_core.months import Months
from seqpricing_core.report.plots import Axes as PlotAxes
from seqpricing_core.report.plots import (
    Losses,
    Plot,
    coverage_plot,
    cumulative_returns_plot,
    quantile_returns_plot,
    r_squared_plot,
)
from seqpricing_core.report.shown import Shown
from seqpricing_core.report.style import (
    COLOURS,
    GREY,
    INK,
    TEXT,
    date_axis,
    dress,
    legend,
    new_figure,
    settled,
)


def draw(plot: Plot) -> Figure:
    """The plot for print: no colour alone tells its lines apart."""
    figure = new_figure(plot.height)
    heights = [axes.height for axes in plot.axes]
    every = figure.subplots(len(plot.axes), 1, sharex=True, height_ratios=heights, squeeze=False).ravel()
    for axes, numbers in zip(every, plot.axes, strict=True):
        _draw_lines(axes, numbers, plot.x_label if axes is every[-1] else "")
    below = every[-1]
    if plot.x_kind == "date":
        date_axis(below)
    elif plot.x_kind == "rank":
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        years = [value for axes in plot.axes for line in axes.lines for value in line.x] or [0]
        below.set_xlim(min(years) - 0.5, max(years) + 0.5)
        below.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    if not any(axes.filled for axes in plot.axes):
        legend(figure, every[0])
    return settled(figure)


def _draw_lines(axes: Axes, numbers: PlotAxes, x_label: str) -> None:
    for line in numbers.lines:
        x, y = np.asarray(line.x), np.asarray(line.y)
        if numbers.filled:
            axes.fill_between(x, y, step="mid", color=line.style["color"], alpha=0.18, linewidth=0)
        steps: dict[str, Any] = {"drawstyle": "steps-mid"} if numbers.filled else {}
        axes.plot(x, y, **line.style, **steps)
    dress(axes, numbers.y_label, x_label, zero=numbers.zero)
    if numbers.filled:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))


def cumulative_returns_figure(
    portfolio_returns: pl.DataFrame,
    number_of_factors: int,
    weights: str = "equal",
    portfolio: str = "long_short",
) -> Figure:
    """`cumulative_returns_plot` of every family at one K."""
    return draw(cumulative_returns_plot(portfolio_returns, Shown(number_of_factors), weights, portfolio))


def quantile_returns_figure(
    portfolio_returns: pl.DataFrame, number_of_factors: int, weights: str = "equal"
) -> Figure:
    """`quantile_returns_plot` of every family at one K."""
    return draw(quantile_returns_plot(portfolio_returns, Shown(number_of_factors), weights))


def r_squared_by_year_figure(r2_by_year: pl.DataFrame, number_of_factors: int | None = None) -> Figure:
    """`r_squared_plot` of every family at one K; the largest that any but the oracle has, if not given."""
    models = r2_by_year.filter(pl.col("family") != "oracle")
    largest = int(models.select(pl.col("number_of_factors").max()).item())
    return draw(r_squared_plot(r2_by_year, Shown(number_of_factors or largest)))


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
    return draw(coverage_plot(months, list(stocks)))


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
