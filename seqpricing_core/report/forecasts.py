"""Tables of forecasts: R2 by year and by size, errors compared."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from seqpricing_core.evaluation.forecast_measures import compute_forecast_measures
from seqpricing_core.evaluation.monthly_scores import ALL_STOCKS, SIZE_GROUPS, UNKNOWN_SIZE
from seqpricing_core.inference.study_inference import InferenceTables
from seqpricing_core.portfolios import MODEL
from seqpricing_core.report.cells import p_value, percent, plain_number
from seqpricing_core.report.shown import Column, Model, Shown, model_table, title_of
from seqpricing_core.report.significance import against
from seqpricing_core.report.strategies import TESTS_ASSET
from seqpricing_core.report.table import Cell, Table, finite, number

SCORES_ASSET: Final = "evaluation/monthly_scores"
R2: Final = {"total_r2": "Total R²", "predictive_r2": "Predictive R²"}
GROUP_TITLES: Final = {
    "micro": "Micro", "small": "Small", "big": "Big", ALL_STOCKS: "All", UNKNOWN_SIZE: "Size unknown",
}  # fmt: skip


def r_squared_by_year(monthly_scores: pl.DataFrame) -> pl.DataFrame:
    """Of stocks: what `r_squared_plot` takes."""
    every = monthly_scores.filter(pl.col("size_group") == ALL_STOCKS)
    return compute_forecast_measures(every, (*MODEL, "year")).select(*MODEL, "year", *R2).sort(*MODEL, "year")


def yearly_table(shown: Shown, r2_by_year: pl.DataFrame) -> Table | None:
    """R2 of stocks in each test year."""
    wide = r2_by_year.sort("year").pivot("year", index=list(MODEL), values=list(R2), maintain_order=True)
    years = r2_by_year["year"].unique().sort().to_list()
    groups = [
        (title, wide.select(*MODEL, **{str(year): f"{name}_{year}" for year in years}))
        for name, title in R2.items()
    ]
    groups[0] = (groups[0][0], _with_any_value(groups[0][1]))
    columns: list[Column] = [(str(year), percent(str(year), 2)) for year in years]
    return model_table(
        shown, "r2_by_year", "R² of stocks by test year", groups, columns, unit="%", source=SCORES_ASSET
    )


def size_table(shown: Shown, monthly_scores: pl.DataFrame) -> Table | None:
    """R2 by size group of Fama and French (2008)."""
    measures = compute_forecast_measures(monthly_scores, (*MODEL, "size_group"))
    held = [name for name in (*SIZE_GROUPS, UNKNOWN_SIZE, ALL_STOCKS) if name in set(measures["size_group"])]
    if len(held) < 3:
        return None
    wide = measures.pivot("size_group", index=list(MODEL), values=list(R2), maintain_order=True)
    groups = [
        (title, _with_any_value(wide.select(*MODEL, **{group: f"{name}_{group}" for group in held})))
        for name, title in R2.items()
    ]
    columns: list[Column] = [(GROUP_TITLES[group], percent(group, 2)) for group in held]
    return model_table(
        shown, "r2_by_size", "R² of stocks by size", groups, columns, unit="%", source=SCORES_ASSET,
        note="Market equity at the end of t−1: micro below the 20th percentile of all stocks of the month, "
        "small up to the 50th, big above.",
    )  # fmt: skip


def forecast_table(
    shown: Shown, monthly_scores: pl.DataFrame, inference: InferenceTables, reference: Model | None
) -> Table | None:
    """Errors and rank correlations of forecasts, and which models may be the best."""
    every = monthly_scores.filter(pl.col("size_group") == ALL_STOCKS)
    wide = compute_forecast_measures(every, MODEL)
    confidence = inference.confidence_set.select(*MODEL, p_set="p_value", included="included",
                                                 p_superior="p_superior_exists")  # fmt: skip
    wide = wide.join(confidence, on=MODEL, how="left", maintain_order="left")
    columns: list[Column] = [
        ("RMSE (%)", percent("rmse", 3)), ("Bias (bp)", plain_number("bias_bp", 0)),
        ("Rank IC (%)", percent("rank_ic", 2)), ("ICIR", plain_number("rank_icir", 2)),
        ("Confidence set", lambda row: Cell(_included(row["included"]))), ("p", p_value("p_set")),
        ("p (SPA)", p_value("p_superior")),
    ]  # fmt: skip
    note = (
        "Rank IC: mean over months of the Spearman correlation of expected and realised returns; ICIR: over "
        "its standard deviation, monthly. Confidence set: of Hansen, Lunde and Nason (2011), squared errors. "
        "p (SPA): Hansen (2005); small where some other model has smaller errors."
    )
    if reference is not None:
        tests = against(inference.forecast_comparison, reference).select(*MODEL, "statistic", "p_value")
        wide = wide.join(tests, on=MODEL, how="left", maintain_order="left")
        columns += [("p (DM)", p_value("p_value"))]
        against_whom = f"{title_of(reference[0])} with K = {reference[1]}"
        note += f" p (DM): Diebold and Mariano, against {against_whom}, two-sided."
    return model_table(
        shown, "forecasts", "Errors of forecasts", [("", wide)], columns, note=note, source=SCORES_ASSET
    )


def interval_table(
    shown: Shown, inference: InferenceTables, measures: dict[str, tuple[str, float, int]]
) -> Table | None:
    """Bootstrap intervals of headline numbers, a row per model; columns by measure.

    Parameters
    ----------
    measures
        Name as in `compute_performance` -> title, scale and digits.
    """
    chosen = inference.intervals.filter(pl.col("measure").is_in([*measures]))
    if not len(chosen):
        return None
    wide = chosen.pivot("measure", index=list(MODEL), values=["estimate", "low", "high"], maintain_order=True)
    columns: list[Column] = [
        (title, _interval(name, scale, digits))
        for name, (title, scale, digits) in measures.items()
        if f"low_{name}" in wide.columns
    ]
    level = f"{chosen['level'].drop_nulls()[0]:.0%}" if chosen["level"].count() else ""
    return model_table(
        shown, "intervals", f"{level} intervals of headline numbers", [("", wide)], columns,
        note="Stationary bootstrap over months, studentised.", source=TESTS_ASSET,
    )  # fmt: skip


def _interval(name: str, scale: float, digits: int) -> Any:
    def cell(row: Any) -> Cell:
        low, high = row[f"low_{name}"], row[f"high_{name}"]
        if not (finite(low) and finite(high)):
            return Cell(number(None, digits))
        return Cell(f"{number(scale * low, digits)} to {number(scale * high, digits)}")

    return cell


def _included(value: bool | None) -> str:  # noqa: FBT001 - a value of the table
    return number(None, 0) if value is None else ("in" if value else "out")


def _with_any_value(wide: pl.DataFrame) -> pl.DataFrame:
    """Without models that have no value at all, as forecasters have no total R2."""
    return wide.filter(pl.any_horizontal(pl.exclude(MODEL).is_not_null()))
