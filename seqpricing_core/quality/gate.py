"""Every check, and how to put a year of a table through them."""

from __future__ import annotations

from typing import Final

import polars as pl

from seqpricing_core.quality.accounting import broken_identities
from seqpricing_core.quality.coverage import coverage_gaps
from seqpricing_core.quality.decimal_slips import daily_decimal_slips, monthly_decimal_slips
from seqpricing_core.quality.finding import FOUND, Check, Outcome, Severity, Table
from seqpricing_core.quality.level_breaks import daily_level_breaks
from seqpricing_core.quality.membership import membership_gaps
from seqpricing_core.quality.price_range import daily_prices_outside_range, monthly_prices_above_high
from seqpricing_core.quality.restatements import restated_statements
from seqpricing_core.quality.return_bounds import daily_returns_beyond_bounds, monthly_returns_beyond_bounds
from seqpricing_core.quality.stale_prices import daily_stale_prices, monthly_stale_prices
from seqpricing_core.quality.survivorship import reappearances, survivors_only
from seqpricing_core.quality.zero_volume import daily_zero_volume, monthly_zero_volume
from seqpricing_core.study import Quality

_SLIPS = (
    "a price off by a factor of 10, 100 or 1,000 that comes back",
    "correct the price in the source file, or drop the row there",
)
_BOUNDS = (
    "a return beyond the bounds",
    "look the day up; correct the file, or widen quality.maximum_..._return if it is true",
)
_RANGE = ("a price outside its own range", "correct price, high or low in the source file")
_STALE = (
    "the same price for many rows",
    "see whether the stock traded; drop carried-forward rows in the source file",
)
_VOLUME = ("a price that nobody traded at", "see whether the volume is missing; drop the rows if it is not")

CHECKS: Final = (
    Check("decimal_slips", "stock_months", *_SLIPS, monthly_decimal_slips),
    Check("decimal_slips", "stock_days", *_SLIPS, daily_decimal_slips),
    Check(
        "level_breaks",
        "stock_days",
        "a new price level on a quiet day: an unadjusted split, or another firm",
        "adjust the prices before for the split or spin-off, or give the two firms two identifiers",
        daily_level_breaks,
    ),
    Check("returns_beyond_bounds", "stock_months", *_BOUNDS, monthly_returns_beyond_bounds),
    Check("returns_beyond_bounds", "stock_days", *_BOUNDS, daily_returns_beyond_bounds),
    Check("prices_outside_range", "stock_months", *_RANGE, monthly_prices_above_high),
    Check("prices_outside_range", "stock_days", *_RANGE, daily_prices_outside_range),
    Check("stale_prices", "stock_months", *_STALE, monthly_stale_prices),
    Check("stale_prices", "stock_days", *_STALE, daily_stale_prices),
    Check("zero_volume", "stock_months", *_VOLUME, monthly_zero_volume),
    Check("zero_volume", "stock_days", *_VOLUME, daily_zero_volume),
    Check(
        "restated_statements",
        "statements",
        "a period reported again with other figures",
        "nothing: characteristics keep to the first report; make sure it is the first one as filed",
        restated_statements,
    ),
    Check(
        "accounting_identities",
        "statements",
        "a balance sheet that does not add up",
        "look the filing up and correct the item, or widen quality.largest_minority",
        broken_identities,
    ),
    Check(
        "survivorship",
        "history",
        "stocks that hardly ever end: a file of survivors",
        "filter by index membership, or use a source with dead stocks; read no average return as a finding",
        survivors_only,
    ),
    Check(
        "reused_identifiers",
        "history",
        "an identifier that comes back after a long gap",
        "see whether it is the same firm; give the second one an identifier of its own",
        reappearances,
    ),
    Check(
        "index_membership",
        "membership",
        "stocks outside the index, or members without prices",
        "correct source.index_members, or accept that the missing members were mostly firms that died",
        membership_gaps,
    ),
    Check(
        "coverage",
        "coverage",
        "a characteristic that few stocks have",
        "leave it out of characteristics, or start the sample later",
        coverage_gaps,
    ),
)

CHECK_NAMES: Final = tuple(dict.fromkeys(check.name for check in CHECKS))


def run_checks(
    table: Table, rows: pl.DataFrame, quality: Quality, year: int | None = None
) -> tuple[Outcome, ...]:
    """Put rows of a table through its checks, but for those the study ignores.

    Parameters
    ----------
    rows
        Of ``year``, and for shifts and runs of the year before.
    year
        Only what the tables first show in this year; everything if None.
    """
    order = [column for column in ("asset_id", "month", "day", "period_end") if column in rows.columns]
    rows = rows.sort(order)
    seen = pl.lit(value=True) if year is None else pl.col("seen").dt.year() == year
    return tuple(
        Outcome(check, severity_of(check, quality), check.find(rows, quality).filter(seen))
        for check in checks_of(table, quality)
    )


def nothing_found(table: Table, quality: Quality) -> tuple[Outcome, ...]:
    """What the checks of a table say of no rows."""
    return tuple(
        Outcome(check, severity_of(check, quality), pl.DataFrame(schema=FOUND))
        for check in checks_of(table, quality)
    )


def checks_of(table: Table, quality: Quality) -> tuple[Check, ...]:
    """Checks of a table that the study does not ignore."""
    return tuple(check for check in CHECKS if check.table == table and check.name not in quality.ignore)


def severity_of(check: Check, quality: Quality) -> Severity:
    """As the study says; warn by default."""
    return "block" if check.name in quality.block else "warn"
