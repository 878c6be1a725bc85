"""What the UI shows of a partition: counts, dates, scores, plots."""

from __future__ import annotations

import datetime as dt
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from seqpricing_core.evaluation.r_squared import compute_r_squared
from seqpricing_core.explain.importance import METHODS
from seqpricing_core.fitted_store import StoredFit
from seqpricing_core.models.family import TITLES, FittedFamily
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.report.explanations import attention_figure, importance_figure
from seqpricing_core.report.figures import loss_curves_figure, to_markdown_png
from seqpricing_core.running_year import RunningYear


def table_metadata(table: pl.DataFrame) -> dict[str, Any]:
    """Rows, columns, first and last date, share of missing values."""
    dates = [name for name, dtype in table.schema.items() if dtype == pl.Date]
    columns = [dg.TableColumn(name, str(dtype)) for name, dtype in table.schema.items()]
    shown: dict[str, Any] = {
        "dagster/row_count": len(table),
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }
    if len(table):
        shown["missing_values"] = sum(table.null_count().row(0)) / (len(table) * table.width)
        if dates:
            column = next(name for name in ("month", "day", "available_from") if name in dates)
            shown["first_date"] = str(table[column].min())
            shown["last_date"] = str(table[column].max())
    return shown


def panel_metadata(panel: Panel) -> dict[str, Any]:
    """Stock-months, stocks, months, characteristics."""
    return {
        "dagster/row_count": len(panel),
        "stocks_per_month": len(panel) / len(panel.months),
        "characteristics": len(panel.characteristic_names),
        "first_month": str(panel.months[0]),
        "last_month": str(panel.months[-1]),
        "without_return": len(panel) - len(panel.with_returns()),
        "mean_excess_return": float(np.nanmean(panel.excess_return)),
    }


def running_year_metadata(
    running: RunningYear, returns: set[dt.date], risk_free: set[dt.date], month_over: str
) -> dict[str, Any]:
    """Which month the signal is of, the months and rows it adds to whole years, and how far the files go."""
    shown: dict[str, Any] = {
        "signal_month": str(np.datetime64(running.newest_month, "M") + 1),
        "newest_month_that_is_over": month_over,
        "newest_month_with_returns": str(max(returns, default="none")),
        "newest_month_with_risk_free_rate": str(max(risk_free, default="none")),
        "months": 0,
        "dagster/row_count": 0,
    }
    return (
        shown
        if running.so_far is None
        else shown | {"months": len(running.so_far.panel.months)} | panel_metadata(running.so_far.panel)
    )


def managed_portfolios_metadata(managed: ManagedPortfolios) -> dict[str, Any]:
    """Number of portfolios and how well Z'Z is conditioned."""
    return {
        "managed_portfolios": managed.x.shape[1],
        "largest_condition_number": float(managed.condition_number.max()),
        "fewest_stocks": int(managed.stocks.min()),
    }


def drift_metadata(drift: pl.DataFrame) -> dict[str, Any]:
    """The largest index as a number for the plot over years, and the ten largest as a table."""
    rows = [f"| {name} | {index:.3f} |" for name, index in drift.head(10).iter_rows()]
    return {
        "largest_population_stability_index": float(drift["population_stability_index"].max() or 0.0),  # type: ignore[arg-type]
        "most_shifted": dg.MetadataValue.md("\n".join(["| characteristic | PSI |", "|---|---:|", *rows])),
    }


def fit_metadata(fit: StoredFit) -> dict[str, Any]:
    """Whether the window was trained by this run or found in the store, and what training took."""
    return {
        "fit": "reused" if fit.reused else "trained",
        "training_seconds": fit.seconds,
        "store_key": fit.key,
    }


def fitted_family_metadata(fitted: FittedFamily) -> dict[str, Any]:
    """The window, and for networks the winner and its validation loss."""
    window = fitted.window
    shown: dict[str, Any] = {
        "window": f"train {window.train[0]}-{window.train[1]}, validation {window.validation[0]}-"
        f"{window.validation[1]}, test {window.test_year}",
        "last_month_seen": str(fitted.months_seen[-1]),
    }
    records = {k: first.record for k, (first, *_) in fitted.models.items() if "train_loss" in first.record}
    for k, record in records.items():
        shown[f"validation_loss_k{k}"] = min(record["validation_loss"])
        shown[f"best_epoch_k{k}"] = record["best_epoch"]
    if records:
        curves = {k: (r["train_loss"], r["validation_loss"], r["best_epoch"]) for k, r in records.items()}
        shown["loss_curves"] = plot_metadata(loss_curves_figure(curves))
    # Last, since it is long.
    shown["training_record"] = dg.MetadataValue.json(
        {f"K={k}": [member.record for member in members] for k, members in fitted.models.items()}
    )
    return shown


def plot_metadata(figure: Figure) -> dg.MarkdownMetadataValue:
    """A figure that the UI draws in place."""
    return dg.MetadataValue.md(to_markdown_png(figure))


def importance_metadata(
    importance: pl.DataFrame, number_of_factors: int, attention: pl.DataFrame | None = None
) -> dict[str, Any]:
    """The most important characteristics, and where the decoder of a sequence model looks."""
    figures = {method: importance_figure(importance, number_of_factors, method) for method in METHODS}
    shown = {f"importance_{method}": plot_metadata(figure) for method, figure in figures.items()}
    if attention is not None:
        shown["attention"] = plot_metadata(attention_figure(attention))
    return shown


def odd_even_scores(pooled: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """Total and predictive R2 (percent) of the four scenarios, one row per model."""
    lines = ["| model | K | trained on | tested on | total R2 (%) | predictive R2 (%) |", "|---" * 6 + "|"]
    for row in pooled.iter_rows(named=True):
        total = "-" if row["total_r2"] is None else f"{100 * row['total_r2']:.2f}"
        cells = (
            TITLES[row["family"]], row["number_of_factors"], row["trained_on"], row["tested_on"], total,
            f"{100 * row['predictive_r2']:.2f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return dg.MetadataValue.md("\n".join(lines))


def predictions_metadata(predictions: pl.DataFrame) -> dict[str, Any]:
    """R2 of the test year by K: numbers, so that the UI plots them over the years.

    A forecaster has K = 0 and no total R2.
    """
    scores = compute_r_squared(predictions, ["number_of_factors"])
    shown = table_metadata(predictions)
    for k, total, predictive in scores.iter_rows():
        if total is not None:
            shown[f"total_r2_k{k}"] = total
        shown[f"predictive_r2_k{k}"] = predictive
    return shown
