"""The year that has begun, as far as its months are over: what the signal of a growing study reads of it.

A study without a last month knows whole years only; so do its windows and tests. Its signal goes on month by
month: data up to the newest month T that is over and that the files hold, models of the window before the
year, hence the forecast of T + 1. `study_as_of` says the same as a study whose last month is T.
"""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from seqpricing_core import clock
from seqpricing_core.characteristics.day_statistics import day_statistics, market_days
from seqpricing_core.characteristics.of_study import characteristics_of_study
from seqpricing_core.errors import InputError
from seqpricing_core.months import month_ends, year_of
from seqpricing_core.panel.build import build_panel
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios, compute_managed_portfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.sources.base import RawTables
from seqpricing_core.storage import frame_to_bytes
from seqpricing_core.study import Study

MONTH, CHARACTERISTICS, PANEL, MANAGED = (
    "newest_month.txt", "characteristics.arrow", "panel.arrow", "managed_portfolios.safetensors",
)  # fmt: skip
"""Members of the file."""
DELIVERED = 0.5


@dataclass(frozen=True)
class EarlierYears:
    """What the running year is made from besides its own raw tables."""

    characteristics: pl.DataFrame
    """Of the year before."""
    stock_months: pl.DataFrame | None = None
    """Of the ``study.history_years`` before; None where that is none."""
    statements: pl.DataFrame | None = None
    """The same."""
    day_statistics: pl.DataFrame | None = None
    """Of the `DAY_HISTORY_YEARS` before, where the study reads days."""
    market_days: pl.DataFrame | None = None
    """Of the year before, where the study reads days."""


@dataclass(frozen=True)
class MonthsSoFar:
    """The months of the running year up to T, each as a whole year would have them."""

    characteristics: pl.DataFrame
    panel: Panel
    managed: ManagedPortfolios


@dataclass(frozen=True)
class RunningYear:
    """The running year up to T; nothing in it depends on anything after T."""

    suffix: ClassVar[str] = "zip"

    newest_month: str
    """T; the December before the running year, where no month of it is there."""
    so_far: MonthsSoFar | None
    """None where no month of it is there."""

    @property
    def year(self) -> int:
        """The year that the month after T lies in."""
        return year_of(str(np.datetime64(self.newest_month, "M") + 1))

    def to_bytes(self) -> bytes:
        """A zip file of its parts, each as it is stored of a whole year; same content, same bytes."""
        members = {MONTH: self.newest_month.encode()}
        if self.so_far:
            members[CHARACTERISTICS] = frame_to_bytes(self.so_far.characteristics)
            members[PANEL] = self.so_far.panel.to_bytes()
            members[MANAGED] = self.so_far.managed.to_bytes()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        return buffer.getvalue()

    @classmethod
    def from_files(cls, paths: Sequence[Path]) -> RunningYear:
        """The newest of ``paths``."""
        with zipfile.ZipFile(paths[-1]) as archive:
            month = archive.read(MONTH).decode()
            if PANEL not in archive.namelist():
                return cls(month, None)
            return cls(
                month,
                MonthsSoFar(
                    pl.read_ipc(io.BytesIO(archive.read(CHARACTERISTICS))),
                    Panel.from_bytes(archive.read(PANEL)),
                    ManagedPortfolios.from_bytes(archive.read(MANAGED)),
                ),
            )


def study_as_of(study: Study, month: str) -> Study:
    """The study whose data end with ``month``; itself if it has a last month already."""
    if not study.grows:
        return study
    sample = study.sample.model_copy(update={"last_month": month})
    return study.model_copy(update={"sample": sample})


def newest_month(study: Study, source: RawTables) -> str:
    """T: the newest month that is over, in UTC, and that has stock returns and a risk-free rate.

    Of the running year; where no month of it is there, the last December of the study. A study with a last
    month has that one, whatever the calendar says.
    """
    if study.sample.last_month is not None:
        return study.sample.last_month
    last = study.sample.last_year
    returns, risk_free = months_of_files(source, last + 1)
    held = [month for month in returns & risk_free if month <= _end_of(month_over())]
    return f"{max(held):%Y-%m}" if held else f"{last}-12"


def months_of_files(source: RawTables, year: int) -> tuple[set[dt.date], set[dt.date]]:
    """Ends of the months of ``year`` that have stock returns, and of those that have a risk-free rate.

    A month with returns of less than `DELIVERED` of the stocks of the December before has not been delivered
    yet: some sources know who left before they know who stayed.
    """
    december = dt.date(year - 1, 12, 31)
    months = pl.concat([source.stock_months(y).select("month", "ret") for y in (year - 1, year)])
    counts = months.drop_nulls().group_by("month").len().filter(pl.col("month") >= december)
    stocks = dict(counts.iter_rows())
    enough = DELIVERED * stocks.pop(december, 0)
    returns = {month for month, count in stocks.items() if count >= enough}
    return returns, set(source.factors(year)["month"])


def month_over() -> str:
    """The newest month that is over."""
    return str(np.datetime64(clock.today(), "M") - 1)


def build_running_year(study: Study, source: RawTables, before: EarlierYears) -> RunningYear:
    """Raw -> characteristics -> panel -> managed portfolios of the running year, up to T.

    **Timing.** Every raw table is cut at the end of T before anything is made from it: days of the month that
    runs, statements that became public in it, and all that the files may hold beyond.

    Raises
    ------
    InputError
        As of a whole year: a month before T without stocks, or without a risk-free rate.
    """
    month, year = newest_month(study, source), study.sample.last_year + 1
    if year_of(month) < year:
        return RunningYear(month, None)
    end = _end_of(month)
    stock_months = source.stock_months(year).filter(pl.col("month") <= end)
    statements = source.statements(year).filter(pl.col("available_from") <= end)
    characteristics = characteristics_of_study(
        study, source, year, _after(before.stock_months, stock_months), _after(before.statements, statements),
        _statistics_of_days(source, year, end, before) if study.reads_days else None,
    ).filter(pl.col("month") <= end)  # fmt: skip
    panel = build_panel(
        pl.concat([before.characteristics, characteristics]), stock_months,
        source.factors(year).filter(pl.col("month") <= end), year, study_as_of(study, month),
    )  # fmt: skip
    managed = compute_managed_portfolios(panel, constant=study.panel.managed_portfolio_constant)
    return RunningYear(month, MonthsSoFar(characteristics, panel, managed))


def with_running_year(study: Study, running: RunningYear, whole: MonthsSoFar) -> tuple[Study, MonthsSoFar]:
    """The study as of T, and what its signal is made from: the whole years, and the year after them.

    Parameters
    ----------
    whole
        Panel and managed portfolios up to the last December, characteristics of the newest whole year.

    Raises
    ------
    InputError
        ``running`` is of another year than the one after the study's last.
    """
    if running.year != study.signal_year:
        raise InputError(
            f"the running year is that of {running.year}",
            where=f"signal, data up to {running.newest_month}",
            expected=f"that of {study.signal_year}: the last whole year is {study.sample.last_year}",
            remedy="materialize running_year again, or launch the job next_month",
        )
    if running.so_far is None:
        return study, whole
    return study_as_of(study, running.newest_month), MonthsSoFar(
        running.so_far.characteristics,
        Panel.concatenate([whole.panel, running.so_far.panel]),
        ManagedPortfolios.concatenate([whole.managed, running.so_far.managed]),
    )


def _end_of(month: str) -> dt.date:
    end: dt.date = month_ends(np.array([np.datetime64(month, "M")]))[0]
    return end


def _after(before: pl.DataFrame | None, rows: pl.DataFrame) -> pl.DataFrame:
    return rows if before is None else pl.concat([before, rows])


def _statistics_of_days(source: RawTables, year: int, end: dt.date, before: EarlierYears) -> pl.DataFrame:
    days, factor_days = source.stock_days(year), source.factor_days(year)
    assert days is not None
    days = days.filter(pl.col("day") <= end)
    market = market_days(days, None if factor_days is None else factor_days.filter(pl.col("day") <= end))
    return _after(before.day_statistics, day_statistics(days, _after(before.market_days, market), year))
