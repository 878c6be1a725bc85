"""A growing study's signal of a month is that of a study which ends there, whatever follows in the files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqpricing_core import clock
from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.characteristics.day_statistics import market_days
from seqpricing_core.characteristics.of_study import statistics_of_days
from seqpricing_core.fitted_store import FittedStore
from seqpricing_core.models.family import FittedFamily
from seqpricing_core.panel.managed_portfolios import ManagedPortfolios
from seqpricing_core.panel.panel import Panel
from seqpricing_core.pipeline import StudyData, estimation_samples, fit_window, prepare_data, run_signal
from seqpricing_core.running_year import (
    EarlierYears,
    MonthsSoFar,
    RunningYear,
    build_running_year,
    newest_month,
    study_as_of,
    with_running_year,
)
from seqpricing_core.signal import next_month_signal
from seqpricing_core.sources import open_source, prepare_source
from seqpricing_core.storage import frame_to_bytes
from seqpricing_core.study import Study

GROWING = {"first_month": "2002-01"}
SECTIONS = {
    "characteristics": ["mom_1", "mom_12", "mvel1", "retvol", "bm", "ep", "agr"],
    "windows": {"train_years": 1, "validation_years": 1},
    "models": {"ipca": {}, "gru": {"lookback": 6, "hidden": 4, "batch": 200}},
    "training": {"max_epochs": 2, "patience": 2, "seeds": [1]},
}
TODAY = {"2005-01": "2005-02-01", "2005-06": "2005-07-31", "2005-11": "2005-12-03"}
"""T to a day on which it is the newest month that is over."""


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda day: monkeypatch.setattr(clock, "today", lambda: dt.date.fromisoformat(day))


def last_day(month: str) -> dt.date:
    return (np.datetime64(month, "M") + 1).astype("datetime64[D]").astype(dt.date) - dt.timedelta(days=1)


DATES = {"stock_months": "month", "statements": "available_from", "factors": "month"}


def until(tables: dict[str, pl.DataFrame], end: str) -> dict[str, pl.DataFrame]:
    """The files as they lay there at the end of this month."""
    return {name: tables[name].filter(pl.col(date) <= last_day(end)) for name, date in DATES.items()}


def with_another_future(tables: dict[str, pl.DataFrame], end: str) -> dict[str, pl.DataFrame]:
    """Every number after this month is another, stocks are new, and statements are restated after it."""
    random, day, changed = np.random.default_rng(0), last_day(end), {}
    for name, date in DATES.items():
        table = tables[name]
        later = table.filter(pl.col(date) > day)
        floats = [column for column, kind in table.schema.items() if kind == pl.Float64]
        other = later.with_columns(
            pl.col(column) * pl.Series(random.uniform(0.3, 0.9, len(later))) for column in floats
        )
        parts = [table.filter(pl.col(date) <= day), other]
        if name != "factors":
            parts.append(other.with_columns(pl.col("asset_id") + 10**6))
        if name == "statements":
            known = table.filter(pl.col(date) <= day, pl.col(date) > day - dt.timedelta(days=400))
            restated = known.with_columns(
                pl.lit(day + dt.timedelta(days=1)).alias(date), *(pl.col(column) * 3 for column in floats)
            )
            parts.append(restated.unique(["asset_id", "period_end"], maintain_order=True))
        changed[name] = pl.concat(parts)
        assert len(changed[name]) > len(table) or name == "factors"
    return changed


@dataclass(frozen=True)
class World:
    """The years up to 2004 as they are stored, and the models of the window before 2005."""

    make: Callable[[dict[str, pl.DataFrame], Path], Study]
    before: EarlierYears
    data: StudyData
    fitted: dict[str, FittedFamily]
    store: FittedStore

    def running(self, study: Study) -> RunningYear:
        return build_running_year(study, open_source(study, Path()), self.before)

    def signal(self, study: Study, running: RunningYear) -> pl.DataFrame:
        years = 2005 - study.lookback_years, 2004
        whole = MonthsSoFar(
            self.data.characteristics[2004], self.data.panel(*years), self.data.managed_portfolios(*years)
        )
        ended, data = with_running_year(study, running, whole)
        families = [self.fitted[family] for family in study.families]
        return next_month_signal(ended, families, data.panel, data.managed, data.characteristics)


@pytest.fixture(scope="module")
def world(small, make_study, write_tables, tmp_path_factory) -> World:
    def make(tables: dict[str, pl.DataFrame], folder: Path, **sample: str) -> Study:
        source = write_tables(folder, {**small.tables, **tables})
        return make_study(**SECTIONS, source=source, sample=GROWING | sample)

    # Files that end with 2004: nothing of the running year was there when these years were stored.
    folder = tmp_path_factory.mktemp("whole")
    study = make(until(small.tables, "2004-12"), folder, last_month="2004-12")
    data = prepare_data(study, folder)
    store = FittedStore(tmp_path_factory.mktemp("fitted"))
    fitted: dict[str, FittedFamily] = {}
    for year in study.model_years:
        fitted = fit_window(study, estimation_samples(study, data, year), study.families, fitted, store)
    history = range(2005 - study.history_years, 2005)
    before = EarlierYears(
        data.characteristics[2004],
        pl.concat(small.stock_months[year] for year in history),
        pl.concat(open_source(study, folder).statements(year) for year in history),
    )
    return World(make, before, data, fitted, store)


@pytest.mark.parametrize("end", TODAY)
def test_another_future_changes_nothing(small, world, tmp_path, pretend, end):
    """Files that end with T, that go on, and that go on otherwise: bit for bit the same year and signal."""
    made = []
    futures = (until(small.tables, end), small.tables, with_another_future(small.tables, end))
    for number, tables in enumerate(futures):
        study = world.make(tables, tmp_path / str(number))
        pretend(TODAY[end])
        running = world.running(study)
        made.append((running.to_bytes(), frame_to_bytes(world.signal(study, running))))
    assert made[0] == made[1] == made[2]
    assert running.newest_month == end
    months = running.so_far.panel.months.astype(str).tolist()
    assert months == [f"2005-{number:02d}" for number in range(1, int(end[5:]) + 1)]
    assert running.so_far.characteristics["month"].max() == last_day(end)


class TestOracle:
    """`run_signal` of the study whose last month is T, from raw files."""

    @pytest.mark.parametrize("end", ["2005-06"])
    def test_middle_of_a_year(self, small, world, tmp_path, pretend, end):
        growing = world.make({}, tmp_path / "growing")
        ended = world.make({}, tmp_path / "ended", last_month=end)
        expected = frame_to_bytes(run_signal(ended, tmp_path, world.store))
        pretend(TODAY[end])
        assert frame_to_bytes(run_signal(growing, tmp_path, world.store)) == expected
        signal = world.signal(growing, world.running(growing))
        assert frame_to_bytes(signal) == expected
        assert signal["month"].unique().to_list() == [last_day("2005-07")]
        assert signal["family"].unique().sort().to_list() == ["gru", "ipca"]

    @pytest.mark.parametrize("day", ["2006-01-01", "2006-01-03", "2006-01-31"])
    def test_december_is_a_whole_year(self, world, tmp_path, pretend, day):
        """From 1 January on the year that is over is whole; there is no month of the new one."""
        growing = world.make({}, tmp_path / "growing")
        pretend(day)
        assert growing.sample.last_year == 2005
        running = world.running(growing)
        assert (running.newest_month, running.year, running.so_far) == ("2005-12", 2006, None)
        if day == "2006-01-03":
            ended = world.make({}, tmp_path / "ended", last_month="2005-12")
            expected = run_signal(ended, tmp_path, world.store)
            assert frame_to_bytes(run_signal(growing, tmp_path, world.store)) == frame_to_bytes(expected)
            assert expected["month"].unique().to_list() == [last_day("2006-01")]

    def test_a_study_with_a_last_month_is_what_it_was(self, world, tmp_path, pretend):
        ended = world.make({}, tmp_path, last_month="2004-12")
        pretend("2005-07-31")
        assert study_as_of(ended, "2005-06") is ended
        assert newest_month(ended, open_source(ended, tmp_path)) == "2004-12"


class TestNewestMonth:
    @pytest.fixture(autouse=True)
    def _today(self, pretend):
        pretend("2005-07-03")

    def test_a_month_without_risk_free_rate_is_not_there(self, small, world, tmp_path):
        """Factors are published later than prices: T waits for both."""
        study = world.make({"factors": until(small.tables, "2005-04")["factors"]}, tmp_path)
        assert newest_month(study, open_source(study, tmp_path)) == "2005-04"

    def test_a_month_without_returns_is_not_there(self, small, world, tmp_path):
        returns = pl.when(pl.col("month") <= last_day("2005-03")).then(pl.col("ret")).alias("ret")
        study = world.make({"stock_months": small.tables["stock_months"].with_columns(returns)}, tmp_path)
        assert newest_month(study, open_source(study, tmp_path)) == "2005-03"

    def test_a_month_that_only_leavers_have_is_not_there(self, small, world, tmp_path):
        """Delisting returns come first: they are no market."""
        last = pl.col("month") == last_day("2005-06")
        few = pl.when(~last | (pl.col("asset_id") % 10 == 0)).then(pl.col("ret")).alias("ret")
        months = small.tables["stock_months"].with_columns(few)
        assert 0 < months.filter(last)["ret"].count() < 20
        study = world.make({"stock_months": months}, tmp_path)
        assert newest_month(study, open_source(study, tmp_path)) == "2005-05"

    def test_a_missing_month_in_between_is_refused(self, small, world, tmp_path, refuses):
        months = small.tables["stock_months"].filter(pl.col("month") != last_day("2005-03"))
        study = world.make({"stock_months": months}, tmp_path)
        refuses(lambda: world.running(study), "2005-03")


class TestFile:
    def test_reads_back(self, world, tmp_path, pretend):
        pretend("2005-07-03")
        file = tmp_path / "running_year.zip"
        for day in ("2005-07-03", "2006-01-03"):
            study = world.make({}, tmp_path / day)
            pretend(day)
            running = world.running(study)
            file.write_bytes(running.to_bytes())
            again = RunningYear.from_files([file])
            assert again.to_bytes() == running.to_bytes()
            assert again.newest_month == running.newest_month
        assert again.so_far is None

    def test_of_another_year_is_refused(self, world, tmp_path, pretend, refuses):
        """Made in December, read in January: the year it is of has become a whole one."""
        study = world.make({}, tmp_path / "study")
        pretend("2005-12-20")
        running = world.running(study)
        pretend("2006-01-02")
        whole = MonthsSoFar(pl.DataFrame(), Panel, ManagedPortfolios)
        refuses(
            lambda: with_running_year(study, running, whole), "that of 2005", "that of 2006", "running_year"
        )


def test_days_are_cut_too(random_market, small, make_study, tmp_path, pretend):
    """Characteristics made from days: those of the whole year, whatever days there are after T."""
    years, end = range(1999, 2003), dt.date(2002, 6, 30)
    tables = random_market.random_tables(25, years, seed=4) | {"factors": small.tables["factors"]}
    acronyms = ["mvel1", "mom_12", "beta", "pricedelay", "rvar_ff3", "baspread", "ill"]

    def study_of(files: dict[str, pl.DataFrame], folder: Path) -> Study:
        folder.mkdir()
        for name, table in files.items():
            table.write_parquet(folder / f"{name}.parquet")
        source = {name: str(folder / f"{name}.parquet") for name in files}
        return make_study(
            **SECTIONS | {"characteristics": acronyms, "models": {"ipca": {}}},
            source={"kind": "canonical_files", **source}, sample={"first_month": "1999-01"},
        )  # fmt: skip

    pretend("2002-07-03")
    study = study_of(tables, tmp_path / "whole")
    source = open_source(study, tmp_path)
    months, statements = (
        [getattr(source, name)(year) for year in years] for name in ("stock_months", "statements")
    )
    of_days = [table for _, table in statistics_of_days(source, years)]
    of_year = {
        year: compute_characteristics(
            pl.concat(months), pl.concat(statements), year, acronyms, pl.concat(of_days), study.inputs
        )
        for year in (2001, 2002)
    }
    before = EarlierYears(
        of_year[2001], pl.concat(months[:-1]), pl.concat(statements[:-1]), pl.concat(of_days[:-1]),
        market_days(source.stock_days(2001), source.factor_days(2001)),
    )  # fmt: skip
    running = build_running_year(study, source, before)
    assert running.so_far.characteristics.equals(of_year[2002].filter(pl.col("month") <= end))
    assert running.so_far.characteristics["beta"].count() > 50
    later = pl.col("day") > end
    another = pl.when(later).then(0.01).otherwise("ret").alias("ret")
    futures = {
        "none": {name: tables[name].filter(~later) for name in ("stock_days", "factor_days")},
        "another": {"stock_days": tables["stock_days"].with_columns(another)},
    }
    for name, future in futures.items():
        other = study_of(tables | future, tmp_path / name)
        made = build_running_year(other, open_source(other, tmp_path), before)
        assert made.to_bytes() == running.to_bytes()


def test_characteristics_that_the_source_delivers(small, make_study, tmp_path, pretend):
    """Rows after T in the file change no byte; the panel is that of the study which ends with T."""
    names, end = ["mom_1", "mom_12", "retvol"], last_day("2005-07")
    known = pl.concat(small.characteristics[year] for year in range(2000, 2006))
    columns = {name: name for name in ("asset_id", "month", "ret", "market_equity")}
    table = known.select("asset_id", "month", *names).join(
        small.tables["stock_months"].select(*columns), on=["asset_id", "month"], how="left"
    )
    small.tables["factors"].write_parquet(tmp_path / "factors.parquet")
    later = pl.col("month") > end
    other = (pl.when(later).then(pl.col(name) * 0.3).otherwise(name).alias(name) for name in ("ret", *names))
    made = []
    for name, rows in {"on": table, "cut": table.filter(~later), "other": table.with_columns(other)}.items():
        rows.write_parquet(tmp_path / f"{name}.parquet")
        files = {"panel": str(tmp_path / f"{name}.parquet"), "factors": str(tmp_path / "factors.parquet")}
        read = {"columns": columns, "characteristics": {name: name for name in names}, "month": "known"}
        sections = SECTIONS | {
            "source": {"kind": "mapped_files", **files, **read},
            "sample": {"first_month": "2002-01"},
            "characteristics": names,
            "universe": {"require": []},
            "models": {"ipca": {}},
        }
        pretend("2005-08-03")
        growing = make_study(**sections)
        ended = make_study(**sections | {"sample": {"first_month": "2002-01", "last_month": "2005-07"}})
        whole = prepare_data(ended, tmp_path / name)
        source, history = prepare_source(growing, tmp_path / name), range(2005 - growing.history_years, 2005)
        before = EarlierYears(
            whole.characteristics[2004], *(pl.concat(read(year) for year in history)
                                           for read in (source.stock_months, source.statements)),
        )  # fmt: skip
        running = build_running_year(growing, source, before)
        assert running.so_far.panel.to_bytes() == whole.panels[2005].to_bytes()
        assert running.so_far.managed.to_bytes() == whole.managed[2005].to_bytes()
        made.append(running.to_bytes())
    assert made[0] == made[1] == made[2]
