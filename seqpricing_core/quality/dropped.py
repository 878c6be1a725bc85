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
    young = pl.when(pl.col("history_months") < months).then(
        pl.lit(f"history shorter than {months} months")
    )
    lacking = (
        pl.when(pl.col(name).is_null()).then(pl.lit(f"without {name}")) for name in universe.require
    )
    return pl.coalesce(young, *lacking)


def dropped_by_universe(characteristics: pl.DataFrame, study: Study) -> pl.DataFrame:
    """Stock-months that the universe leaves out, each counted under its first reason.

    Parameters
    ----------
    characteristics
        Raw characteristics; a row of month m is a candidate for the panel of m + 1.

    Returns
    -------
    DataFrame
        Columns of `DROPPED`; step ``universe``.
    """
    names = study.acronyms
    nothing = pl.when(pl.all_horizontal(pl.col(name).is_null() for name in names)).then(
        pl.lit("without any characteristic")
    )
    return _counted(
        characteristics.select("month", reason=pl.coalesce(_reason(study.universe), nothing)), "universe"
    )


def dropped_by_source(reasons: pl.DataFrame) -> pl.DataFrame:
    """Rows that the adapter left out, from its own table of ``month`` and ``reason``; step ``source``."""
    return _counted(reasons, "source")


def _counted(reasons: pl.DataFrame, step: str) -> pl.DataFrame:
    return (
        reasons.drop_nulls("reason")
        .group_by("month", "reason")
        .agg(rows=pl.len())
        .with_columns(step=pl.lit(step))
        .select(pl.col(name).cast(dtype) for name, dtype in DROPPED.items())
        .sort("month", "reason")
    )
