"""Figures of what models lean on: characteristics, and months of the look-back."""

from __future__ import annotations

from typing import Final

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqpricing_core.explain.importance import Method
from seqpricing_core.models.family import TITLES
from seqpricing_core.report.style import INK, TEXT, dress, family_style, in_order, new_figure, settled

MOST: Final = 15
"""Characteristics that a panel shows, as *memory*'s figure 5."""
METHOD_TITLES: Final[dict[Method, str]] = {"zero": "set to zero", "permutation": "shuffled within the month"}


def importance_figure(
    importance: pl.DataFrame, number_of_factors: int, method: Method = "zero", most: int = MOST
) -> Figure:
    """The most important characteristics of every family, one panel each, largest on top.

    Parameters
    ----------
    importance
        As `pool_importance` makes it.
    number_of_factors
        K of the models shown; a forecaster, which has K = 0, is always shown.
    """
    rows = importance.filter(pl.col("number_of_factors").is_in([number_of_factors, 0]), method=method)
    families = in_order(rows["family"].unique())
    columns = min(2, len(families))
    deep = -(-len(families) // columns)
    shown = min(most, rows["characteristic"].n_unique())
    figure = new_figure(0.6 + deep * (0.5 + 0.16 * shown))
    panels = figure.subplots(deep, columns, squeeze=False).ravel()
    for panel, family in zip(panels, families, strict=False):
        _bars(panel, rows.filter(pl.col("family") == family), family, shown)
    for panel in panels[len(families) :]:
        panel.set_visible(False)
    title = f"Share of importance (%), K = {number_of_factors}, characteristic {METHOD_TITLES[method]}"
    figure.supxlabel(title, fontsize=TEXT, color=INK)
    return settled(figure)


def _bars(axes: Axes, rows: pl.DataFrame, family: str, most: int) -> None:
    top = rows.sort("importance", "characteristic", descending=[True, False]).head(most)
    axes.barh(
        top["characteristic"].to_list(),
        100 * top["importance"].to_numpy(),
        color=family_style(family)["color"],
    )
    axes.invert_yaxis()
    dress(axes, "", zero=False)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelsize=TEXT - 2)
    axes.set_title(TITLES.get(family, family), fontsize=TEXT, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))


def attention_figure(attention: pl.DataFrame) -> Figure:
    """Mean attention of each decoder step on each month of the look-back, one panel per K.

    Parameters
    ----------
    attention
        Of one family, as `compute_attention` makes it.
    """
    factors = attention["number_of_factors"].unique().sort().to_list()
    columns = min(3, len(factors))
    deep = -(-len(factors) // columns)
    figure = new_figure(0.8 + 1.9 * deep)
    panels = figure.subplots(deep, columns, squeeze=False).ravel()
    highest = float(attention.select(pl.col("weight").max()).item())
    for panel, k in zip(panels, factors, strict=False):
        rows = attention.filter(pl.col("number_of_factors") == k)
        steps, lookback = (rows[name].n_unique() for name in ("decoder_step", "months_back"))
        edges = (lookback - 0.5, -0.5, steps + 0.5, 0.5)
        image = panel.imshow(
            rows["weight"].to_numpy().reshape(steps, lookback),
            cmap="cividis", vmin=0.0, vmax=highest, extent=edges, aspect="auto", interpolation="nearest",
        )  # fmt: skip
        panel.set_title(f"K = {k}" if k else "Without factors", fontsize=TEXT, color=INK)
        panel.tick_params(labelsize=TEXT, colors=INK)
        for axis, count in ((panel.xaxis, lookback), (panel.yaxis, steps)):
            axis.set_major_locator(MaxNLocator(integer=True, nbins=min(5, max(1, count))))
    for panel in panels[len(factors) :]:
        panel.set_visible(False)
    newest = "the month itself" if max(factors) else "the newest month known"
    figure.supxlabel(f"Months back (0: {newest})", fontsize=TEXT, color=INK)
    if max(factors):
        figure.supylabel("Decoder step", fontsize=TEXT, color=INK)
    figure.colorbar(image, ax=panels.tolist()).ax.tick_params(labelsize=TEXT - 1, colors=INK)
    return settled(figure)
