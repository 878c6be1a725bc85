"""Figures of a page: still for print, interactive on a screen, with a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.explanations import importance_figure
from seqpricing_core.report.figures import draw, to_svg
from seqpricing_core.report.inputs import ReportInputs
from seqpricing_core.report.interactive import to_json
from seqpricing_core.report.plots import (
    Plot,
    coverage_plot,
    cumulative_returns_plot,
    losses_plot,
    quantile_means,
    quantile_returns_plot,
    r_squared_plot,
    turnover_plot,
)
from seqpricing_core.report.shown import Shown, title_of
from seqpricing_core.report.strategies import RETURNS_ASSET
from seqpricing_core.report.training import losses_by_year
from seqpricing_core.study import Study


@dataclass(frozen=True)
class Picture:
    """Still alone, interactive alone (the pages of families), or both."""

    name: str
    svg: Markup | None
    caption: str
    alternative: str
    plot: Markup | None = None
    """JSON for plotly.js; None for a figure that only stands still."""
    source: str = ""


def picture(plot: Plot, shown: Shown, caption: str, alternative: str, source: str) -> Picture:
    """A plot; on the page of the study drawn twice, since drawing stills for every family takes long."""
    svg = None if shown.family else Markup(to_svg(draw(plot), plot.name))  # noqa: S704 (our own SVG)
    return Picture(plot.name, svg, caption, alternative, Markup(to_json(plot)), source)  # noqa: S704


def still(name: str, figure: Figure, caption: str, alternative: str, source: str) -> Picture:
    return Picture(name, Markup(to_svg(figure, name)), caption, alternative, source=source)  # noqa: S704


def coverage_picture(inputs: ReportInputs) -> Picture:
    managed = inputs.managed
    return picture(
        coverage_plot(managed.months, managed.stocks.tolist()), Shown(0),
        "Stocks in the panel, by month.", "Number of stocks by month", "panel/managed_portfolios",
    )  # fmt: skip


def r_squared_picture(inputs: ReportInputs, shown: Shown, absent: str = "") -> Picture:
    return picture(
        r_squared_plot(inputs.r2_by_year, shown), shown,
        f"R² of stocks in each test year{shown.where}.{absent}",
        "R squared by test year and model", "evaluation/monthly_scores",
    )  # fmt: skip


def strategy_pictures(study: Study, inputs: ReportInputs, shown: Shown, absent: str = "") -> list[Picture]:
    """Cumulative returns, returns by portfolio, turnover."""
    returns, weightings = inputs.portfolio_returns, study.portfolios.weights
    found = [
        picture(
            cumulative_returns_plot(returns, shown, weights), shown,
            f"Long–short portfolio, {weights} weights{shown.where}, before costs: sum of "
            f"log(1 + monthly return), and drawdown from the highest wealth so far.{absent}",
            f"Cumulative long–short returns by model, {weights} weights", RETURNS_ASSET,
        )
        for weights in weightings
    ]  # fmt: skip
    found.append(picture(
        quantile_returns_plot(returns, shown, weightings[0]), shown,
        f"Mean return of each portfolio, {weightings[0]} weights{shown.where}, before costs. A good forecast "
        f"rises from left to right. Steps upward: {_steps(inputs, shown, weightings[0])}.{absent}",
        "Mean return by portfolio and model", RETURNS_ASSET,
    ))  # fmt: skip
    found.append(picture(
        turnover_plot(returns, shown, weightings[0]), shown,
        f"Turnover of the long–short portfolio, {weightings[0]} weights{shown.where}, mean of each test "
        f"year.{absent}",
        "Turnover by test year and model", RETURNS_ASSET,
    ))  # fmt: skip
    return found


def importance_pictures(inputs: ReportInputs, shown: Shown) -> list[Picture]:
    """What every family leans on most (*memory*, figure 5)."""
    if inputs.importance is None or not len(shown.rows(inputs.importance)):
        return []
    return [
        still(
            "importance", importance_figure(inputs.importance, shown.factors),
            "Most important characteristics: share of the R² lost without them.",
            "Characteristic importance by model", "explain/characteristic_importance",
        )
    ]  # fmt: skip


def loss_pictures(inputs: ReportInputs, shown: Shown, family: str) -> list[Picture]:
    """Losses of every window."""
    return [
        picture(
            losses_plot(year, losses), shown,
            f"Window of test year {year}: mean loss after each epoch, first seed; training dashed, "
            "validation solid, to the epoch at which training stopped.",
            f"Training and validation losses, test year {year}", f"models/{family}/{family}_models",
        )
        for year, losses in losses_by_year(family, inputs.training).items()
    ]  # fmt: skip


def absent_families(families: Sequence[str], inputs: ReportInputs, factors: int) -> str:
    """A sentence about families that have no model at this K."""
    present = {family for family, k in inputs.models if k in (0, factors)}
    lacking = [title_of(family) for family in families if family not in present]
    return f" Without {', '.join(lacking)}, not estimated at this K." if lacking else ""


def _steps(inputs: ReportInputs, shown: Shown, weights: str) -> str:
    """How often the mean return rises from one quantile to the next, per model."""
    means = shown.rows(quantile_means(inputs.portfolio_returns, weights))
    texts = []
    for (family, factors), rows in means.group_by(MODEL, maintain_order=True):
        steps = rows.sort("quantile")["mean_return"].diff().drop_nulls()
        name = shown.name(str(family), int(str(factors)))
        separator = ":" if shown.family else ""
        texts.append(f"{name}{separator} {(steps > 0).sum()} of {len(steps)}")
    return ", ".join(texts)
