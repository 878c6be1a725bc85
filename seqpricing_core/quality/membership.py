"""The membership filter: who was in the index, who of them has prices, who got in without being a member."""

from __future__ import annotations

import polars as pl

from seqpricing_core.quality.finding import found
from seqpricing_core.sources.public_files import members_by_month
from seqpricing_core.study import Quality


def membership_by_month(stock_months: pl.DataFrame, intervals: pl.DataFrame) -> pl.DataFrame:
    """One row per month of ``stock_months``.

    Parameters
    ----------
    stock_months
        Canonical rows; market equity says who may enter the universe.
    intervals
        ``asset_id``, ``start_date``, ``end_date`` (null: still a member).

    Returns
    -------
    DataFrame
        ``month``, ``members``, ``with_price`` (members that have a row), ``strays`` (stocks with market
        equity that are no members).
    """
    asked = stock_months.select("month").unique().join(intervals.select("asset_id").unique(), how="cross")
    inside = members_by_month(asked, intervals).with_columns(member=pl.lit(True))
    both = inside.join(
        stock_months.select("asset_id", "month", "market_equity", priced=pl.lit(True)),
        on=["asset_id", "month"], how="full", coalesce=True,
    )  # fmt: skip
    member, priced = pl.col("member").is_not_null(), pl.col("priced").is_not_null()
    return (
        both.group_by("month")
        .agg(
            members=member.sum(),
            with_price=(member & priced).sum(),
            strays=(~member & pl.col("market_equity").is_not_null()).sum(),
        )
        .sort("month")
    )


def membership_gaps(membership: pl.DataFrame, quality: Quality) -> pl.DataFrame:
    """Months with strays, and Decembers (or last months) with too few of the members priced."""
    strays = membership.filter(pl.col("strays") > 0).select(
        at="month", value="strays", expected=pl.lit("no stock with market equity outside the index")
    )
    share = pl.col("with_price") / pl.col("members")
    last = pl.col("month") == pl.col("month").max().over(pl.col("month").dt.year())
    few = membership.filter(last, pl.col("members") > 0, share < quality.minimum_member_coverage).select(
        at="month",
        value=share,
        expected=pl.format(
            f"prices of at least {quality.minimum_member_coverage:.0%} of the index members, not {{}}%",
            (100 * share).round(0).cast(pl.Int64),
        ),
    )
    rows = pl.concat([strays.with_columns(pl.col("value").cast(pl.Float64)), few])
    return found(rows.with_columns(asset_id=pl.lit(None)))
