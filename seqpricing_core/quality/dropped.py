"""What does not reach the panel, and why."""

from __future__ import annotations

from typing import Final

import polars as pl

from seqpricing_core.study import Study, Universe

DROPPED: Final = {
    "month": pl.Date(),
    "step": pl.String(),
    "reason": pl.String(),
    "rows": pl.Int64(),
}
"""``month``: of the data that was dropped; ``rows``: stock-months, or statements."""


def in_universe(universe: Universe) -> pl.Expr:
    """Whether a row of the characteristics may enter the next month's panel (`panel.build`)."""
    return _reason(universe).is_null()


def _reason(universe: Universe) -> pl.Expr:
    """The first reason to leave a row out, null for none."""
    months = universe.minimum_history_months
    young = pl.when(pl.col("history_months") < months).then(pl.lit(f"history shorter than {months} months"))
    lacking = (pl.when(pl.col(name).is_null()).then(pl.lit(f"without {name}")) for name in universe.require)
    return pl.coalesce(young, *lacking)


def dropped_before_panel(
    characteristics: pl.LazyFrame, stock_months: pl.LazyFrame, study: Study
) -> pl.DataFrame:
    """Stock-months of the sample that the panel leaves out or has no return for, under the first reason of
    each.

    Parameters
    ----------
    characteristics
        Raw characteristics; a row of month m is a candidate for the panel of m + 1.
    stock_months
        Canonical rows; a stock without a return in m + 1 stays in the panel and is neither trained nor tested
        on.

    Returns
    -------
    DataFrame
        Columns of `DROPPED`; ``month`` is m + 1, step ``universe`` or ``return``.
    """
    nothing = pl.when(pl.all_horizontal(pl.col(name).is_null() for name in study.acronyms)).then(
        pl.lit("without any characteristic")
    )
    first, last = study.sample.first_month, study.sample.last_month
    candidates = characteristics.select(
        "asset_id",
        pl.col("month").dt.offset_by("1mo").dt.month_end(),
        universe=pl.coalesce(_reason(study.universe), nothing),
    ).filter(pl.col("month").dt.strftime("%Y-%m").is_between(pl.lit(first), pl.lit(last or "9999-12")))
    returns = stock_months.filter(pl.col("ret").is_not_null()).select(
        "asset_id", "month", returned=pl.lit(value=True)
    )
    judged = (
        candidates.join(returns, on=["asset_id", "month"], how="left")
        .with_columns(none=pl.when(pl.col("returned").is_null()).then(pl.lit("no return in the month")))
        # A month without any return is not there yet: the panel has no such month.
        .filter(pl.col("returned").any().over("month"))
    )
    out = judged.filter(pl.col("universe").is_not_null()).select("month", reason="universe")
    kept = judged.filter(pl.col("universe").is_null()).select("month", reason="none")
    return pl.concat([_counted(out, "universe"), _counted(kept, "return")])


def dropped_by_source(reasons: pl.DataFrame) -> pl.DataFrame:
    """Rows that the adapter left out, from its own table of ``month`` and ``reason``; step ``source``."""
    return _counted(reasons.lazy(), "source")


def _counted(reasons: pl.LazyFrame, step: str) -> pl.DataFrame:
    return (
        reasons.drop_nulls("reason")
        .group_by("month", "reason")
        .agg(rows=pl.len())
        .with_columns(step=pl.lit(step))
        .select(pl.col(name).cast(dtype) for name, dtype in DROPPED.items())
        .sort("month", "reason")
        .collect()
    )
