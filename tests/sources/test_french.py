"""Kenneth French's files as published, against the shared real ones written back in that form."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.sources.french import FactorFiles, factor_table, read_portfolios, read_sections

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"

PORTFOLIOS = """This file was created by CMPT_ME_BEME_RETS using the 202602 CRSP database.
It contains value- and equal-weighted returns for portfolios formed on ME and BEME.
The portfolios are constructed at the end of June.

Missing data are indicated by -99.99 or -999.


  Average Value Weighted Returns -- Monthly
,SMALL LoBM,ME1 BM2,BIG HiBM
192607,  5.8276, -99.99,  0.5623
192608, -2.0206, -8.0282, -999


  Average Value Weighted Returns -- Annual
,SMALL LoBM,ME1 BM2,BIG HiBM
1927, 12.0, 13.0, 14.0


  Number of Firms in Portfolios
,SMALL LoBM,ME1 BM2,BIG HiBM
192607, 9, 10, 11
192608, 9, 10, 12

Copyright 2026 Eugene F. Fama and Kenneth R. French
"""


def zipped(file: Path, text: str, member: str = "table.CSV") -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, text)
    return file


@pytest.mark.parametrize("packed", [False, True])
def test_tables_of_a_file(tmp_path: Path, *, packed: bool) -> None:
    """Every table but the annual one; returns decimal, counts as they are, codes missing, footer ignored."""
    file = tmp_path / ("file.zip" if packed else "file.csv")
    zipped(file, PORTFOLIOS) if packed else file.write_text(PORTFOLIOS)
    titles = [section.title for section in read_sections(file)]
    assert titles == ["Average Value Weighted Returns -- Monthly", "Number of Firms in Portfolios"]
    returns = read_portfolios(file)
    assert returns["day"].to_list() == [dt.date(1926, 7, 31), dt.date(1926, 8, 31)]
    assert returns["SMALL LoBM"].to_list() == pytest.approx([0.058276, -0.020206])
    assert returns["ME1 BM2"].to_list() == [None, pytest.approx(-0.080282)]
    assert returns["BIG HiBM"].to_list() == [pytest.approx(0.005623), None]
    assert read_portfolios(file, "number of firms")["BIG HiBM"].to_list() == [11.0, 12.0]


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not beside the checkout")
def test_published_form_of_the_real_factors(tmp_path: Path) -> None:
    """Three factors since 1926, written as the library prints them, equal the decimal file of another
    maker.
    """
    real = pl.read_parquet(REAL / "ff3_monthly_1926_2017.parquet")
    rows = "\n".join(
        f"{date[:7].replace('/', '')},{a:8.2f},{b:8.2f},{c:8.2f},{d:8.2f}"
        for date, a, b, c, d in real.iter_rows()
    )
    header = ",Mkt-RF,SMB,HML,RF"
    text = f"Created from CRSP.\n\n{header}\n{rows}\n\n Annual Factors\n{header}\n1927,1,2,3,4\n"
    file = zipped(tmp_path / "F-F_CSV.zip", text)
    ours = factor_table(file)
    assert len(ours) == len(real) == 1098
    other = FactorFiles(REAL / "ff5_mom_monthly_1963_2026.parquet").months(1990)
    both = FactorFiles(file).months(1990).join(other, on="month", suffix="_other")
    assert len(both) == 12
    assert (both["market_excess"] - both["market_excess_other"]).abs().max() < 0.004  # vintages differ
    days = pl.read_parquet(REAL / "ff3_daily_1926_2017.parquet")
    lines = "\n".join(f"{d.replace('/', '')},{a},{b},{c},{e}" for d, a, b, c, e in days.tail(600).iter_rows())
    daily = tmp_path / "daily.CSV"
    daily.write_text(f"Created.\n\n,Mkt-RF,SMB,HML,RF\n{lines}\n\nCopyright\n")
    found = FactorFiles(file, daily).days(2017)
    assert found is not None
    assert found.columns == ["day", "risk_free", "market_excess", "size", "value"]
    assert found["market_excess"].to_list() == pytest.approx((days.tail(251)["Mkt-RF"] / 100).to_list())


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not beside the checkout")
def test_real_portfolios_in_their_published_form(tmp_path: Path) -> None:
    """The 25 portfolios of 202602, printed as published, come back, -99.99 as missing."""
    long = pl.read_parquet(REAL / "french_portfolios_202602.parquet").filter(
        pl.col("file") == "25_Portfolios_5x5"
    )
    parts = ["Preamble with 25 portfolios.\n"]
    for section in long["section"].unique(maintain_order=True):
        wide = long.filter(pl.col("section") == section).pivot(on="portfolio", index="date", values="value")
        parts.append(
            f"\n\n  {section}\n,{','.join(wide.columns[1:])}\n{wide.write_csv(include_header=False)}"
        )
    file = tmp_path / "25_Portfolios_5x5.CSV"
    file.write_text("".join(parts) + "\nCopyright 2026\n")
    found = read_portfolios(file)
    theirs = long.filter(pl.col("section") == "Average Value Weighted Returns -- Monthly")
    assert found.shape == (1196, 26)
    missing = theirs["value"].is_between(-99.991, -99.989).sum()
    assert sum(found.null_count().row(0)) == missing
    value = theirs.filter(pl.col("portfolio") == "BIG HiBM")["value"]
    assert found["BIG HiBM"].drop_nulls().to_list() == pytest.approx(
        (value.filter(value > -99) / 100).to_list()
    )
    firms = read_portfolios(file, "Number of Firms")
    assert firms.drop("day").max_horizontal().max() > 100


def test_factor_days_and_wrds_names(tmp_path: Path) -> None:
    file = tmp_path / "ff.csv"
    file.write_text("date,dateff,mktrf,smb,hml,rf\n1990-01-01,1990-01-31,-0.0785,0.01,0.02,0.0057\n")
    months = FactorFiles(file).months(1990)
    assert months.row(0) == (dt.date(1990, 1, 31), 0.0057, -0.0785)


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("<!DOCTYPE html><html>Sign in</html>", "web page"),
        ("Mkt-RF SMB HML RF\n192607 2.96 -2.56 -2.43 0.22\n", "no column of dates"),
        (PORTFOLIOS[: PORTFOLIOS.index("-2.0206") + 9], "cells under a header"),
        (PORTFOLIOS.replace("-2.0206", "n/a"), "could not convert"),
        (PORTFOLIOS.replace("192608, -2", "192607, -2"), "duplicate (day)"),
        (PORTFOLIOS.replace("192608, -2", "192613, -2"), "192613"),
        (PORTFOLIOS[: PORTFOLIOS.index(", 12\n\nCopy") + 3], "middle of a row"),
    ],
)
def test_bad_files(tmp_path: Path, refuses: Callable[..., InputError], text: str, mention: str) -> None:
    file = tmp_path / "file.csv"
    file.write_text(text)
    read = (lambda: factor_table(file)) if "RF" in text or "html" in text else (lambda: read_portfolios(file))
    refuses(read, mention, "file.csv")


def test_other_encodings_and_damaged_zips(tmp_path: Path, refuses: Callable[..., InputError]) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_text(PORTFOLIOS, encoding="utf-16")
    latin = tmp_path / "latin.csv"
    latin.write_bytes(PORTFOLIOS.replace("Copyright", "\xa9").encode("latin-1"))
    for file in (wide, latin):
        refuses(lambda file=file: read_portfolios(file), "not UTF-8", file.name)
    marked = tmp_path / "marked.csv"
    marked.write_text(PORTFOLIOS, encoding="utf-8-sig")
    assert len(read_portfolios(marked)) == 2
    whole = zipped(tmp_path / "whole.zip", PORTFOLIOS)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-40])
    refuses(lambda: read_portfolios(cut), "cut.zip", "damaged")
    broken = bytearray(whole.read_bytes())
    broken[60] ^= 0xFF
    torn = tmp_path / "torn.zip"
    torn.write_bytes(bytes(broken))
    refuses(lambda: read_portfolios(torn), "torn.zip", "damaged")
    two = tmp_path / "two.zip"
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", PORTFOLIOS)
        archive.writestr("b.csv", PORTFOLIOS)
    refuses(lambda: read_portfolios(two), "2 tables", "a.csv, b.csv")


def test_percent_where_decimal_was_promised(tmp_path: Path, refuses: Callable[..., InputError]) -> None:
    months = pl.date_range(dt.date(1990, 1, 1), dt.date(2009, 12, 1), "1mo", eager=True).dt.month_end()
    size = [4.0 if month.year < 2000 else 0.04 for month in months]
    file = tmp_path / "factors.parquet"
    pl.DataFrame({"date": months, "Mkt-RF": size, "RF": 0.001}).write_parquet(file)
    refuses(lambda: FactorFiles(file).months(1990), "percent in some decades", "1990s")


def test_momentum_alone_has_no_risk_free_rate(tmp_path: Path, refuses: Callable[..., InputError]) -> None:
    file = tmp_path / "mom.csv"
    file.write_text("Momentum.\n\n,Mom   \n192701,   0.57\n192702,  -1.50\n")
    refuses(lambda: factor_table(file), "market_excess, risk_free", "holds the risk-free rate")
