"""Coverage of characteristics as a heat map: months across, characteristics down, the emptiest on top."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from seqpricing_core.report.plots import PERCENT
from seqpricing_core.report.style import INK, RULE, TEXT, WIDTH, date_axis, settled


def coverage_heat_map(coverage: pl.DataFrame) -> Figure:
    """Share of the universe (percent) that has each characteristic, month by month.

    Parameters
    ----------
    coverage
        ``month``, ``characteristic``, ``share``; see `quality.coverage.coverage_by_month`.
    """
    order = coverage.group_by("characteristic").agg(pl.col("share").mean()).sort("share", "characteristic")
    names = order["characteristic"].to_list()
    calendar = coverage.select(
        month=pl.date_range(
            pl.col("month").min().dt.month_start(), pl.col("month").max(), "1mo"
        ).dt.month_end()
    )
    wide = calendar.join(
        coverage.pivot("characteristic", index="month", values="share"), on="month", how="left"
    ).select(names)
    figure = Figure(figsize=(WIDTH, 1.1 + 0.15 * len(names)), layout="constrained", facecolor="white")
    axes = figure.subplots()
    ends: Any = calendar["month"].to_numpy()
    edges = np.append(calendar["month"].head(1).dt.month_start().to_numpy(), ends)
    mesh = axes.pcolormesh(
        edges, np.arange(len(names) + 1), PERCENT * wide.to_numpy().T, vmin=0, vmax=PERCENT, cmap="cividis",
        rasterized=True,
    )  # fmt: skip
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.invert_yaxis()
    date_axis(axes)
    axes.tick_params(labelsize=TEXT - 2, colors=INK, color=RULE, length=2)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(mesh, ax=axes, location="top", shrink=0.5, aspect=40, pad=0.01)
    bar.set_label("Share of the universe that has it (%)", fontsize=TEXT, color=INK)
    bar.ax.tick_params(labelsize=TEXT - 2, colors=INK, length=2)
    bar.outline.set_visible(False)
    return settled(figure)
