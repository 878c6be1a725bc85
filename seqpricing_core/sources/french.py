"""Kenneth French's data library, as published: factors and portfolios, CSV or the zip it comes in.

Where to get it: https://mba.tuck.dartmouth.edu/pages/faculty/ken.french/data_library.html, any "CSV" link,
for example ``F-F_Research_Data_5_Factors_2x3_CSV.zip`` (monthly), ``F-F_Research_Data_Factors_daily_CSV.zip``
and ``25_Portfolios_5x5_CSV.zip``. ``seqpricing data fetch french_factors`` fetches the factors.

A file holds a preamble, then several tables, each under a title of its own (value-weighted monthly returns,
the same annually, number of firms, average size), and a copyright line. Returns are percent, -99.99 and -999
mean missing. Here they become one table per section, with decimal returns where the section holds returns.

Dropped: annual tables (January to December compounding of what the monthly ones hold).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.sources.vendor_files import as_days, read_text, refuse_duplicates
from seqpricing_core.storage import collect_table, scan_table
from seqpricing_core.tables import FACTOR_DAYS, FACTORS, check_table

MISSING_CODES = (-99.99, -999.0)
_ROW = re.compile(r"^\s*(\d{8}|\d{6}|\d{4})\s*,")
_FACTOR_NAMES = {
    "mkt-rf": "market_excess", "mktrf": "market_excess", "rf": "risk_free", "smb": "size", "hml": "value",
}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """One table of a file of the library."""

    title: str
    """As printed above the table; empty where the file has only one kind of table."""
    table: pl.DataFrame
    """``day`` (month end, or the trading day of a daily file), then one column per factor or portfolio."""


def read_sections(path: Path) -> list[Section]:
    """The monthly and daily tables of a file, in their order.

    Returns are decimal; a section whose title speaks of numbers of firms, size or another characteristic
    keeps its unit.

    Raises
    ------
    InputError
        No table of the library in it, a row with another number of cells than the header, text among numbers.
    """
    sections: list[Section] = []
    title: list[str] = []
    header: list[str] | None = None
    rows: list[tuple[int, str]] = []
    text = read_text(path)
    lines = [*text.splitlines(), ""]
    for number, line in enumerate(lines, start=1):
        if _ROW.match(line) and header is not None:
            rows.append((number, line))
            continue
        if rows:
            sections.extend(_section(" ".join(title), header or [], rows, path))
            rows, header, title = [], None, []
        if line.strip().startswith(",") or (header is None and _is_header(line)):
            header = [cell.strip() for cell in line.split(",")[1:]]
        elif line.strip():
            title = [*title, line.strip()] if header is None else [line.strip()]
        else:
            title = []  # what a blank line parts from the table is the preamble
    if not sections:
        raise InputError(
            "no table of Kenneth French's data library",
            where=str(path),
            expected="a header that begins with a comma, then rows that begin with 199601 or 19960131",
            remedy="fetch the 'CSV' file of the library, not the 'TXT' one",
        )
    if not text.endswith("\n") and _ROW.match(lines[-2]):
        raise InputError(
            "the file ends in the middle of a row",
            where=f"{path}, line {len(lines) - 1}",
            expected="a line end after the last row, and usually a copyright line",
            remedy="fetch the file again: the transfer broke off",
        )
    return sections


def _is_header(line: str) -> bool:
    """Some exports name the column of dates."""
    cells = [cell.strip().lower() for cell in line.split(",")]
    return len(cells) > 1 and cells[0] in {"date", "dateff", "month"}


def _section(title: str, header: list[str], rows: list[tuple[int, str]], path: Path) -> list[Section]:
    """The section as a table; nothing for an annual one."""
    dates = [line.split(",", 1)[0].strip() for _, line in rows]
    if len(dates[0]) == 4:
        return []
    values: list[list[float | None]] = []
    for number, line in rows:
        cells = [cell.strip() for cell in line.split(",")[1:]]
        try:
            if len(cells) != len(header):
                raise ValueError(f"{len(cells)} cells under a header of {len(header)}")
            values.append([float(cell) if cell else None for cell in cells])
        except ValueError as error:
            raise InputError(
                f"a row that cannot be read: {error}",
                where=f"{path}, line {number}: {line[:80]!r}",
                expected="one number per column of the header above it",
                remedy="fetch the file again, or restore the row",
            ) from error
    names = [name or f"column_{place}" for place, name in enumerate(header, start=1)]
    table = pl.DataFrame(values, schema=dict.fromkeys(_distinct(names), pl.Float64), orient="row")
    numbers = pl.all()
    for code in MISSING_CODES:
        numbers = pl.when((numbers - code).abs() > 1e-6).then(numbers)
    scale = 0.01 if _holds_returns(title) else 1.0
    day = as_days(pl.Series("day", dates), str(path))
    if len(dates[0]) == 6:
        day = day.dt.month_end()
    table = table.select(numbers * scale).insert_column(0, day)
    refuse_duplicates(table, ["day"], f"{path}, section '{title}'")
    return [Section(title, table)]


def _distinct(names: list[str]) -> list[str]:
    return [name if name not in names[:place] else f"{name}_{place}" for place, name in enumerate(names)]


def _holds_returns(title: str) -> bool:
    words = title.lower()
    others = (
        "number of firms",
        "average market cap",
        "average firm size",
        "average of",
        "sum of be",
        "ratio",
    )
    return not any(word in words for word in others)


def read_portfolios(path: Path, section: str = "value weight") -> pl.DataFrame:
    """Returns of the portfolios of the first section whose title holds ``section``, decimal, by ``day``.

    Titles say 'Average Value Weighted Returns -- Monthly' and 'Average Equal Weighted Returns -- Monthly'.
    """
    sections = read_sections(path)
    for found in sections:
        if section.lower() in found.title.lower():
            return found.table
    raise InputError(
        f"no section '{section}'",
        where=f"{path} (its sections: {'; '.join(repr(s.title) for s in sections)})",
        expected="a part of the title above one of its tables",
        remedy="take one of these titles",
    )


@dataclass(frozen=True)
class FactorFiles:
    """Market excess return and risk-free rate by month, and by day if there is a file of days.

    Each file is one of the library's, or a parquet or CSV table with a date column and the columns ``Mkt-RF``
    and ``RF`` (or ``mktrf, rf`` as on WRDS; ``market_excess, risk_free`` as here), decimal.
    """

    months_file: Path
    days_file: Path | None = None

    def files(self) -> list[Path]:
        return [file for file in (self.months_file, self.days_file) if file is not None]

    def months(self, year: int) -> pl.DataFrame:
        """Rows of ``year`` of the canonical factors."""
        return self._months.filter(pl.col("month").dt.year() == year)

    def days(self, year: int) -> pl.DataFrame | None:
        """Rows of ``year`` of the canonical factor days."""
        return None if self._days is None else self._days.filter(pl.col("day").dt.year() == year)

    def inputs(self) -> set[str]:
        tables = {"factors": self._months, "factor_days": self._days}
        return {
            f"{name}.{column}"
            for name, table in tables.items()
            if table is not None
            for column in table.columns[1:]
            if table[column].is_not_null().any()
        }

    @cached_property
    def _months(self) -> pl.DataFrame:
        rows = factor_table(self.months_file).with_columns(pl.col("day").dt.month_end().alias("month"))
        where = str(self.months_file)
        refuse_duplicates(rows, ["month"], where)
        return check_table(rows.select("month", "risk_free", "market_excess"), FACTORS, where)

    @cached_property
    def _days(self) -> pl.DataFrame | None:
        if self.days_file is None:
            return None
        rows = factor_table(self.days_file)
        return check_table(rows, FACTOR_DAYS, str(self.days_file))


def factor_table(path: Path) -> pl.DataFrame:
    """``day, market_excess, risk_free`` and, where there, ``size`` (SMB) and ``value`` (HML), decimal."""
    found = read_sections(path)[0].table if _is_library_file(path) else _plain_factors(path)
    names = {name: _FACTOR_NAMES.get(name.strip().lower(), name) for name in found.columns}
    table = found.rename({name: ours for name, ours in names.items() if ours not in found.columns})
    lacking = [name for name in ("market_excess", "risk_free") if name not in table.columns]
    if lacking:
        raise InputError(
            f"missing column{'s' if len(lacking) > 1 else ''}: {', '.join(lacking)}",
            where=f"{path} (its columns: {', '.join(found.columns)})",
            expected="Mkt-RF and RF (or market_excess and risk_free)",
            remedy="take a factor file of the library that holds the risk-free rate; momentum alone has none",
        )
    kept = [name for name in ("market_excess", "risk_free", "size", "value") if name in table.columns]
    table = table.select("day", *(pl.col(name).cast(pl.Float64) for name in kept)).drop_nulls("risk_free")
    _require_decimal_factors(table, path)
    return table.sort("day")


def _is_library_file(path: Path) -> bool:
    """The library's header row begins with a comma: its column of dates has no name."""
    if path.suffix == ".parquet":
        return False
    return any(line.strip().startswith(",") for line in read_text(path).splitlines()[:60])


def _plain_factors(path: Path) -> pl.DataFrame:
    if path.suffix != ".parquet":
        read_text(path)  # a web page or another encoding is named as such
    table = collect_table(scan_table(path), path)
    dates = [name for name in table.columns if name.lower() in {"date", "dateff", "month", "day", "yyyymm"}]
    if not dates:
        raise InputError(
            "no column of dates",
            where=f"{path} (its columns: {', '.join(table.columns)})",
            expected="a column date, month or day",
            remedy="rename the column of dates",
        )
    named = "dateff" if "dateff" in dates else dates[0]
    return table.with_columns(as_days(table[named], str(path)).alias("day"))


def _require_decimal_factors(table: pl.DataFrame, path: Path) -> None:
    """Market returns of a median size above 0.2 over a decade are percent; see `require_decimal` for
    stocks.
    """
    by_decade = table.group_by((pl.col("day").dt.year() // 10 * 10).alias("decade")).agg(
        pl.col("market_excess").abs().median().alias("median")
    )
    percent = by_decade.filter(pl.col("median") > 0.2).sort("decade")
    if len(percent):
        mixed = len(percent) < len(by_decade)
        raise InputError(
            "market returns in percent" + (" in some decades, decimal in others" if mixed else ""),
            where=f"{path}: " + ", ".join(f"{d}s (median size {m:.3g})" for d, m in percent.iter_rows()),
            expected="decimal returns, 0.01 for one percent; only the library's own CSV may be percent",
            remedy="divide by 100, or name the library's CSV or zip file itself",
        )
