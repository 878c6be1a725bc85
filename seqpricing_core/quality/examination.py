"""Everything the gate has to say about a study's raw data, year by year: what `seqpricing doctor` prints."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import polars as pl

from seqpricing_core.characteristics.compute import HISTORY_YEARS, compute_characteristics
from seqpricing_core.quality.coverage import coverage_by_month
from seqpricing_core.quality.dropped import DROPPED, dropped_by_source, dropped_by_universe
from seqpricing_core.quality.finding import Outcome
from seqpricing_core.quality.gate import run_checks
from seqpricing_core.quality.membership import membership_by_month
from seqpricing_core.quality.survivorship import Survivorship, survivorship_of
from seqpricing_core.sources import RawTables
from seqpricing_core.sources.public_days import read_public_days, years_of_days
from seqpricing_core.sources.public_files import PublicFiles, ticker_of
from seqpricing_core.study import PublicFilesSource, Study

OVERLAP_DAYS = 80
"""Calendar days before a year that are read with it: longer than a slip, or a stale run of 40 trading days."""


@dataclass(frozen=True)
class Examination:
    """What the checks found, what was dropped, and who covers what."""

    outcomes: tuple[Outcome, ...]
    """One per check and table."""
    survivorship: Survivorship
    coverage: pl.DataFrame
    """See `coverage_by_month`."""
    dropped: pl.DataFrame
    """Columns of `DROPPED`."""


def examine_data(study: Study, source: RawTables) -> Examination:
    """Put all raw tables of a study through the gate.

    In memory at a time: the years that the characteristics of one year read, or two years of days, and three
    columns of all stock-months. Monthly tables are read over the years the study reads them for, daily prices as
    far as they go.
    """
    raw_years = raw_years_of(study)
    outcomes: list[Outcome] = []
    history, coverage, dropped = [], [], [_dropped_by(source, raw_years)]
    months: dict[int, pl.DataFrame] = {}
    statements: dict[int, pl.DataFrame] = {}
    for year in raw_years:
        months[year], statements[year] = source.stock_months(year), source.statements(year)
        history.append(months[year].select("asset_id", "month", "market_equity"))
        outcomes += stock_month_outcomes(study, months.get(year - 1), months[year], year)
        outcomes += run_checks("statements", pl.concat(statements.values()), study.quality, year)
        if year >= study.sample.first_year - 1:
            known = compute_characteristics(
                pl.concat(months.values()), pl.concat(statements.values()), year, study.computed_characteristics
            )
            coverage.append(coverage_by_month(known, study))
            dropped.append(dropped_by_universe(known, study))
        months.pop(year - HISTORY_YEARS, None)
        statements.pop(year - HISTORY_YEARS, None)
    for year, days in _days_by_year(study):
        outcomes += run_checks("stock_days", days, study.quality, year)
    everything = pl.concat(history)
    outcomes += history_outcomes(study, source, everything)
    outcomes += run_checks("coverage", pl.concat(coverage), study.quality)
    return Examination(
        _merged(outcomes), survivorship_of(everything), pl.concat(coverage), pl.concat(dropped)
    )


def stock_month_outcomes(
    study: Study, before: pl.DataFrame | None, months: pl.DataFrame, year: int
) -> tuple[Outcome, ...]:
    """What the checks find in ``months`` of ``year``, those of the year ``before`` beside them."""
    rows = months if before is None else pl.concat([before, months])
    return run_checks("stock_months", rows, study.quality, year)


def history_outcomes(study: Study, source: RawTables, history: pl.DataFrame) -> tuple[Outcome, ...]:
    """Survivors, reused identifiers and index membership over ``asset_id, month, market_equity`` of all years."""
    outcomes = run_checks("history", history.select("asset_id", "month"), study.quality)
    if isinstance(source, PublicFiles) and (intervals := source.index_members()) is not None:
        sample = history.filter(pl.col("month").dt.year() >= study.sample.first_year)
        outcomes += run_checks("membership", membership_by_month(sample, intervals), study.quality)
    return outcomes


def raw_years_of(study: Study) -> range:
    """Years of raw tables that a study reads."""
    return range(study.sample.first_year - 1 - HISTORY_YEARS, study.sample.last_year + 1)


def asset_label(study: Study) -> Callable[[int], str]:
    """How findings name an asset: by ticker where ids are tickers."""
    return ticker_of if isinstance(study.source, PublicFilesSource) else str


def _days_by_year(study: Study) -> Iterator[tuple[int, pl.DataFrame]]:
    source = study.source
    if isinstance(source, PublicFilesSource) and source.daily_prices is not None:
        for year in years_of_days(source.daily_prices):
            first = dt.date(year, 1, 1) - dt.timedelta(days=OVERLAP_DAYS)
            yield year, read_public_days(source.daily_prices, first, dt.date(year, 12, 31))


def _dropped_by(source: RawTables, years: range) -> pl.DataFrame:
    if not isinstance(source, PublicFiles):
        return pl.DataFrame(schema=DROPPED)
    within = pl.col("month").dt.year().is_between(years.start, years.stop - 1)
    return dropped_by_source(source.left_out().filter(within))


def _merged(outcomes: list[Outcome]) -> tuple[Outcome, ...]:
    """One outcome per check and table, in the order in which they came."""
    by_check: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        by_check.setdefault((outcome.check.name, outcome.check.table), []).append(outcome)
    return tuple(replace(group[0], found=pl.concat(o.found for o in group)) for group in by_check.values())
