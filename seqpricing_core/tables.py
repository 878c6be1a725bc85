"""Canonical raw tables, checked at the door.

Every source delivers `STOCK_MONTHS`, `STATEMENTS` and `FACTORS`, and `STOCK_DAYS` and `FACTOR_DAYS` where it
has days; nothing after the sources knows a vendor.
Money is in US dollars, returns are decimal, `month` is the last calendar day of the month. Columns that not
every source has are optional: `check_table` fills them with null.
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


def _amount(*, minimum: float | None = None, required: bool = True) -> pa.Column:
    checks = [_finite()]
    if minimum is not None:
        checks.append(pa.Check.ge(minimum, error=f"{minimum:g} or more"))
    return pa.Column(pl.Float64, checks, nullable=True, required=required)


def _optional(dtype: type[pl.DataType], *checks: pa.Check) -> pa.Column:
    return pa.Column(dtype, list(checks), nullable=True, required=False)


def _month_end() -> pa.Check:
    return pa.Check(
        lambda data: data.lazyframe.select(pl.col(data.key) == pl.col(data.key).dt.month_end()),
        error="the last calendar day of a month",
    )


EXCHANGES = ("NYSE", "AMEX", "NASDAQ", "OTHER")

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
        # Shares outstanding at the end of the month, on the basis of ``price``.
        "shares": _amount(minimum=0.0, required=False),
        # The price that traded at the end of the month: what a price floor and per-share figures need.
        "unadjusted_price": _amount(minimum=0.0, required=False),
        "exchange": _optional(pl.String, pa.Check.isin(EXCHANGES, error=" / ".join(EXCHANGES))),
        # Ordinary common share of a domestic firm (CRSP share codes 10 and 11).
        "common_share": _optional(pl.Boolean),
        # Standard industrial classification as of the month, four digits.
        "sic": _optional(pl.Int32, pa.Check.in_range(0, 9999, error="0 to 9999")),
        # One number for all share classes of a firm (CRSP permco).
        "company_id": _optional(pl.Int64),
        # CRSP's code, in the last month of a stock that left; ``ret`` then holds the delisting return.
        "delisting_code": _optional(pl.Int32),
    },
    name="stock_months",
    unique=["asset_id", "month"],
    strict=True,
)

STOCK_DAYS = pa.DataFrameSchema(
    {
        "asset_id": pa.Column(pl.Int64),
        "day": pa.Column(pl.Date),
        # Total return over the day.
        "ret": _amount(minimum=-1.0),
        # Close, high, low, bid and ask, volume and shares are on one split-adjusted basis within a stock.
        "price": _amount(minimum=0.0, required=False),
        "high": _amount(minimum=0.0, required=False),
        "low": _amount(minimum=0.0, required=False),
        # In shares.
        "volume": _amount(minimum=0.0, required=False),
        "dollar_volume": _amount(minimum=0.0, required=False),
        # Outstanding.
        "shares": _amount(minimum=0.0, required=False),
        # Closing quotes.
        "bid": _amount(minimum=0.0, required=False),
        "ask": _amount(minimum=0.0, required=False),
    },
    name="stock_days",
    unique=["asset_id", "day"],
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
"""Required columns, null where not reported; in parentheses Compustat's name of the annual item: assets (at),
current assets (act), liabilities (lt), current liabilities (lct), book equity of common shareholders
(ceq), cash and short-term investments (che), long-term debt (dltt), revenue (sale), income before
extraordinary items (ib), operating cash flow (oancf), capital expenditures (capx), shares outstanding on
one split-adjusted basis within a stock (csho)."""

FURTHER_BALANCE_ITEMS = (
    "inventory",  # invt
    "receivables",  # rect
    "property_plant_equipment",  # ppent, net
    "gross_property_plant_equipment",  # ppegt
    "intangibles",  # intan
    "other_assets",  # ao
    "other_liabilities",  # lo
    "payables",  # ap
    "other_current_assets",  # aco
    "other_current_liabilities",  # lco
    "short_term_debt",  # dlc: debt in current liabilities
    "taxes_payable",  # txp
    "deferred_taxes",  # txditc: deferred taxes and investment tax credit
    "preferred_stock",  # pstk
    "minority_interest",  # mib
    "convertible_debt",  # dcvt
    "employees",  # emp, in persons
)

FURTHER_FLOW_ITEMS = (
    "cost_of_revenue",  # cogs
    "selling_general_administrative",  # xsga
    "research_development",  # xrd
    "depreciation",  # dp: depreciation and amortisation
    "interest_expense",  # xint
    "operating_income",  # oiadp: after depreciation
    "pretax_income",  # pi
    "income_taxes",  # txt
    "current_income_taxes",  # txfed + txfo, or txt less deferred
    "dividends",  # dvc: to common shareholders, paid
    "share_repurchases",  # prstkc
    "share_issuance",  # sstk
)

BALANCE_ITEMS = (
    "assets", "current_assets", "liabilities", "current_liabilities", "book_equity", "cash",
    "long_term_debt", "shares", *FURTHER_BALANCE_ITEMS,
)  # fmt: skip
"""At the end of the period."""

FLOW_ITEMS = (
    "revenue", "earnings", "operating_cash_flow", "capital_expenditures", *FURTHER_FLOW_ITEMS,
)  # fmt: skip
"""Over the period alone: a quarter (never the year to date), or a year."""

STATEMENTS = pa.DataFrameSchema(
    {
        "asset_id": pa.Column(pl.Int64),
        "period_end": pa.Column(pl.Date),
        # The day from which the statement was public.
        "available_from": pa.Column(pl.Date),
        **{item: _amount() for item in STATEMENT_ITEMS},
        # 3: a fiscal quarter; 12: a fiscal year. A source that has both gives a row for each.
        "period_months": pa.Column(
            pl.Int32, pa.Check.isin([3, 12], error="3 or 12"), required=False, default=3
        ),
        **{item: _amount(required=False) for item in (*FURTHER_BALANCE_ITEMS, *FURTHER_FLOW_ITEMS)},
    },
    checks=pa.Check(
        lambda data: data.lazyframe.select(pl.col("available_from") > pl.col("period_end")),
        error="available_from after period_end",
    ),
    name="statements",
    unique=["asset_id", "period_end", "period_months", "available_from"],
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

FACTOR_DAYS = pa.DataFrameSchema(
    {
        "day": pa.Column(pl.Date, unique=True),
        # Over the day.
        "risk_free": pa.Column(pl.Float64, [_finite(), pa.Check.in_range(-0.01, 0.01)]),
        "market_excess": _amount(minimum=-1.0),
        # Fama and French's SMB and HML.
        "size": _amount(minimum=-1.0, required=False),
        "value": _amount(minimum=-1.0, required=False),
    },
    name="factor_days",
    strict=True,
)


ROW = "row"
"""A column of this name is the row number in the source file, for messages."""


def check_table(frame: pl.DataFrame, schema: pa.DataFrameSchema, where: str) -> pl.DataFrame:
    """Return ``frame`` with the columns of ``schema`` in order, sorted by its key.

    Optional columns that it lacks are added, null.

    Raises
    ------
    InputError
        With the first offending rows: their column, asset, month and value.
    """
    columns = list(schema.columns)
    missing = [column for column in required_columns(schema) if column not in frame.columns]
    if missing:
        raise InputError(
            f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}",
            where=f"{where} (its columns: {', '.join(frame.columns)})",
            expected=f"the columns of {schema.name}: {', '.join(required_columns(schema))}",
            remedy="add the column to the source, or rename it there",
        )
    row_numbers = frame[ROW] if ROW in frame.columns else pl.int_range(len(frame), eager=True)
    frame = with_optional_columns(frame, schema).select(columns)
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
    key = [column for column in ("asset_id", "period_end", "month", "day") if column in columns]
    last = [column for column in ("available_from", "period_months") if column in columns]
    return frame.sort([*reversed(key), *last])


def required_columns(schema: pa.DataFrameSchema) -> list[str]:
    """Those that every source must deliver."""
    return [name for name, column in schema.columns.items() if column.required]


def with_optional_columns(frame: pl.DataFrame, schema: pa.DataFrameSchema) -> pl.DataFrame:
    """``frame`` and the columns of ``schema`` that it lacks, null or their default."""
    lacking = {name: column for name, column in schema.columns.items() if name not in frame.columns}
    return frame.with_columns(
        pl.lit(column.default, dtype=column.dtype.type).alias(name) for name, column in lacking.items()
    )


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
    key = [column for column in ("asset_id", "month", "period_end", "day") if column in frame.columns]
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
