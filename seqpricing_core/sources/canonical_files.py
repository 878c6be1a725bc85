"""Your own data, prepared as the canonical tables (parquet or CSV); also reads a simulated market."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pyarrow.parquet as pq

from seqpricing_core.errors import InputError
from seqpricing_core.storage import collect_table, require_columns, scan_table
from seqpricing_core.tables import (
    FACTOR_DAYS,
    FACTORS,
    ROW,
    STATEMENTS,
    STOCK_DAYS,
    STOCK_MONTHS,
    check_table,
    required_columns,
)

KEYS = ("asset_id", "month", "day", "period_end", "period_months", "available_from")
"""Columns that say which row it is; every other column is something that a source has or lacks."""


@dataclass(frozen=True)
class CanonicalFiles:
    """Files with the columns of `seqpricing_core.tables`. Money in USD, returns decimal.

    Optional columns that a file lacks, and the two optional files of days, are simply not there:
    `inputs` says what is, and so which characteristics there can be.
    """

    stock_months_file: Path
    statements_file: Path
    factors_file: Path
    stock_days_file: Path | None = None
    factor_days_file: Path | None = None

    def files(self) -> list[Path]:
        for file in self._schemas:
            scan_table(file)
        return list(self._schemas)

    def stock_months(self, year: int) -> pl.DataFrame:
        return rows_of_year(self.stock_months_file, STOCK_MONTHS, "month", year)

    def statements(self, year: int) -> pl.DataFrame:
        return rows_of_year(self.statements_file, STATEMENTS, "available_from", year)

    def factors(self, year: int) -> pl.DataFrame:
        return rows_of_year(self.factors_file, FACTORS, "month", year)

    def stock_days(self, year: int) -> pl.DataFrame | None:
        return rows_of_year(self.stock_days_file, STOCK_DAYS, "day", year) if self.stock_days_file else None

    def factor_days(self, year: int) -> pl.DataFrame | None:
        return (
            rows_of_year(self.factor_days_file, FACTOR_DAYS, "day", year) if self.factor_days_file else None
        )

    def inputs(self) -> frozenset[str]:
        """Columns in which at least one row has a value."""
        found = {
            f"{schema.name}.{column}"
            for file, schema in self._schemas.items()
            for column in _filled_columns(file, schema)
            if column not in KEYS
        }
        return frozenset(found | self._periods())

    def _periods(self) -> set[str]:
        table = scan_table(self.statements_file)
        if "period_months" not in table.collect_schema().names():
            return {"statements.quarterly"}
        periods = collect_table(table.select(pl.col("period_months").unique()), self.statements_file)
        if not len(periods):
            return {"statements.quarterly"}
        kinds = {3: "statements.quarterly", 12: "statements.annual"}
        return {kinds[months] for months in periods["period_months"] if months in kinds}

    @cached_property
    def _schemas(self) -> dict[Path, pa.DataFrameSchema]:
        optional = {self.stock_days_file: STOCK_DAYS, self.factor_days_file: FACTOR_DAYS}
        return {
            self.stock_months_file: STOCK_MONTHS,
            self.statements_file: STATEMENTS,
            self.factors_file: FACTORS,
            **{file: schema for file, schema in optional.items() if file is not None},
        }


def _filled_columns(file: Path, schema: pa.DataFrameSchema) -> list[str]:
    """Those with a value, and required ones that are not there: what is wrong is said when rows are read.

    A file without rows may come to have values in any of its columns.
    """
    table = scan_table(file)
    present = [name for name in table.collect_schema().names() if name in schema.columns]
    lacking = [name for name in required_columns(schema) if name not in present]
    if file.suffix == ".parquet" and (counts := _null_counts(file)) is not None:
        rows = pq.read_metadata(file).num_rows
        return [*lacking, *(name for name in present if counts[name] < rows)]
    filled = collect_table(table.select(pl.len().alias("__rows"), pl.col(present).is_not_null().any()), file)
    return [*lacking, *(name for name in present if filled[name].item() or not filled["__rows"].item())]


def _null_counts(file: Path) -> dict[str, int] | None:
    """Missing values by column, from the footer of the file; None where it does not say."""
    footer, counts = pq.read_metadata(file), dict[str, int]()
    for group in range(footer.num_row_groups):
        for number in range(footer.num_columns):
            column = footer.row_group(group).column(number)
            if column.statistics is None or not column.statistics.has_null_count:
                return None
            counts.setdefault(column.path_in_schema, 0)
            counts[column.path_in_schema] += column.statistics.null_count
    return counts or None


def rows_of_year(file: Path, schema: pa.DataFrameSchema, date_column: str, year: int) -> pl.DataFrame:
    table = scan_table(file)
    present = set(table.collect_schema().names())
    columns = [*required_columns(schema), *(name for name in schema.columns if name in present)]
    table = require_columns(table, dict.fromkeys(columns), file).with_row_index(ROW)
    types = {name: schema.columns[name].dtype.type for name in table.collect_schema() if name != ROW}
    table = as_dates(table, [name for name, wanted in types.items() if wanted == pl.Date], file)
    found = table.collect_schema()
    empty = [name for name in types if found[name] == pl.Null]
    numbers = [name for name, wanted in types.items() if wanted.is_numeric() and found[name].is_numeric()]
    refuse_rows(table, pl.col(date_column).is_null(), date_column, "a date in every row", file)
    for name in numbers:
        if types[name].is_integer() and found[name].is_float():
            whole = pl.col(name).is_finite() & (pl.col(name) % 1 == 0) & (pl.col(name).abs() < 2**53)
            refuse_rows(table, ~whole, name, "whole numbers", file)
    rows = table.with_columns(pl.col(name).cast(types[name]) for name in (*numbers, *empty))
    return check_table(
        collect_table(rows.filter(pl.col(date_column).dt.year() == year), file), schema, str(file)
    )


def refuse_rows(
    table: pl.LazyFrame, bad: pl.Expr, column: str, expected: str, file: Path, beside: tuple[str, ...] = ()
) -> None:
    """Refuse the file if ``bad`` holds in any row; names the row, and what stands ``beside`` the value."""
    rows = collect_table(table.filter(bad).select(ROW, *beside, column).head(5), file)
    if len(rows):
        shown = (
            ", ".join(f"{name} {row[name]}" for name in (ROW, *beside)) + f", {column} = {row[column]}"
            for row in rows.iter_rows(named=True)
        )
        raise InputError(
            f"bad value in column '{column}'",
            where=f"{file}: {'; '.join(shown)}",
            expected=expected,
            remedy="correct or drop these rows in the source file",
        )


def as_dates(table: pl.LazyFrame, columns: list[str], file: Path) -> pl.LazyFrame:
    """Date columns as dates: dates and date-times as they are, text if every row is ISO 8601.

    Raises
    ------
    InputError
        Names the first rows whose text is no date, or the type that can be none.
    """
    schema = table.collect_schema()
    for column in columns:
        if schema[column].is_temporal():
            table = table.with_columns(pl.col(column).cast(pl.Date))
            continue
        if schema[column] != pl.String:
            raise InputError(
                f"column '{column}' holds {schema[column]}, which is no date",
                where=f"{file}, column {column}",
                expected="dates, or text such as 1996-01-31, in every row",
                remedy="convert the column; numbers such as 19960131 are ambiguous",
            )
        parsed = pl.col(column).str.to_date("%Y-%m-%d", strict=False)
        indexed = table if ROW in schema else table.with_row_index(ROW)
        unread = indexed.filter(parsed.is_null() & pl.col(column).is_not_null())
        bad = collect_table(unread.select(ROW, column).head(5), file)
        if len(bad):
            raise InputError(
                f"column '{column}' mixes dates with other text",
                where=f"{file}: " + "; ".join(f"row {r} {column} = {v!r}" for r, v in bad.iter_rows()),
                expected="text such as 1996-01-31 in every row",
                remedy="write all dates of the column in one format",
            )
        table = table.with_columns(parsed)
    return table
