"""The doctor on the real files: every decimal slip by name, and nothing true called a slip."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from seqpricing_core.study import load_study
from seqpricing_dagster.cli import app

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
STUDY = ROOT / "studies" / "us_public.yaml"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="no shared/data beside the checkout"),
]

NAMED = ("AVB", "BXP", "SLG", "DWDP", "EIX", "PXD", "FITB", "DDS", "NUE", "SANM", "HST", "DE", "LII")
"""Of SOURCES.md, section A: tickers with daily moves beyond 100% that are mostly decimal slips."""

SLIPS = {
    ("AVB", "2010-09-16"), ("AVB", "2012-12-21"), ("BXP", "2007-05-02"), ("DDS", "2008-04-16"),
    ("DE", "1994-02-11"), ("DWDP", "1991-05-28"), ("DWDP", "1991-07-01"), ("DWDP", "1991-08-12"),
    ("DWDP", "1991-08-30"), ("EIX", "2009-09-01"), ("EIX", "2012-03-08"), ("EIX", "2012-03-22"),
    ("FITB", "1999-08-25"), ("FITB", "2002-07-02"), ("HST", "2009-11-12"), ("LII", "2006-03-17"),
    ("NUE", "2007-01-16"), ("PXD", "2006-03-16"), ("PXD", "2013-08-05"), ("SLG", "2014-03-04"),
}  # fmt: skip
"""Read off the prices around every daily move beyond 100%, one by one."""

OTHER_LEVEL = {("SANM", "2009-09-14"), ("MKC", "1999-05-26"), ("RF", "2001-05-15")}
"""Sanmina's reverse split of August 2009, after a month that the file lacks; first rows at half the price."""

TRUE = {
    ("GGP", "2008-11-24"), ("HIG", "2008-12-05"), ("TA", "2011-02-01"), ("WMB", "2002-07-29"),
    ("WTW", "2015-10-19"),
}  # fmt: skip
"""Doubled within a day, in the crisis or on news, on many times the usual volume or range."""


@pytest.fixture(scope="module")
def study():
    return load_study(STUDY)


@pytest.fixture(scope="module")
def doctor(tmp_path_factory):
    """What the command prints, and the findings it writes."""
    outputs = tmp_path_factory.mktemp("outputs")
    result = CliRunner().invoke(app, ["doctor", str(STUDY), "--outputs", str(outputs)])
    assert result.exit_code == 0, result.output
    findings = pl.read_csv(outputs / "us_public" / "doctor" / "findings.csv", try_parse_dates=True)
    return result.output, findings


@pytest.fixture(scope="module")
def days(study):
    """The daily file, read plainly."""
    columns = ["ticker", "Date", "High", "Low", "Close"]
    table = pl.read_parquet(study.source.daily_prices, columns=columns)
    return table.with_columns(pl.col("ticker").cast(pl.String).str.to_uppercase()).sort("ticker", "Date")


def named(findings, check, table="stock_days"):
    """(ticker, date) of a check's findings."""
    rows = findings.filter(pl.col("check") == check, pl.col("table") == table)
    return set(rows.select("asset", pl.col("at").cast(pl.String)).iter_rows())


def test_the_command_names_every_slip(doctor):
    output, _ = doctor
    shown = {line.split(" in ")[0].split()[-1]: line for line in output.splitlines() if "stock_days" in line}
    for ticker in NAMED:
        check = "level_breaks" if ticker == "SANM" else "decimal_slips"
        assert f" {ticker} " in shown[check], ticker


def test_what_it_calls_a_slip_is_one_and_nothing_else(doctor):
    """20 of 20 slips, no other; of the 8 further moves beyond 100%, 3 are new levels and 5 are true."""
    _, findings = doctor
    assert named(findings, "decimal_slips") == SLIPS
    assert {(t, day) for t, day in named(findings, "level_breaks") if day != "2007-10-01"} == OTHER_LEVEL
    beyond = named(findings, "returns_beyond_bounds")
    assert beyond >= TRUE
    assert not beyond & (SLIPS | OTHER_LEVEL)


def test_every_move_beyond_100_percent_is_reported_once(days):
    """By a plain count: 28 closes beyond +100%, each the day after a slip, a new level or true."""
    shifted = pl.col("Close", "Date").shift(1).over("ticker").name.suffix("_before")
    moved = days.with_columns(shifted).filter(pl.col("Close") / pl.col("Close_before") > 2)
    assert len(moved) == 28
    after_slips = moved.filter(
        ~pl.concat_str("ticker", pl.lit(" "), pl.col("Date").cast(pl.String)).is_in(
            [f"{ticker} {day}" for ticker, day in OTHER_LEVEL | TRUE]
        )
    )
    slipped = {(ticker, str(day)) for ticker, day in after_slips.select("ticker", "Date_before").iter_rows()}
    assert slipped == SLIPS


def test_slips_contradict_their_own_day(days):
    """Evidence that the check does not use: a slipped close is far from the middle of its own day's range."""
    for ticker, day in sorted(SLIPS):
        row = days.filter(pl.col("ticker") == ticker, pl.col("Date") == dt.date.fromisoformat(day))
        high, low, close = row.select("High", "Low", "Close").row(0)
        assert close < 0.2 * max(high, low), (ticker, day)


def test_the_monthly_file_shows_the_same_slips(doctor):
    """As far as its tickers have statements, and the sample's history reaches."""
    _, findings = doctor
    months = {(t, day[:7]) for t, day in named(findings, "decimal_slips", "stock_months")}
    with_statements = {"BXP", "DDS", "DE", "EIX", "FITB", "HST", "NUE"}
    assert months == {(ticker, day[:7]) for ticker, day in SLIPS if ticker in with_statements}


def test_the_crisis_is_no_slip(doctor):
    """Citigroup, AIG, Ford, General Growth, Hartford, Genworth, E*Trade: reported, if at all, as returns."""
    _, findings = doctor
    crisis = findings.filter(pl.col("at").is_between(dt.date(2008, 9, 1), dt.date(2009, 6, 30)))
    assert not len(crisis.filter(pl.col("check").is_in(["decimal_slips", "level_breaks"])))
    assert len(crisis.filter(pl.col("check") == "returns_beyond_bounds")) >= 8


def test_survivorship_is_said(doctor):
    """SOURCES.md: almost no dead firm is in the price file; 0 of the 439 with statements end."""
    output, findings = doctor
    (said,) = findings.filter(pl.col("check") == "survivorship")["expected"]
    assert "0 of 439" in said
    assert "survivorship in history" in output
    members = findings.filter(pl.col("check") == "index_membership")
    assert members["value"].max() < 0.8  # of the index members of each December
