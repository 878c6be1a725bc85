"""Years as partitions, and which years each step reads.

Lineage is the proof: models of test year y depend on exactly the panel years of their window, all
before y. A study without a last month grows by the calendar: a new year is a new partition, not a
code change.
"""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from seqpricing_core.characteristics.compute import DAY_HISTORY_YEARS
from seqpricing_core.study import Study

LONGEST_CHAIN = 90
"""Windows before one that a warm start depends on; Dagster looks for stale ones among at most 100."""


@dataclass(frozen=True)
class Years:
    """Partitions of a study and the mappings between them."""

    raw: dg.TimeWindowPartitionsDefinition
    characteristics: dg.TimeWindowPartitionsDefinition
    panel: dg.TimeWindowPartitionsDefinition
    test: dg.TimeWindowPartitionsDefinition
    models: dg.TimeWindowPartitionsDefinition
    """Test years, and the year of the signal where it lies beyond them."""
    same_year: dg.TimeWindowPartitionMapping
    history: dg.TimeWindowPartitionMapping
    """Characteristics of y read the raw years before it that they need: `Study.history_years`."""
    day_history: dg.TimeWindowPartitionMapping
    """They read the monthly statistics of days of y - 3 .. y."""
    year_before: dg.TimeWindowPartitionMapping
    """January's returns meet December's characteristics."""
    market_before: dg.TimeWindowPartitionMapping
    """January's days meet the market's last days of the year before, where the raw tables hold them."""
    estimation: dg.TimeWindowPartitionMapping
    """Models of test year y read the years of their window, all before y."""
    windows_before: dg.TimeWindowPartitionMapping
    """A warm start reads the models of the window before, which hold what all earlier ones were; the first
    window has none. All are named: Dagster calls stale what reads a changed partition, and no further."""
    lookback: dg.TimeWindowPartitionMapping
    """Factors of test year y read x of y and of the look-back before it."""
    window_and_test: dg.TimeWindowPartitionMapping
    """The years of the window and the test year after them: a check that trains and tests at once."""
    newest: dg.LastPartitionMapping
    """The signal reads the newest year of the data, and the models of the newest window."""
    newest_lookback: dg.SpecificPartitionsPartitionMapping
    """It reads x of the newest year and of the look-back before the signal's."""
    newest_history: dg.SpecificPartitionsPartitionMapping
    """Characteristics of the running year read the raw years before it that they need."""
    newest_day_history: dg.SpecificPartitionsPartitionMapping
    """They read the monthly statistics of days of the years before it."""


def years_of(study: Study) -> Years:
    """The partitions of ``study``."""
    last = None if study.grows else study.sample.last_year
    first = study.sample.first_year
    return Years(
        raw=_yearly(first - 1 - study.history_years, last),
        characteristics=_yearly(first - 1, last),
        panel=_yearly(first, last),
        test=_yearly(study.first_test_year, last),
        models=_yearly(study.first_test_year, study.signal_year if last else None, years_ahead=1),
        same_year=dg.TimeWindowPartitionMapping(),
        history=dg.TimeWindowPartitionMapping(start_offset=-study.history_years),
        day_history=dg.TimeWindowPartitionMapping(start_offset=-DAY_HISTORY_YEARS),
        year_before=dg.TimeWindowPartitionMapping(start_offset=-1),
        market_before=dg.TimeWindowPartitionMapping(
            start_offset=-1, allow_nonexistent_upstream_partitions=True
        ),
        estimation=dg.TimeWindowPartitionMapping(start_offset=-study.windows.estimation_years, end_offset=-1),
        windows_before=dg.TimeWindowPartitionMapping(
            start_offset=-LONGEST_CHAIN, end_offset=-1, allow_nonexistent_upstream_partitions=True
        ),
        lookback=dg.TimeWindowPartitionMapping(start_offset=-study.lookback_years),
        window_and_test=dg.TimeWindowPartitionMapping(start_offset=-study.windows.estimation_years),
        newest=dg.LastPartitionMapping(),
        newest_lookback=dg.SpecificPartitionsPartitionMapping(_newest_lookback(study)),
        newest_history=_newest_years(study, study.history_years),
        newest_day_history=_newest_years(study, DAY_HISTORY_YEARS),
    )


def _newest_lookback(study: Study) -> list[str]:
    newest = study.sample.last_year
    first = min(newest, study.signal_year - study.lookback_years)
    return [str(year) for year in range(first, newest + 1)]


def _newest_years(study: Study, years: int) -> dg.SpecificPartitionsPartitionMapping:
    stop = study.sample.last_year + 1
    return dg.SpecificPartitionsPartitionMapping([str(year) for year in range(stop - years, stop)])


def _yearly(first: int, last: int | None, years_ahead: int = 0) -> dg.TimeWindowPartitionsDefinition:
    """Years up to ``last``; without it up to the last one that is over, and ``years_ahead`` more."""
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule="0 0 1 1 *",
        start=str(first),
        end=str(last + 1) if last is not None else None,
        fmt="%Y",
        end_offset=0 if last is not None else years_ahead,
    )
