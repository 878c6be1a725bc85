"""Tables of portfolios: deciles, drawdowns, alphas, exposures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from seqpricing_core.evaluation.return_measures import MONTHS_PER_YEAR, compute_drawdowns
from seqpricing_core.inference.alphas import FACTOR_MODELS
from seqpricing_core.inference.study_inference import InferenceTables
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.cells import count, estimate, month, p_value, percent, plain_number
from seqpricing_core.report.plots import quantile_means
from seqpricing_core.report.shown import Column, Shown, model_table, reasons
from seqpricing_core.report.table import Cell, Table, number
from seqpricing_core.report.tables import PORTFOLIOS

RETURNS_ASSET: Final = "evaluation/portfolio_returns"
TESTS_ASSET: Final = "evaluation/model_comparison"
FACTOR_TITLES: Final = {
    "market": "Market", "smb": "SMB", "hml": "HML", "rmw": "RMW", "cma": "CMA", "momentum": "Momentum",
}  # fmt: skip


def quantile_table(
    shown: Shown, portfolio_returns: pl.DataFrame, inference: InferenceTables | None, weights: str
) -> Table | None:
    """Mean return of each portfolio, lowest forecast first, and whether they rise (Patton, Timmermann)."""
    means = quantile_means(portfolio_returns, weights)
    wide = means.pivot("quantile", index=list(MODEL), values="mean_return")
    quantiles = [name for name in wide.columns if name not in MODEL]
    columns: list[Column] = [(name, percent(name, 2)) for name in quantiles]
    if inference is not None:
        tests = inference.monotonicity.filter(weights=weights).select(
            *MODEL, "rises", "portfolios", "p_value"
        )
        wide = wide.join(tests, on=MODEL, how="left", maintain_order="left")
        columns += [("Steps up", _steps), ("p", p_value("p_value"))]
    note = "Portfolios from the lowest to the highest expected return, before costs."
    if inference is not None:
        note += (
            " Steps up: how often the mean return rises to the next portfolio. p: of Patton and Timmermann "
            "(2010); a small one rejects that some step is flat or downward."
        )
    return model_table(
        shown, f"quantile_returns_{weights}", f"Mean excess return by portfolio, {weights} weights",
        [("", wide)], columns, unit="% a month", note=note, source=RETURNS_ASSET,
    )  # fmt: skip


def drawdown_table(shown: Shown, portfolio_returns: pl.DataFrame, weights: str) -> Table | None:
    """The largest loss of every strategy and its dates, before costs."""
    chosen = portfolio_returns.filter(pl.col("portfolio").is_in([*PORTFOLIOS]), weights=weights)
    drawdowns = compute_drawdowns(chosen).filter(costs="before")
    columns: list[Column] = [
        ("Loss", percent("max_drawdown", 1)),
        *((title, month(name)) for name, title in (("peak", "High"), ("trough", "Low"))),
        ("Recovered", lambda row: Cell(_recovered(row))),
        ("Months down", count("months_to_trough")),
        ("Months under water", count("months_to_recovery")),
    ]
    groups = [(title, drawdowns.filter(portfolio=name)) for name, title in PORTFOLIOS.items()]
    return model_table(
        shown, f"drawdowns_{weights}", f"Largest drawdown, {weights} weights, before costs", groups, columns,
        unit="% of the highest wealth so far, compounded",
        note="Months under water: from the high to its recovery, or to the last month. A long–short "
        "portfolio earns its two legs on one dollar each, rebalanced every month.",
        source=RETURNS_ASSET,
    )  # fmt: skip


def alpha_table(shown: Shown, inference: InferenceTables, weights: str, costs: str) -> Table | None:
    """What published factors leave unexplained: annual alphas with Newey-West t-statistics."""
    alphas = inference.alphas.filter(weights=weights, costs=costs)
    groups = [
        (title, _wide(alphas.filter(portfolio=name), "factor_model", ("alpha", "t_statistic")))
        for name, title in PORTFOLIOS.items()
    ]
    held = alphas.filter(pl.col("alpha").is_not_null())["factor_model"].unique().to_list()
    columns: list[Column] = [
        (
            "Mean return" if model == "mean" else f"{model} alpha",
            estimate(f"alpha_{model}", f"t_statistic_{model}", 100 * MONTHS_PER_YEAR, 1),
        )
        for model in FACTOR_MODELS
        if model in held
    ]
    return model_table(
        shown, f"alphas_{weights}_{costs}", f"Mean returns and alphas, {weights} weights, {costs} costs",
        groups, columns, unit="% a year", below="t-statistic",
        note="In parentheses: t-statistics of Newey and West (1987). " + reasons(shown.rows(alphas)),
        source=TESTS_ASSET,
    )  # fmt: skip


def exposure_table(shown: Shown, inference: InferenceTables, weights: str) -> Table | None:
    """Slopes on published factors."""
    exposures = inference.exposures.filter(weights=weights)
    if not len(exposures):
        return None
    model = exposures["factor_model"][0]
    found = exposures["factor"].unique(maintain_order=True).to_list()
    groups = []
    for name, title in PORTFOLIOS.items():
        chosen = exposures.filter(portfolio=name)
        fits = chosen.select(*MODEL, "r_squared").unique(maintain_order=True)
        wide = _wide(chosen, "factor", ("beta", "t_statistic"))
        groups.append((title, wide.join(fits, on=MODEL, how="left", maintain_order="left")))
    columns: list[Column] = [
        (FACTOR_TITLES.get(f, f), estimate(f"beta_{f}", f"t_statistic_{f}")) for f in found
    ]
    columns.append(("R² (%)", percent("r_squared", 1)))
    return model_table(
        shown, f"exposures_{weights}", f"Exposure to known factors ({model}), {weights} weights", groups,
        columns, below="t-statistic",
        note="Slopes of monthly returns before costs; in parentheses t-statistics of Newey and West (1987).",
        source=TESTS_ASSET,
    )  # fmt: skip


def deflated_table(shown: Shown, inference: InferenceTables, weights: str) -> Table | None:
    """Is the Sharpe ratio more than the best of so many tries would show by luck? (Bailey, López de Prado)"""
    deflated = inference.deflated.filter(weights=weights)
    groups = [
        (f"{title}, {costs} costs", deflated.filter(portfolio=name, costs=costs))
        for name, title in PORTFOLIOS.items()
        for costs in ("before", "after")
    ]
    columns: list[Column] = [
        ("Sharpe ratio", plain_number("sharpe", 2)),
        ("Best of tries by luck", plain_number("threshold", 2)),
        ("Probability above it (%)", percent("probability", 1)),
        ("Tries", count("trials")),
    ]
    return model_table(
        shown, f"deflated_sharpe_{weights}", f"Deflated Sharpe ratios, {weights} weights", groups, columns,
        unit="annual",
        note="Tries: the models of this study, unless the study file says that there were more. "
        + reasons(shown.rows(deflated)),
        source=TESTS_ASSET,
    )  # fmt: skip


def _wide(table: pl.DataFrame, key: str, values: Sequence[str]) -> pl.DataFrame:
    """A row per model; columns ``value_key``."""
    return table.pivot(key, index=list(MODEL), values=list(values), maintain_order=True)


def _recovered(row: Mapping[str, Any]) -> str:
    if row["recovery"] is not None:
        return f"{row['recovery']:%Y-%m}"
    return number(None, 0) if row["trough"] is None else "not yet"


def _steps(row: Mapping[str, Any]) -> Cell:
    if row["rises"] is None:
        return Cell(number(None, 0))
    return Cell(f"{row['rises']} of {row['portfolios'] - 1}")
