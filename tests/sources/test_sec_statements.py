"""SEC figures: first filings, restatements, quarters from the year to date; company facts and data sets
agree.
"""

from __future__ import annotations

import datetime as dt
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seqpricing_core.errors import InputError
from seqpricing_core.source_configs import SecStatements
from seqpricing_core.sources.public_files import asset_id_of
from seqpricing_core.sources.sec_statements import read_statements

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
Q = [dt.date(2020, 3, 31), dt.date(2020, 6, 30), dt.date(2020, 9, 30), dt.date(2020, 12, 31)]
FILED = [dt.date(2020, 5, 1), dt.date(2020, 8, 3), dt.date(2020, 11, 2), dt.date(2021, 2, 20)]
AMENDED = dt.date(2021, 3, 30)
NEXT = dt.date(2021, 5, 3)
START = dt.date(2020, 1, 1)

# tag, start, end, filed, form, value
FIGURES: list[tuple[str, dt.date | None, dt.date, dt.date, str, float]] = [
    *(("Assets", None, Q[n], FILED[n], "10-Q" if n < 3 else "10-K", 100.0 + n) for n in range(4)),
    ("Assets", None, Q[3], NEXT, "10-Q", 103.0),  # repeated beside the next quarter: no news
    ("StockholdersEquity", None, Q[3], FILED[3], "10-K", 40.0),
    ("StockholdersEquity", None, Q[3], AMENDED, "10-K/A", 35.0),  # restated
    ("NetIncomeLoss", START, Q[0], FILED[0], "10-Q", 1.0),
    ("NetIncomeLoss", dt.date(2020, 4, 1), Q[1], FILED[1], "10-Q", 2.0),
    ("NetIncomeLoss", START, Q[1], FILED[1], "10-Q", 3.0),
    ("NetIncomeLoss", dt.date(2020, 7, 1), Q[2], FILED[2], "10-Q", 3.0),
    ("NetIncomeLoss", START, Q[2], FILED[2], "10-Q", 6.0),
    ("NetIncomeLoss", START, Q[3], FILED[3], "10-K", 10.5),  # the fourth quarter: 4.5
    *(
        ("NetCashProvidedByUsedInOperatingActivities", START, Q[n], FILED[n], "10-Q" if n < 3 else "10-K", v)
        for n, v in enumerate((5.0, 9.0, 20.0, 26.0))
    ),
    ("Revenues", START, Q[0], FILED[0], "10-Q", 50.0),
    ("SalesRevenueNet", START, Q[0], FILED[0], "10-Q", 49.0),  # an older tag: Revenues wins
    ("Revenues", START, Q[0], dt.date(2020, 5, 20), "8-K", 99.0),  # no such form
    ("EntityCommonStockSharesOutstanding", None, dt.date(2020, 4, 24), FILED[0], "10-Q", 7e6),
]


@pytest.fixture
def tickers(tmp_path: Path) -> Path:
    file = tmp_path / "company_tickers.json"
    entries = {"0": {"cik_str": 77, "ticker": "BRK-B", "title": "B"}, "1": {"cik_str": 77, "ticker": "BRK-A"}}
    file.write_text(json.dumps(entries))
    return file


@pytest.fixture
def company_facts(tmp_path: Path, tickers: Path) -> Callable[..., SecStatements]:
    def write(figures: list[Any] = FIGURES, *, packed: bool = False) -> SecStatements:
        facts: dict[str, dict[str, Any]] = {"us-gaap": {}, "dei": {}}
        for tag, start, end, filed, form, value in figures:
            of = facts["dei" if tag.startswith("Entity") else "us-gaap"]
            units = of.setdefault(tag, {"label": tag, "units": {}})["units"]
            entry = {"end": str(end), "val": value, "accn": "1", "form": form, "filed": str(filed)}
            if start is not None:
                entry["start"] = str(start)
            units.setdefault("shares" if "Shares" in tag else "USD", []).append(entry)
            units.setdefault("EUR", []).append(entry | {"val": 1e9})
        text = json.dumps({"cik": 77, "entityName": "B", "facts": facts})
        other = json.dumps({"cik": 78, "entityName": "no ticker", "facts": facts})
        folder = tmp_path / "facts"
        folder.mkdir(exist_ok=True)
        (folder / "CIK0000000077.json").write_text(text)
        (folder / "CIK0000000078.json").write_text(other)
        path = folder
        if packed:
            path = tmp_path / "companyfacts.zip"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("CIK0000000077.json", text)
        return SecStatements(format="company_facts", path=path, tickers=tickers)

    return write


@pytest.fixture
def data_sets(tmp_path: Path, tickers: Path) -> SecStatements:
    """The same figures as the SEC's quarterly data sets have them: a zip per quarter of filing, tabs,
    qtrs.
    """
    folder = tmp_path / "sets"
    folder.mkdir()
    for name in sorted({f"{f[3].year}q{(f[3].month + 2) // 3}" for f in FIGURES}):
        own = [f for f in FIGURES if f"{f[3].year}q{(f[3].month + 2) // 3}" == name]
        sub = ["adsh\tcik\tname\tform\tperiod\tfiled"]
        num = ["adsh\ttag\tversion\tddate\tqtrs\tuom\tsegments\tcoreg\tvalue\tfootnote"]
        for filed in sorted({f[3] for f in own}):
            forms = {f[4] for f in own if f[3] == filed}
            sub.append(f"0077-{filed}\t77\tB\t{forms.pop()}\t20200331\t{filed:%Y%m%d}")
        for tag, start, end, filed, _, value in own:
            quarters = 0 if start is None else round((end - start).days / 91.3)
            unit = "shares" if "Shares" in tag else "USD"
            row = f"0077-{filed}\t{tag}\tus-gaap/2020\t{end:%Y%m%d}\t{quarters}\t{unit}"
            num += [f"{row}\t\t\t{value}\t", f"{row}\tSegment=Europe;\t\t1\t", f"{row}\t\tSubsidiary\t2\t"]
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("sub.txt", "\n".join(sub) + "\n")
            archive.writestr("num.txt", "\n".join(num) + "\n")
    return SecStatements(format="data_sets", path=folder, tickers=tickers)


def test_quarters_and_years_as_they_became_known(company_facts: Callable[..., SecStatements]) -> None:
    rows = read_statements(company_facts())
    assert rows["asset_id"].unique().to_list() == [asset_id_of("brk.b")]
    quarters = rows.filter(pl.col("period_months") == 3)
    first = quarters.unique("period_end", keep="first", maintain_order=True).sort("period_end")
    assert first["available_from"].to_list() == FILED
    assert first["assets"].to_list() == [100.0, 101.0, 102.0, 103.0]
    assert first["earnings"].to_list() == [1.0, 2.0, 3.0, 4.5]
    assert first["operating_cash_flow"].to_list() == [5.0, 4.0, 11.0, 6.0]
    assert first["revenue"].to_list() == [50.0, None, None, None]
    assert first["shares"][0] == 7e6
    restated = quarters.filter(pl.col("available_from") == AMENDED).row(0, named=True)
    assert (restated["period_end"], restated["book_equity"], restated["earnings"]) == (Q[3], 35.0, 4.5)
    assert first.row(3, named=True)["book_equity"] == 40.0  # what was known first still stands
    assert NEXT not in quarters["available_from"].to_list()
    years = rows.filter(pl.col("period_months") == 12)
    assert years["available_from"].to_list() == [FILED[3], AMENDED]
    assert years["earnings"].to_list() == [10.5, 10.5]
    assert years["operating_cash_flow"][0] == 26.0


def test_data_sets_and_zips_say_the_same(
    company_facts: Callable[..., SecStatements], data_sets: SecStatements
) -> None:
    facts = read_statements(company_facts())
    assert read_statements(company_facts(packed=True)).equals(facts)
    assert read_statements(data_sets).equals(facts)


def test_a_later_filing_changes_no_earlier_row(company_facts: Callable[..., SecStatements]) -> None:
    """The rows known by a day are the rows of the figures filed by that day."""
    whole = read_statements(company_facts())
    for day in (*FILED, AMENDED, NEXT):
        known = read_statements(company_facts([f for f in FIGURES if f[3] <= day]))
        columns = [name for name in whole.columns if known[name].is_not_null().any()]
        assert whole.filter(pl.col("available_from") <= day).select(columns).equals(known.select(columns))


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not beside the checkout")
def test_real_point_in_time_file() -> None:
    """27,079 rows of 503 tickers; the median filing lag is 35 days, as SOURCES.md says."""
    rows = read_statements(
        SecStatements(format="point_in_time", path=REAL / "sec_xbrl_pit_sp500_2009_2026.parquet")
    )
    assert len(rows) == 27_079
    assert rows["asset_id"].n_unique() == 503
    lag = (rows["available_from"] - rows["period_end"]).dt.total_days()
    assert lag.median() == 35
    assert lag.max() == 400


def test_bad_input(
    company_facts: Callable[..., SecStatements], data_sets: SecStatements, tickers: Path, tmp_path: Path
) -> None:
    source = company_facts()
    broken = source.path / "CIK0000000077.json"
    text = broken.read_text()
    for content, mention in (
        ("<!DOCTYPE html>Your Request Originates from an Undeclared Automated Tool", "web page"),
        (text[: len(text) // 2], "no company facts"),
        (text.replace('"val": 100.0', '"val": "many"', 1), "no company facts"),
        (text.replace('"end": "2020-03-31"', '"end": "31/03/2020"', 1), "31/03/2020"),
    ):
        broken.write_text(content)
        with pytest.raises(InputError, match=mention):
            read_statements(source)
    broken.write_text(text)
    tickers.write_text("[[1, 2]]")
    with pytest.raises(InputError, match="no list of tickers"):
        read_statements(source)
    with pytest.raises(InputError, match="no tickers for the SEC"):
        read_statements(source.model_copy(update={"tickers": None}))
    (tmp_path / "none").mkdir()
    for form, mention in (("company_facts", "json"), ("data_sets", "zip")):
        empty = SecStatements(format=form, path=tmp_path / "none", tickers=data_sets.tickers)
        tickers.write_text('{"0": {"cik_str": 77, "ticker": "B"}}')
        with pytest.raises(InputError, match=mention):
            read_statements(empty)
    cut = next(data_sets.path.glob("*.zip"))
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(InputError, match="damaged"):
        read_statements(data_sets)
