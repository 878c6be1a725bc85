"""Canonical tables -> raw characteristics, set-based, point in time."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from seqpricing_core.characteristics.registry import REGISTRY
from seqpricing_core.characteristics.statements import BALANCE_ITEMS, FLOW_ITEMS

HISTORY_YEARS = 3
"""Calendar years of raw tables before year y that the characteristics of year y may reach:
36 months of returns (mom_36); the 8th newest quarter of a statement that is still fresh, 12 quarters ago."""

MAXIMUM_AGE_QUARTERS = 5
"""A statement whose quarter ended longer ago says nothing any more."""


def compute_characteristics(
    stock_months: pl.DataFrame,
    statements: pl.DataFrame,
    year: int,
    acronyms: Sequence[str],
) -> pl.DataFrame:
    """Raw characteristics of every stock at the end of every month of ``year``.

    **Timing.** A row of month m uses market data of months up to m and statements public by the end
    of m, as first reported: a later restatement never replaces what was known. These rows price
    month m + 1.

    Parameters
    ----------
    stock_months, statements
        Canonical tables with at least the years ``year - HISTORY_YEARS`` .. ``year``.
    year
        Year of the rows returned.
    acronyms
        Which characteristics of the registry, in the order of the columns.

    Returns
    -------
    DataFrame
        ``asset_id``, ``month``, ``history_months`` (months since the first in the tables),
        ``market_equity`` (USD), then one Float64 column per acronym; null where it cannot be
        computed, never NaN or infinite. One row per stock that traded in the month.
    """
    months = _fill_gaps(stock_months.drop("shares", strict=False))
    quarters = _quarters_known(months, statements, year)
    chosen = [REGISTRY[acronym].expression.alias(acronym) for acronym in acronyms]
    market = [e for e, a in zip(chosen, acronyms, strict=True) if REGISTRY[a].source == "market"]
    accounting = [e for e, a in zip(chosen, acronyms, strict=True) if REGISTRY[a].source != "market"]
    computed = (
        months.with_columns(market)
        .filter(pl.col("month").dt.year() == year, pl.col("traded"))
        .join(quarters, on=["asset_id", "month"], how="left")
        .with_columns(accounting)
        .select("asset_id", "month", "history_months", "market_equity", *acronyms)
        .with_columns(pl.when(pl.col(a).is_finite()).then(pl.col(a)).alias(a) for a in acronyms)
    )
    return computed.sort("month", "asset_id").collect()


def _fill_gaps(stock_months: pl.DataFrame) -> pl.LazyFrame:
    """One row per stock and calendar month between its first and last, so that shifts are months."""
    spans = stock_months.group_by("asset_id").agg(
        pl.col("month").min().alias("first"), pl.col("month").max().alias("last")
    )
    calendar = (
        spans.lazy()
        .select(
            "asset_id",
            "first",
            pl.date_ranges(pl.col("first").dt.month_start(), pl.col("last"), "1mo").alias("month"),
        )
        .explode("month")
        .with_columns(pl.col("month").dt.month_end())
    )
    observed = stock_months.lazy().with_columns(pl.lit(True).alias("traded"))
    elapsed = (pl.col("month").dt.year() - pl.col("first").dt.year()) * 12 + (
        pl.col("month").dt.month() - pl.col("first").dt.month()
    )
    return (
        calendar.join(observed, on=["asset_id", "month"], how="left")
        .with_columns((elapsed + 1).alias("history_months"), pl.col("traded").fill_null(value=False))
        .drop("first")
        .sort("asset_id", "month")
    )


def _quarters_known(months: pl.LazyFrame, statements: pl.DataFrame, year: int) -> pl.LazyFrame:
    """Newest public quarter, quarters before it and trailing sums, for each stock and month.

    Each quarter is looked up by itself and must itself be public by the end of the month, so
    a late filing of an old quarter neither hides the newer ones nor is seen too early.
    """
    first_reports = _first_reports(statements)
    known = (
        first_reports.sort("available_from")
        .with_columns(pl.col("quarter").cum_max().over("asset_id", order_by="available_from"))
        .select("asset_id", "available_from", pl.col("quarter").alias("newest"))
    )
    base = (
        months.filter(pl.col("month").dt.year() == year, pl.col("traded"))
        .select("asset_id", "month")
        .sort("month")
        .join_asof(known, left_on="month", right_on="available_from", by="asset_id", check_sortedness=False)
        .drop("available_from")
        .filter(_quarter_index(pl.col("month")) - pl.col("newest") <= MAXIMUM_AGE_QUARTERS)
    )
    for lag in range(8):
        items = FLOW_ITEMS if lag not in (0, 1, 4) else (*BALANCE_ITEMS, *FLOW_ITEMS)
        lagged = first_reports.select(
            "asset_id",
            (pl.col("quarter") + lag).alias("newest"),
            pl.col("available_from").alias("public"),
            *(pl.col(item).alias(f"{item}_{lag}") for item in items),
        )
        names = [f"{item}_{lag}" for item in items]
        base = (
            base.join(lagged, on=["asset_id", "newest"], how="left")
            .with_columns(
                pl.when(pl.col("public") <= pl.col("month")).then(pl.col(n)).alias(n) for n in names
            )
            .drop("public")
        )
    trailing = [
        pl.sum_horizontal((f"{item}_{lag}" for lag in range(start, start + 4)), ignore_nulls=False).alias(
            f"{item}_ttm{suffix}"
        )
        for item in FLOW_ITEMS
        for start, suffix in ((0, ""), (4, "_4"))
    ]
    newest = [pl.col(f"{item}_0").alias(item) for item in (*BALANCE_ITEMS, *FLOW_ITEMS)]
    return base.with_columns(*newest, *trailing)


def _first_reports(statements: pl.DataFrame) -> pl.LazyFrame:
    return (
        statements.lazy()
        .with_columns(_quarter_index(pl.col("period_end").dt.offset_by("-15d")).alias("quarter"))
        .sort("asset_id", "quarter", "available_from", "period_end")
        .unique(["asset_id", "quarter"], keep="first", maintain_order=True)
    )


def _quarter_index(day: pl.Expr) -> pl.Expr:
    """Quarters since year 0. Fiscal quarters may close a few days into the next calendar quarter
    (52- and 53-week years): callers shift period ends back by 15 days first.
    """
    return day.dt.year() * 4 + (day.dt.month() - 1) // 3
