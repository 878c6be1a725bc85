"""Compustat's ``funda`` and ``fundq`` -> canonical statements, by CCM's links.

- Money is millions, employees thousands. Shares x ``ajex`` are on one split-adjusted basis.
- Cash-flow items of ``fundq`` (``...y``) run from the start of the fiscal year: a quarter is the difference
  to the quarter before, and missing where that one is.
- Public from: no filing date in these tables, so some months after the period (METHODS, section 0). ``rdq``,
  the day of the earnings release, says nothing about the balance sheet and is not used.
- These tables hold what is known today: a figure that was restated within the same report is the newer one.
- Links: types LU and LC, primary P and C, valid on the last day of the fiscal period (Green, Hand, Zhang
  2017).

Dropped: other formats than industrial, standard, domestic, consolidated, in US dollars; firms without a link;
where two reports of a firm end on one day (a changed fiscal year), the one with the later fiscal quarter or
year.
"""

from __future__ import annotations

import polars as pl

MILLION = 1e6

ANNUAL = {
    "at": "assets", "act": "current_assets", "lt": "liabilities", "lct": "current_liabilities",
    "ceq": "book_equity", "che": "cash", "dltt": "long_term_debt", "sale": "revenue", "ib": "earnings",
    "oancf": "operating_cash_flow", "capx": "capital_expenditures",
    "invt": "inventory", "rect": "receivables", "ppent": "property_plant_equipment",
    "ppegt": "gross_property_plant_equipment", "intan": "intangibles", "ao": "other_assets",
    "lo": "other_liabilities", "ap": "payables", "aco": "other_current_assets",
    "lco": "other_current_liabilities",
    "dlc": "short_term_debt", "txp": "taxes_payable", "txditc": "deferred_taxes", "pstk": "preferred_stock",
    "mib": "minority_interest", "dcvt": "convertible_debt",
    "cogs": "cost_of_revenue", "xsga": "selling_general_administrative", "xrd": "research_development",
    "dp": "depreciation", "xint": "interest_expense", "oiadp": "operating_income", "pi": "pretax_income",
    "txt": "income_taxes", "dvc": "dividends", "prstkc": "share_repurchases", "sstk": "share_issuance",
}  # fmt: skip

QUARTERLY = {
    f"{item}q": ours
    for item, ours in ANNUAL.items()
    if item not in ("oancf", "capx", "dcvt", "dvc", "prstkc", "sstk")
}
YEAR_TO_DATE = {
    "oancfy": "operating_cash_flow", "capxy": "capital_expenditures", "prstkcy": "share_repurchases",
    "sstky": "share_issuance",
}  # fmt: skip
"""Dividends to common shareholders are annual only: ``dvy`` mixes in preferred ones."""

LINK_TYPES = ("LU", "LC")
PRIMARY = ("P", "C")


def annual_statements(funda: pl.DataFrame, lag_months: int) -> pl.DataFrame:
    """``gvkey, period_end, available_from, period_months`` and items in USD."""
    rows = _one_per_period(funda, "fyear")
    current = pl.sum_horizontal("txfed", "txfo", ignore_nulls=False)
    return rows.select(
        *_key(lag_months, 12),
        *((pl.col(theirs) * MILLION).alias(ours) for theirs, ours in ANNUAL.items()),
        (pl.col("csho") * pl.col("ajex") * MILLION).alias("shares"),
        (pl.col("emp") * 1000.0).alias("employees"),
        (current.fill_null(pl.col("txt") - pl.col("txdi").fill_null(0.0)) * MILLION).alias(
            "current_income_taxes"
        ),
    )


def quarterly_statements(fundq: pl.DataFrame, lag_months: int) -> pl.DataFrame:
    """The same of quarters; ``fundq`` must reach three quarters further back than the rows wanted."""
    rows = _one_per_period(fundq, "fqtr").sort("gvkey", "fyearq", "fqtr")
    before = (pl.col("gvkey").shift(1) == pl.col("gvkey")) & (pl.col("fyearq").shift(1) == pl.col("fyearq"))
    follows = before & (pl.col("fqtr").shift(1) == pl.col("fqtr") - 1)

    def of_quarter(column: str) -> pl.Expr:
        to_date = pl.col(column)
        return pl.when(pl.col("fqtr") == 1).then(to_date).when(follows).then(to_date - to_date.shift(1))

    return rows.select(
        *_key(lag_months, 3),
        *((pl.col(theirs) * MILLION).alias(ours) for theirs, ours in QUARTERLY.items()),
        *((of_quarter(theirs) * MILLION).alias(ours) for theirs, ours in YEAR_TO_DATE.items()),
        (pl.col("cshoq") * pl.col("ajexq") * MILLION).alias("shares"),
    )


def _key(lag_months: int, period_months: int) -> list[pl.Expr]:
    end = pl.col("datadate")
    return [
        pl.col("gvkey"),
        end.alias("period_end"),
        end.dt.month_end().dt.offset_by(f"{lag_months}mo").dt.month_end().alias("available_from"),
        pl.lit(period_months, dtype=pl.Int32).alias("period_months"),
    ]


def _one_per_period(rows: pl.DataFrame, fiscal: str) -> pl.DataFrame:
    return rows.sort("gvkey", "datadate", fiscal).unique(
        ["gvkey", "datadate"], keep="last", maintain_order=True
    )


def link_statements(statements: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """``asset_id`` for ``gvkey``, by the link that was valid on the last day of the period.

    Where two firms point to one stock on a day, the primary link P wins over C, then the longer-standing one.
    """
    valid = links.filter(pl.col("linktype").is_in(LINK_TYPES), pl.col("linkprim").is_in(PRIMARY)).select(
        "gvkey", "linkprim", "linkdt", "linkenddt", asset_id="lpermno"
    )
    key = ["asset_id", "period_end", "period_months", "available_from"]
    return (
        statements.join(valid.drop_nulls("asset_id"), on="gvkey")
        .filter(
            pl.col("linkdt").is_null() | (pl.col("linkdt") <= pl.col("period_end")),
            pl.col("linkenddt").is_null() | (pl.col("period_end") <= pl.col("linkenddt")),
        )
        .sort(*key, pl.col("linkprim") != "P", "linkdt", "gvkey")
        .unique(key, keep="first", maintain_order=True)
        .drop("gvkey", "linkprim", "linkdt", "linkenddt")
    )
