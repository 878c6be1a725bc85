"""One self-contained HTML page per study: what was found, on which data, and how it was measured.

Percent and annual figures begin here and in `figures` and `tables`; before, returns are monthly, decimal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from seqpricing_core.models.family import TITLES
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.report.facts import data_facts, part_year, sort_facts
from seqpricing_core.report.figures import (
    coverage_figure,
    cumulative_returns_figure,
    quantile_means,
    quantile_returns_figure,
    r_squared_by_year_figure,
    to_svg,
)
from seqpricing_core.report.style import in_order
from seqpricing_core.report.tables import (
    NET_SHARPE,
    PREDICTIVE_R2,
    SHARPE,
    TOTAL_R2,
    Measure,
    Scores,
    r_squared_tables,
    strategy_tables,
)
from seqpricing_core.study import PublicFilesSource, SimulatedSource, Study


@dataclass(frozen=True)
class Report:
    """The finished page."""

    suffix: ClassVar[str] = "html"

    html: str

    def to_bytes(self) -> bytes:
        return self.html.encode()

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> Report:
        (path,) = paths
        return cls(path.read_bytes().decode())


@dataclass(frozen=True)
class ReportInputs:
    """What a page is made from; same inputs, same bytes."""

    performance: pl.DataFrame
    """Of `compute_performance`."""
    portfolio_returns: pl.DataFrame
    """Of `compute_portfolio_returns`."""
    r2_by_year: pl.DataFrame
    """``family``, ``number_of_factors``, ``year``, ``total_r2``, ``predictive_r2`` (decimal, stocks)."""
    managed: ManagedPortfolios
    """All months of the sample."""
    provenance: Mapping[str, str]
    """Where the numbers come from: data fingerprint, code version, runs. Shown as it is."""

    @property
    def test_months(self) -> list[str]:
        """'YYYY-MM', ascending."""
        return self.portfolio_returns["month"].unique().sort().dt.strftime("%Y-%m").to_list()

    @property
    def largest_factors(self) -> int:
        """The largest K that any model has, 0 if all are forecasters; the oracle is no model."""
        models = self.portfolio_returns.filter(pl.col("family") != "oracle")
        return int(models.select(pl.col("number_of_factors").max()).item())


@dataclass(frozen=True)
class Picture:
    svg: Markup
    caption: str
    alternative: str


def render_report(study: Study, results: ReportInputs) -> Report:
    """The page of a study. No script, no outside resource, no time stamp."""
    scores = Scores(study, results.performance)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(
        study=study,
        simulated=isinstance(study.source, SimulatedSource),
        public=isinstance(study.source, PublicFilesSource),
        finding=finding(scores, results.test_months),
        part_year=part_year(results.test_months),
        facts=data_facts(study, results.managed, results.test_months)
        | sort_facts(results.portfolio_returns, study.portfolios),
        coverage=_coverage(results),
        scores=scores,
        r_squared_tables=r_squared_tables(scores),
        strategy_tables=strategy_tables(scores),
        sharpe_error=f"{math.sqrt(12 / len(results.test_months)):.2f}",
        test_months=len(results.test_months),
        pictures=_pictures(study, results),
        models=_models(study),
        provenance=results.provenance,
    )
    return Report(html)


def finding(scores: Scores, test_months: Sequence[str]) -> str:
    """One plain sentence: who leads on what, by how much, out of how many tries."""
    weights = scores.study.portfolios.weights[0]
    sharpe = f"sharpe_long_short_{weights}"
    net = ""
    if best := scores.best(sharpe):
        after = NET_SHARPE.text(scores.value(best[0], best[1], f"net_{sharpe}"))
        net = f"{after} after costs of {scores.study.costs.basis_points:g} bp"
    total = _leader(scores, "total_r2_stocks", TOTAL_R2, "total R² of stocks")
    predictive = _leader(scores, "predictive_r2_stocks", PREDICTIVE_R2, "predictive R²")
    portfolio = _leader(scores, sharpe, SHARPE, f"{weights}-weighted long–short Sharpe ratio", net)
    span = f"{len(test_months)} test months ({test_months[0]} to {test_months[-1]})"
    return f"Over {span}, among {scores.models} pairs of model and K, {total}, {predictive}, and {portfolio}."


def _leader(scores: Scores, name: str, measure: Measure, what: str, remark: str = "") -> str:
    best, oracle = scores.best(name), scores.oracle(name)
    if best is None:
        return f"no model has a {what} that is a number"
    family, factors, value = best
    unit = "%" if measure.unit == "%" else ""
    share, of_oracle = scores.share(family, factors, name), ""
    if oracle is not None:
        of_oracle = f"{share} of the oracle’s" if share else f"the oracle’s is {measure.text(oracle)}{unit}"
    negative = "" if value > 0 else "none is above zero"
    remarks = "; ".join(filter(None, (measure.text(value) + unit, of_oracle, negative, remark)))
    which = f"with K = {factors}" if factors else "without factors"
    return f"{TITLES.get(family, family)} {which} has the highest {what} ({remarks})"


def _models(study: Study) -> dict[str, str]:
    """Title and one line per family, from the docstring of its configuration."""
    lines = {m.family: (type(m).__doc__ or "").strip().split("\n")[0] for m in study.models}
    return {TITLES.get(family, family): line.replace("*", "") for family, line in lines.items()}


def _picture(name: str, figure: Figure, caption: str, alternative: str) -> Picture:
    return Picture(Markup(to_svg(figure, name)), caption, alternative)  # noqa: S704 (our own SVG)


def _coverage(results: ReportInputs) -> Picture:
    managed = results.managed
    return _picture(
        "coverage", coverage_figure(managed.months, managed.stocks),
        "Stocks in the panel, by month.", "Number of stocks by month",
    )  # fmt: skip


def _pictures(study: Study, results: ReportInputs) -> list[Picture]:
    returns, k, weightings = results.portfolio_returns, results.largest_factors, study.portfolios.weights
    present = set(returns.filter(pl.col("number_of_factors").is_in([0, k]))["family"])
    at = f", K = {k}" if k else ""
    lacking = [TITLES.get(f, f) for f in study.families if f not in present]
    absent = f" Without {', '.join(lacking)}, not estimated at this K." if lacking else ""
    pictures = [
        _picture(
            f"cumulative_{weights}", cumulative_returns_figure(returns, k, weights),
            f"Long–short portfolio, {weights} weights{at}, before costs: sum of "
            f"log(1 + monthly return), and drawdown from the highest wealth so far.{absent}",
            f"Cumulative long–short returns by model, {weights} weights",
        )
        for weights in weightings
    ]  # fmt: skip
    pictures.insert(1, _picture(
        "quantiles", quantile_returns_figure(returns, k, weightings[0]),
        f"Mean return of each portfolio, {weightings[0]} weights{at}, before costs. A good forecast "
        f"rises from left to right. Steps upward: {_steps(returns, k, weightings[0])}.{absent}",
        "Mean return by portfolio and model",
    ))  # fmt: skip
    pictures.append(_picture(
        "r2", r_squared_by_year_figure(results.r2_by_year, k),
        f"R² of stocks in each test year{at}.{absent}", "R squared by test year and model",
    ))  # fmt: skip
    return pictures


def _steps(returns: pl.DataFrame, factors: int, weights: str) -> str:
    """How often the mean return rises from one quantile to the next, per model."""
    means = quantile_means(returns, factors, weights)
    texts = []
    for family in in_order(means["family"].unique()):
        steps = means.filter(pl.col("family") == family)["mean_return"].diff().drop_nulls()
        texts.append(f"{TITLES.get(family, family)} {(steps > 0).sum()} of {len(steps)}")
    return ", ".join(texts)
