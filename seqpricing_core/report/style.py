"""How every figure looks.

A family keeps its colour, line and marker everywhere, whoever is beside it. The first seven colours are
Okabe and Ito's, told apart by colour-blind readers; nobody tells more apart. No two families share a line
(pattern and width) or a marker (shape, filled or hollow) either: these carry a print in grey. The oracle is
dashed grey.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from seqpricing_core.models.family import FAMILIES, TITLES

WIDTH: Final = 5.6
"""Inches; text of 9 points then reads well at 360 to 700 pixels."""
TEXT: Final = 9.0
INK, RULE, GREY = "#222222", "#d9d9d9", "#767676"
COLOURS: Final = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
    "#882255", "#999933", "#332288", "#6B3A00", "#44AA99", "#B2182B", "#005A32", "#7B6FD0",
    "#A6761D", "#E7298A", "#1B7837", "#4575B4", "#F46D43", "#5E4FA2", "#8C8C00", "#C51B7D",
)  # fmt: skip
LINES: Final = (
    "-", (0, (7, 1.5, 1.5, 1.5)), (0, (1.5, 1)), (0, (7, 1.5, 1.5, 1.5, 1.5, 1.5)), (0, (11, 2.5)),
    (0, (4, 1)), (0, (11, 1.5, 3, 1.5)), (0, (3, 3)),
)  # fmt: skip
LINE_WIDTHS: Final = (1.7, 1.0, 2.6)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")


def family_style(family: str) -> dict[str, Any]:
    common = {"label": TITLES.get(family, family), "markersize": 4}
    if family == "oracle":
        return common | {"color": GREY, "linestyle": "--", "linewidth": 1.2, "marker": "x"}
    seat = [*FAMILIES].index(family) if family in FAMILIES else len(FAMILIES)
    colour = COLOURS[seat % len(COLOURS)]
    return common | {
        "color": colour,
        "linestyle": LINES[seat % len(LINES)],
        "linewidth": LINE_WIDTHS[seat // len(LINES) % len(LINE_WIDTHS)],
        "marker": MARKERS[seat % len(MARKERS)],
        "markerfacecolor": colour if seat // len(MARKERS) % 2 == 0 else "white",
    }


def factors_style(factors: int) -> dict[str, Any]:
    """How a model with K factors is drawn beside others of its family."""
    seat = max(0, factors - 1)
    return {
        "label": f"K = {factors}" if factors else "without factors",
        "markersize": 4,
        "color": COLOURS[seat % len(COLOURS)],
        "linestyle": LINES[seat % len(LINES)],
        "linewidth": LINE_WIDTHS[seat // len(LINES) % len(LINE_WIDTHS)],
        "marker": MARKERS[seat % len(MARKERS)],
    }


def in_order(families: Iterable[str]) -> list[str]:
    """As in `TITLES`, then families it does not know, then the oracle."""
    known = [*TITLES]
    return sorted(families, key=lambda f: (f == "oracle", known.index(f) if f in known else len(known), f))


def new_figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")


def settled(figure: Figure) -> Figure:
    """Lay out once: laid out at every drawing, the axes would creep."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def dress(axes: Axes, y_label: str, x_label: str = "", *, zero: bool = True) -> None:
    axes.set_ylabel(y_label, fontsize=TEXT, color=INK)
    axes.set_xlabel(x_label, fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=TEXT, colors=INK, color=RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    if zero:
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)


def date_axis(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)


def legend(
    figure: Figure,
    axes: Axes,
    place: Literal["outside upper left", "outside lower left"] = "outside upper left",
) -> None:
    """One legend per figure, outside the axes."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc=place, ncols=4, frameon=False, fontsize=TEXT,
            labelcolor=INK, handlelength=2.8, borderaxespad=0.2, columnspacing=1.4,
        )  # fmt: skip
