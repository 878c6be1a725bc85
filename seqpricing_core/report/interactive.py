"""Plots for plotly.js: the same numbers as `figures` draws, as JSON."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any, Final

from seqpricing_core.report.plots import Axes, Line, Plot, dates_as_text
from seqpricing_core.report.style import INK, RULE

SCRIPT: Final = "plotly-basic.min.js"
"""plotly.js 4.1.1 (MIT), the bundle with scatter, bar and pie alone."""
GAP: Final = 0.08
"""Between axes, as a share of the plot."""
SYMBOLS: Final = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross",
    "X": "x", "<": "triangle-left", "x": "x-thin",
}  # fmt: skip
FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


@cache
def plotly_script() -> str:
    """The library, to be inlined once per page."""
    return (Path(__file__).parent / SCRIPT).read_text(encoding="utf-8")


def to_json(plot: Plot) -> str:
    """``{"data": [...], "layout": {...}}``, safe inside a ``<script>``; same plot, same text."""
    text = json.dumps(specification(plot), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")


def specification(plot: Plot) -> dict[str, Any]:
    """Traces and layout, axes from top to bottom."""
    data, layout = [], _layout(plot)
    top, total = 1.0, sum(axes.height for axes in plot.axes)
    room = 1 - GAP * (len(plot.axes) - 1)
    for place, axes in enumerate(plot.axes):
        suffix = "" if place == 0 else str(place + 1)
        bottom = max(0.0, top - room * axes.height / total)
        layout[f"yaxis{suffix}"] = {
            "title": {"text": axes.y_label, "font": {"size": 12}},
            "domain": [round(bottom, 4), round(top, 4)],
            "gridcolor": RULE, "zeroline": axes.zero, "zerolinecolor": "#767676", "automargin": True,
            "rangemode": "tozero" if axes.filled else "normal",
        }  # fmt: skip
        top = bottom - GAP
        data += [_trace(line, axes, suffix, first=place == 0) for line in axes.lines]
    layout["xaxis"]["anchor"] = f"y{len(plot.axes)}" if len(plot.axes) > 1 else "y"
    return {"data": data, "layout": layout}


def _layout(plot: Plot) -> dict[str, Any]:
    x: dict[str, Any] = {
        "title": {"text": plot.x_label, "font": {"size": 12}}, "showgrid": False, "linecolor": RULE,
        "ticks": "outside", "tickcolor": RULE, "automargin": True,
    }  # fmt: skip
    x |= {"type": "date", "hoverformat": "%Y-%m"} if plot.x_kind == "date" else {"tickformat": "d"}
    if plot.x_kind != "date":
        values = {value for axes in plot.axes for line in axes.lines for value in line.x}
        if len(values) <= 12:
            x |= {"tickmode": "array", "tickvals": sorted(values)}
    return {
        "xaxis": x, "height": round(96 * plot.height) + 60, "hovermode": "x unified", "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff", "font": {"family": FONT, "size": 12, "color": INK},
        "margin": {"l": 56, "r": 8, "t": 8, "b": 40}, "hoverlabel": {"font": {"size": 11}},
        "showlegend": sum(len(axes.lines) for axes in plot.axes) > len(plot.axes),
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    }  # fmt: skip


def _trace(line: Line, axes: Axes, suffix: str, *, first: bool) -> dict[str, Any]:
    style = line.style
    marker = style.get("marker", "")
    symbol = SYMBOLS.get(marker, "circle") + ("-open" if style.get("markerfacecolor") == "white" else "")
    trace: dict[str, Any] = {
        "type": "scatter", "x": dates_as_text(line.x), "y": [_rounded(value) for value in line.y],
        "name": style["label"], "legendgroup": style["label"], "showlegend": first, "yaxis": f"y{suffix}",
        "mode": "lines+markers" if marker else "lines",
        "line": {"color": style["color"], "width": style.get("linewidth", 1.5), "dash": _dash(style)},
        "hovertemplate": "%{y:.2f}" if not axes.filled else "%{y:.0f}",
    }  # fmt: skip
    if marker:
        trace["marker"] = {"symbol": symbol, "size": 6}
    if axes.filled:
        trace |= {"fill": "tozeroy"}
        trace["line"]["shape"] = "hvh"
    return trace


def _dash(style: dict[str, Any]) -> str:
    pattern = style.get("linestyle", "-")
    if isinstance(pattern, str):
        return {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}[pattern]
    width = style.get("linewidth", 1.5)
    return ",".join(f"{part * width:g}px" for part in pattern[1])


def _rounded(value: float) -> float | None:
    """Six digits are more than a screen shows; NaN is a gap."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
