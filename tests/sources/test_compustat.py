"""Quarters from the year to date, and links, against a loop over firms."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from seqpricing_core.sources import compustat


def fundq(quarters: list[tuple[str, int, int, dt.date]], random: np.random.Generator) -> pl.DataFrame:
    """Rows of these firms, fiscal years and quarters; one oancfy in ten is missing."""
    rows = pl.DataFrame(quarters, schema=["gvkey", "fyearq", "fqtr", "datadate"], orient="row")
    items = [*compustat.QUARTERLY, *compustat.YEAR_TO_DATE, "cshoq", "ajexq"]
    values = {item: random.uniform(1, 100, len(rows)) for item in items}
    frame = rows.with_columns(**{item: pl.Series(value) for item, value in values.items()})
    missing = pl.Series(random.random(len(rows)) < 0.1)
    return frame.with_columns(oancfy=pl.when(~missing).then(pl.col("oancfy")))


def quarter_end(number: int) -> dt.date:
    month = number % 4 * 3 + 3
    return dt.date(1990 + number // 4, month, 31 if month in (3, 12) else 30)


def test_quarters_equal_a_loop() -> None:
    random = np.random.default_rng(6)
    reports = [
        (f"{firm:06d}", 1990 + number // 4, number % 4 + 1, quarter_end(number))
        for firm in range(30)
        for number in range(20)
        if random.random() > 0.15  # reports that were never filed
    ]
    table = fundq(reports, random)
    ours = compustat.quarterly_statements(table.sample(fraction=1, shuffle=True, seed=1), 4)
    by_report = {(r["gvkey"], r["fyearq"], r["fqtr"]): r for r in table.iter_rows(named=True)}
    ends = {(r["gvkey"], r["datadate"]): r for r in table.iter_rows(named=True)}
    differences = 0
    for row in ours.iter_rows(named=True):
        report = ends[row["gvkey"], row["period_end"]]
        flow = report["oancfy"]
        if report["fqtr"] > 1:
            before = by_report.get((report["gvkey"], report["fyearq"], report["fqtr"] - 1))
            differences += before is not None
            known = before is not None and before["oancfy"] is not None and flow is not None
            flow = flow - before["oancfy"] if known else None
        assert row["operating_cash_flow"] == (None if flow is None else pytest.approx(flow * 1e6))
        assert row["assets"] == report["atq"] * 1e6
        assert row["shares"] == pytest.approx(report["cshoq"] * report["ajexq"] * 1e6)
        months = (row["available_from"].year - row["period_end"].year) * 12
        assert months + row["available_from"].month - row["period_end"].month == 4
        assert (row["available_from"] + dt.timedelta(days=1)).day == 1
    assert len(ours) == len(table)
    assert differences > 100


def links(*rows: tuple[str, str, str, int, dt.date | None, dt.date | None]) -> pl.DataFrame:
    kinds = {
        "gvkey": pl.String, "linktype": pl.String, "linkprim": pl.String, "lpermno": pl.Int64,
        "linkdt": pl.Date, "linkenddt": pl.Date,
    }  # fmt: skip
    return pl.DataFrame(list(rows), schema=kinds, orient="row")


YEAR_ENDS = [dt.date(year, 12, 31) for year in (2000, 2001, 2002, 2003, 2003)]
STATEMENTS = pl.DataFrame({
    "gvkey": ["1", "1", "1", "1", "2"],
    "period_end": YEAR_ENDS,
    "available_from": [dt.date(day.year + 1, 6, 30) for day in YEAR_ENDS],
    "period_months": [12, 12, 12, 12, 12],
    "assets": [1.0, 2.0, 3.0, 4.0, 5.0],
})  # fmt: skip
OPEN = links(("1", "LC", "P", 10, dt.date(1999, 1, 1), None))


def linked(table: pl.DataFrame) -> list[tuple[int, float]]:
    return [
        (a, v)
        for a, v in compustat.link_statements(STATEMENTS, table).select("asset_id", "assets").iter_rows()
    ]


def test_a_changed_link_changes_nothing_known_earlier() -> None:
    """The firm's stock changes in 2002: what was linked before stays with the old stock."""
    assert linked(OPEN) == [(10, 1.0), (10, 2.0), (10, 3.0), (10, 4.0)]
    changed = links(
        ("1", "LC", "P", 10, dt.date(1999, 1, 1), dt.date(2002, 3, 31)),
        ("1", "LU", "P", 11, dt.date(2002, 4, 1), None),
    )
    assert linked(changed) == [(10, 1.0), (10, 2.0), (11, 3.0), (11, 4.0)]


def test_links_of_other_types_do_not_count() -> None:
    others = links(
        ("1", "LN", "P", 12, None, None), ("1", "LC", "J", 13, None, None), ("1", "NR", "P", None, None, None)
    )
    assert linked(others) == []


def test_two_firms_on_one_stock() -> None:
    """The primary link wins over C, then the longer-standing one."""
    both = links(
        ("1", "LC", "C", 10, dt.date(1999, 1, 1), None), ("2", "LC", "P", 10, dt.date(2001, 1, 1), None)
    )
    assert (10, 5.0) in linked(both)
    assert (10, 4.0) not in linked(both)
    older = links(
        ("1", "LC", "P", 10, dt.date(1999, 1, 1), None), ("2", "LC", "P", 10, dt.date(2001, 1, 1), None)
    )
    assert (10, 4.0) in linked(older)
    assert (10, 5.0) not in linked(older)
