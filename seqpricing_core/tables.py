"""Canonical raw tables, checked at the door.

Every source delivers these three tables; nothing after the sources knows a vendor.
Money is in US dollars, returns are decimal, `month` is the last calendar day of the month.
"""

from __future__ import annotations

import warnings

import polars as pl

from seqpricing_core.errors import InputError

with warnings.catch_warnings():
    # pandera warns on import when pandas is absent; polars is the only frame here.
    warnings.simplefilter("ignore")
    import pandera.polars as pa


def _finite() -> pa.Check:
    return pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_finite()), error="a finite number")


def _amount(*, minimum: float | None = None) -> pa.Column:
    checks = [_finite()]
    if minimum is not None:
        checks.append(pa.Check.ge(minimum, error=f"{minimum:g} or more"))
    return pa.Column(pl.Float64, checks, nullable=True)


def _month_end() -> pa.Check:
    return pa.Check(
        lambda data: data.lazyframe.select(pl.col(data.key) == pl.col(data.key).dt.month_end()),
        error="the last calendar day of a month",
    )


STOCK_MONTHS = pa.DataFrameSchema(
    {
        "asset_id": pa.Column(pl.Int64),
        "month": pa.Column(pl.Date, _month_end()),
        # Total return over the month, dividends and delisting included.
        "ret": _amount(minimum=-1.0),
        # Shares outstanding times price at the end of the month.
        "market_equity": _amount(minimum=0.0),
        # On one split-adjusted basis within a stock, so that ratios across months mean something.
        "price": _amount(minimum=0.0),
        "high": _amount(minimum=0.0),
        "dollar_volume": _amount(minimum=0.0),
        "trading_days": pa.Column(pl.Int32, nullable=True),
        "zero_volume_days": pa.Column(pl.Int32, nullable=True),
        "sum_squared_daily_returns": _amount(minimum=0.0),
        "maximum_daily_return": _amount(minimum=-1.0),
    },
    name="stock_months",
    unique=["asset_id", "month"],
    strict=True,
)

STATEMENT_ITEMS = (
    "assets",
    "current_assets",
    "liabilities",
    "current_liabilities",
    "book_equity",
    "cash",
    "long_term_debt",
    "revenue",
    "earnings",
    "operating_cash_flow",
    "capital_expenditures",
    "shares",
)
"""Quarterly. Balance-sheet items at the end of the quarter, flows over the quarter alone,
shares on one split-adjusted basis within a stock."""

STATEMENTS = pa.DataFrameSchema(
    {
        "asset_id": pa.Column(pl.Int64),
        "period_end": pa.Column(pl.Date),
        # The day from which the statement was public.
        "available_from": pa.Column(pl.Date),
        **{item: _amount() for item in STATEMENT_ITEMS},
    },
    checks=pa.Check(
        lambda data: data.lazyframe.select(pl.col("available_from") > pl.col("period_end")),
        error="available_from after period_end",
    ),
    name="statements",
    unique=["asset_id", "period_end", "available_from"],
    strict=True,
)

FACTORS = pa.DataFrameSchema(
    {
        "month": pa.Column(pl.Date, _month_end(), unique=True),
        # Return of the one-month Treasury bill over the month.
        "risk_free": pa.Column(pl.Float64, [_finite(), pa.Check.in_range(-0.05, 0.2)]),
        "market_excess": _amount(minimum=-1.0),
    },
    name="factors",
    strict=True,
)


ROW = "row"
"""A column of this name is the row number in the source file, for messages."""


def check_table(frame: pl.DataFrame, schema: pa.DataFrameSchema, where: str) -> pl.DataFrame:
    """Return ``frame`` with the columns of ``schema`` in order, sorted by its key.

    Raises
    ------
    InputError
        With the first offending rows: their column, asset, month and value.
    """
    columns = list(schema.columns)
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InputError(
            f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}",
            where=f"{where} (its columns: {', '.join(frame.columns)})",
            expected=f"the columns of {schema.name}: {', '.join(columns)}",
            remedy="add the column to the source, or rename it there",
        )
    row_numbers = frame[ROW] if ROW in frame.columns else pl.int_range(len(frame), eager=True)
    frame = frame.select(columns)
    for column, declared in schema.columns.items():
        found, wanted = frame.schema[column], declared.dtype.type
        if found != wanted:
            raise InputError(
                f"column '{column}' of {schema.name} holds {found}",
                where=f"{where}, column {column}",
                expected=f"{wanted} in every row",
                remedy="convert the column in the source; dates and text must not be mixed",
            )
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise _first_failures(frame, schema, where, error.failure_cases, row_numbers) from error
    key = [column for column in ("asset_id", "period_end", "month") if column in columns]
    return frame.sort([*reversed(key), *(["available_from"] if "available_from" in columns else [])])


def _first_failures(
    frame: pl.DataFrame,
    schema: pa.DataFrameSchema,
    where: str,
    failures: pl.DataFrame,
    row_numbers: pl.Series,
) -> InputError:
    first = failures.row(0, named=True)
    rows = (
        failures.filter(pl.col("check") == first["check"])["index"].drop_nulls().unique(maintain_order=True)
    )
    key = [column for column in ("asset_id", "month", "period_end") if column in frame.columns]
    column = first["column"] if first["column"] in frame.columns else None
    shown = []
    for index in rows.head(5):
        row = frame.row(int(index), named=True)
        at = ", ".join(f"{name} {row[name]}" for name in key)
        shown.append(
            f"row {row_numbers[int(index)]} ({at})" + (f" {column} = {row[column]}" if column else "")
        )
    check = str(first["check"])
    if check == "multiple_fields_uniqueness":
        what, expected = f"duplicate ({', '.join(key)})", f"each ({', '.join(key)}) once"
    elif check == "not_nullable":
        what, expected = f"missing value in column '{column}'", "a value in every row"
    elif check == "field_uniqueness":
        what, expected = f"duplicate value in column '{column}'", "each value once"
    else:
        what, expected = (f"bad value in column '{column}'" if column else "bad rows"), check
    return InputError(
        f"{what} of {schema.name} ({rows.len()} row{'s' if rows.len() != 1 else ''})",
        where=f"{where}: " + ("; ".join(shown) or str(first["failure_case"])),
        expected=expected,
        remedy="correct or drop these rows in the source file",
    )
