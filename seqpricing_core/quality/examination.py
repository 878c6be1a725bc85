"""Everything the gate has to say about a study's raw data, year by year: what `seqpricing doctor` prints."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import polars as pl

from seqpricing_core.characteristics.compute import DAY_HISTORY_YEARS
from seqpricing_core.characteristics.of_study import (
    characteristics_of_study,
    history_of,
    statistics_of_days,
)
from seqpricing_core.quality.coverage import coverage_by_month
from seqpricing_core.quality.dropped import DROPPED, dropped_before_panel, dropped_by_source
from seqpricing_core.quality.finding import Outcome
from seqpricing_core.quality.gate import run_checks
from seqpricing_core.quality.membership import membership_by_month
from seqpricing_core.quality.survivorship import Survivorship, survivorship_of
from seqpricing_core.sources import RawTables
from seqpricing_core.sources.public_days import read_public_days, years_of_days
from seqpricing_core.sources.public_files import PublicFiles, ticker_of
from seqpricing_core.study import PublicFilesSource, Study

OVERLAP_DAYS = 80
"""Calendar days before a year that are judged with it: longer than a slip, or a stale run of 40 days."""


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
    columns of all stock-months. Monthly tables are read over the years the study reads them for, daily prices
    as far as they go.
    """
    raw_years = raw_years_of(study)
    outcomes: list[Outcome] = []
    history, coverage, dropped = [], [], [dropped_by(source, raw_years)]
    known: dict[int, pl.DataFrame] = {}
    months: dict[int, pl.DataFrame] = {}
    statements: dict[int, pl.DataFrame] = {}
    statistics = statistics_of_days(source, raw_years) if study.reads_days else iter(())
    of_days: dict[int, pl.DataFrame] = {}
    for year in raw_years:
        of_days |= dict(islice(statistics, 1))
        months[year], statements[year] = source.stock_months(year), source.statements(year)
        history.append(months[year].select("asset_id", "month", "market_equity"))
        outcomes += stock_month_outcomes(study, months.get(year - 1), months[year], year)
        outcomes += run_checks("statements", pl.concat(statements.values()), study.quality, year)
        if year >= study.sample.first_year - 1:
            known[year] = characteristics_of_study(
                study, source, year,
                *history_of(study, year, months, statements, of_days if study.reads_days else None),
            )  # fmt: skip
            coverage.append(coverage_by_month(known[year].lazy(), study))
            both = pl.concat(frame.lazy() for frame in known.values())
            of_year = months[year].lazy()
            dropped.append(
                dropped_before_panel(both, of_year, study).filter(pl.col("month").dt.year() == year)
            )
            known.pop(year - 1, None)
        months.pop(year - study.history_years, None)
        statements.pop(year - study.history_years, None)
        of_days.pop(year - DAY_HISTORY_YEARS, None)
    for year, days in days_by_year(study, source):
        outcomes += run_checks("stock_days", days, study.quality, year)
    everything = pl.concat(history)
    outcomes += run_checks("history", everything, study.quality)
    outcomes += membership_outcomes(study, source, everything)
    outcomes += run_checks("coverage", pl.concat(coverage), study.quality)
    return Examination(merged(outcomes), survivorship_of(everything), pl.concat(coverage), pl.concat(dropped))


def stock_month_outcomes(
    study: Study, before: pl.DataFrame | None, months: pl.DataFrame, year: int
) -> tuple[Outcome, ...]:
    """What the checks find in ``months`` of ``year``, those of the year ``before`` beside them."""
    rows = months if before is None else pl.concat([before, months])
    return run_checks("stock_months", rows, study.quality, year)


def membership_outcomes(study: Study, source: RawTables, history: pl.DataFrame) -> tuple[Outcome, ...]:
    """Index membership over the sample; ``history`` has asset_id, month, market_equity."""
    intervals = source.index_members() if isinstance(source, PublicFiles) else None
    if intervals is None:
        return ()
    sample = history.filter(pl.col("month").dt.year() >= study.sample.first_year)
    return run_checks("membership", membership_by_month(sample, intervals), study.quality)


def raw_years_of(study: Study) -> range:
    """Years of raw tables that a study reads."""
    return range(study.sample.first_year - 1 - study.history_years, study.sample.last_year + 1)


def asset_label(study: Study) -> Callable[[int], str]:
    """How findings name an asset: by ticker where ids are tickers."""
    return ticker_of if isinstance(study.source, PublicFilesSource) else str


def days_by_year(study: Study, source: RawTables) -> Iterator[tuple[int, pl.DataFrame]]:
    """Each year's days, with the end of the year before: of the source, else of the study's daily prices."""
    daily = study.source.daily_prices if isinstance(study.source, PublicFilesSource) else None
    years = years_of_days(daily) if daily else raw_years_of(study)
    before = None
    for year in years:
        days = read_public_days(daily, year) if daily else source.stock_days(year)
        if days is None:
            return
        end = dt.date(year, 1, 1) - dt.timedelta(days=OVERLAP_DAYS)
        yield year, days if before is None else pl.concat([before.filter(pl.col("day") >= end), days])
        before = days


def dropped_by(source: RawTables, years: range) -> pl.DataFrame:
    """What the adapter left out in these years; adapters that leave nothing out have nothing to say."""
    if not isinstance(source, PublicFiles):
        return pl.DataFrame(schema=DROPPED)
    within = pl.col("month").dt.year().is_between(years.start, years.stop - 1)
    return dropped_by_source(source.left_out().filter(within))


def merged(outcomes: list[Outcome]) -> tuple[Outcome, ...]:
    """One outcome per check and table, in the order in which they came."""
    by_check: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        by_check.setdefault((outcome.check.name, outcome.check.table), []).append(outcome)
    return tuple(replace(group[0], found=pl.concat(o.found for o in group)) for group in by_check.values())
