"""The characteristics that a study reads, computed or as its source delivers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from seqpricing_core.characteristics.compute import DAY_HISTORY_YEARS, compute_characteristics
from seqpricing_core.characteristics.day_statistics import day_statistics, market_days
from seqpricing_core.characteristics.ready import take_characteristics
from seqpricing_core.sources.base import RawTables
from seqpricing_core.sources.ready_characteristics import ReadyCharacteristics
from seqpricing_core.study import Study

Yearly = Mapping[int, pl.DataFrame]


def characteristics_of_study(
    study: Study,
    source: RawTables,
    year: int,
    stock_months: pl.DataFrame,
    statements: pl.DataFrame,
    statistics: pl.DataFrame | None,
) -> pl.DataFrame:
    """Known at the end of each month of ``year``; see `compute_characteristics`, `take_characteristics`.

    Parameters
    ----------
    stock_months, statements
        Canonical tables of ``year`` and the ``study.history_years`` before it.
    statistics
        `statistics_of_days` of ``year`` and the `DAY_HISTORY_YEARS` before it, where the study reads days.
    """
    if isinstance(source, ReadyCharacteristics):
        ready = source.characteristics(year)
        return take_characteristics(ready, stock_months, year, study.computed_characteristics)
    return compute_characteristics(
        stock_months, statements, year, study.computed_characteristics, statistics, study.inputs
    )


def history_of(
    study: Study, year: int, stock_months: Yearly, statements: Yearly, of_days: Yearly | None
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame | None]:
    """The years that `characteristics_of_study` of ``year`` reads, of tables that may hold more."""
    history = range(year - study.history_years, year + 1)
    with_days = range(year - DAY_HISTORY_YEARS, year + 1)
    return (
        pl.concat(stock_months[y] for y in history),
        pl.concat(statements[y] for y in history),
        pl.concat(of_days[y] for y in with_days) if of_days else None,
    )


def statistics_of_days(source: RawTables, years: range) -> Iterator[tuple[int, pl.DataFrame]]:
    """What the months of each year need to remember of their days; one year of days is held at a time."""
    before: pl.DataFrame | None = None
    for year in years:
        days = source.stock_days(year)
        assert days is not None
        market = market_days(days, source.factor_days(year))
        yield year, day_statistics(days, market if before is None else pl.concat([before, market]), year)
        before = market
