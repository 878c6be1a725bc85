"""Coverage: the share of the universe that has a characteristic, month by month."""

from __future__ import annotations

import polars as pl

from seqpricing_core.quality.dropped import in_universe
from seqpricing_core.quality.finding import found
from seqpricing_core.study import Quality, Study


def coverage_by_month(characteristics: pl.LazyFrame, study: Study) -> pl.DataFrame:
    """Share of the stocks in the universe whose characteristic is there, before gaps are filled.

    Returns
    -------
    DataFrame
        ``month`` (the month in which it is known), ``characteristic``, ``stocks`` (in the universe),
        ``share``.
    """
    names = study.acronyms
    counted = (
        characteristics.filter(in_universe(study.universe))
        .group_by("month")
        .agg(pl.len().alias("stocks"), *(pl.col(name).is_not_null().mean() for name in names))
    )
    return (
        counted.unpivot(names, index=["month", "stocks"], variable_name="characteristic", value_name="share")
        .select("month", "characteristic", pl.col("stocks").cast(pl.Int64), "share")
        .sort("month", "characteristic")
        .collect()
    )


def coverage_gaps(coverage: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Characteristics that fewer than ``minimum_coverage`` of the universe have in the mean of a year.

    The panel fills them with the median: a column that is nearly constant says nothing.
    """
    by_year = (
        coverage.group_by("characteristic", year=pl.col("month").dt.year())
        .agg(at=pl.col("month").max(), value=pl.col("share").mean())
        .filter(pl.col("value") < quality.minimum_coverage)
        .sort("at", "characteristic")
    )
    expected = pl.format(
        f"{{}} for at least {quality.minimum_coverage:.0%} of the universe", pl.col("characteristic")
    )
    return found(by_year.select("at", "value", asset_id=pl.lit(None), expected=expected))
