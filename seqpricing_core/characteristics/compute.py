"""Canonical tables -> raw characteristics, set-based, point in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from seqpricing_core.characteristics.day_statistics import STATISTIC_INPUTS
from seqpricing_core.characteristics.definition import ITEM_COLUMN, MEAN, SUM, Definition, total
from seqpricing_core.characteristics.registry import REGISTRY, history_years
from seqpricing_core.characteristics.rolling import rolling_characteristics
from seqpricing_core.characteristics.segments import group_sums
from seqpricing_core.tables import FLOW_ITEMS, STATEMENTS, STOCK_MONTHS, with_optional_columns

DAY_HISTORY_YEARS = 3
"""Years of `day_statistics` before year y that the characteristics of year y may reach."""

MAXIMUM_AGE_QUARTERS = 5
"""A quarterly statement whose quarter ended longer ago says nothing any more."""
MAXIMUM_AGE_YEAR = 6
"""The same for an annual one, in quarters: six months until it is public, a year until the next one."""


def compute_characteristics(
    stock_months: pl.DataFrame,
    statements: pl.DataFrame,
    year: int,
    acronyms: Sequence[str],
    day_statistics: pl.DataFrame | None = None,
    inputs: frozenset[str] | None = None,
) -> pl.DataFrame:
    """Raw characteristics of every stock at the end of every month of ``year``.

    **Timing.** A row of month m uses market data of months up to m and statements public by the end
    of m, as first reported: a later restatement never replaces what was known. These rows price
    month m + 1.

    Parameters
    ----------
    stock_months, statements
        Canonical tables with at least the years ``year - history_years(acronyms)`` .. ``year``.
    year
        Year of the rows returned.
    acronyms
        Which characteristics of the registry, in the order of the columns.
    day_statistics
        `day_statistics` of the years ``year - DAY_HISTORY_YEARS`` .. ``year``; None for a source without
        days.
    inputs
        What the source has, as `RawTables.inputs` says: where a characteristic has two definitions, the first
        that it suffices for. By default all columns there can be, days only with ``day_statistics``.

    Returns
    -------
    DataFrame
        ``asset_id``, ``month``, ``history_months`` (months since the first in the tables),
        ``market_equity`` (USD), what the universe is chosen by (`CARRIED`), then one Float64 column per
        acronym; null where it cannot be computed, never NaN or infinite. One row per stock that traded in the
        month.
    """
    definitions = {
        acronym: _definition(acronym, inputs, with_days=day_statistics is not None) for acronym in acronyms
    }
    plan = _Plan.of(definitions)
    stocks = (
        _grid(stock_months, year, history_years(acronyms))
        .collect()
        .with_columns(plan.market)
        .filter(pl.col("month").dt.year() == year, pl.col("traded"))
        .with_columns(industry=pl.col("sic") // 100)
    )
    stocks = stocks.with_columns(_firm_equity(stocks))
    keys = stocks.select("asset_id", "month").sort("month", "asset_id")
    for found in (
        _days_known(day_statistics, year, plan.statistics),
        _statements_known(keys, statements, plan.items),
    ):
        stocks = stocks.join(found, on=["asset_id", "month"], how="left", maintain_order="left")
    stocks = stocks.with_columns(plan.rest)
    table = (
        stocks.lazy()
        .with_columns(column for base in plan.bases for column in _of_industry(stocks, base))
        .with_columns(plan.compared)
        .select("asset_id", "month", "history_months", "market_equity", *CARRIED, *acronyms)
        .with_columns(
            pl.when(pl.col(a).is_finite()).then(pl.col(a)).cast(pl.Float64).alias(a) for a in acronyms
        )
    )
    return table.sort("month", "asset_id").collect()


CARRIED = ("exchange", "common_share", "sic", "unadjusted_price")
"""Columns of ``stock_months`` that go with the characteristics."""


def _definition(acronym: str, inputs: frozenset[str] | None, *, with_days: bool) -> Definition:
    entry = REGISTRY[acronym]
    if inputs is not None:
        return entry.definition_from(inputs) or entry.definition
    needs_days = any(name.startswith("stock_days.") for name in entry.definition.inputs)
    return entry.instead if entry.instead is not None and needs_days and not with_days else entry.definition


@dataclass(frozen=True)
class _Plan:
    """The expressions of the characteristics asked for, by the step that can evaluate them."""

    market: list[pl.Expr]
    """Those that look back over months: on the grid of the whole history."""
    rest: list[pl.Expr]
    """On the rows of the year, once days and statements are joined."""
    compared: list[pl.Expr]
    """Across the stocks of an industry, once the others are there."""
    bases: list[str]
    """Columns whose means and sums over industries these need."""
    statistics: list[str]
    """Columns of days that they need."""
    items: list[str]
    """Columns of statements that they need."""

    @classmethod
    def of(cls, definitions: dict[str, Definition]) -> _Plan:
        bases = {n: b for d in definitions.values() for n, b in d.bases.items()}
        plain = {n: d for n, d in definitions.items() if not d.bases} | bases
        columns = dict.fromkeys(column for d in definitions.values() for column in d.columns)
        statistics = [column for column in columns if column in STATISTIC_INPUTS]
        items = [column for column in columns if ITEM_COLUMN.fullmatch(column)]
        later = {*statistics, *items, "equity", "industry"}
        market = {n: d for n, d in plain.items() if later.isdisjoint(d.columns)}
        return cls(
            market=[d.expression.alias(n) for n, d in market.items()],
            rest=[d.expression.alias(n) for n, d in plain.items() if n not in market],
            compared=[d.expression.alias(n) for n, d in definitions.items() if d.bases],
            bases=list(bases),
            statistics=statistics,
            items=items,
        )


def _firm_equity(stocks: pl.DataFrame) -> pl.Series:
    """Market equity of all share classes of the month, for ratios to what the whole firm owns and earns."""
    whole, _ = group_sums(stocks, ("month", "company_id"), "market_equity")
    own = pl.col("market_equity")
    alone = pl.col("company_id").is_null() | own.is_null()
    return stocks.select(pl.when(alone).then(own).otherwise(pl.lit(whole)).alias("equity")).to_series()


def _of_industry(stocks: pl.DataFrame, base: str) -> list[pl.Series]:
    sums, counts = group_sums(stocks, ("month", "industry"), base)
    return [sums.alias(f"{base}{SUM}"), (sums / counts).alias(f"{base}{MEAN}")]


def _grid(stock_months: pl.DataFrame, year: int, history: int) -> pl.LazyFrame:
    """A row for every stock of ``year`` and every month of the history, so that shifts are months."""
    months = with_optional_columns(stock_months, STOCK_MONTHS).rename({"shares": "shares_outstanding"})
    first = months.group_by("asset_id").agg(pl.col("month").min().alias("first"))
    assets = months.filter(pl.col("month").dt.year() == year).select("asset_id").unique()
    calendar = pl.DataFrame(
        {
            "month": pl.date_range(
                pl.date(year - history, 1, 1), pl.date(year, 12, 1), "1mo", eager=True
            ).dt.month_end()
        }
    )
    elapsed = (pl.col("month").dt.year() - pl.col("first").dt.year()) * 12 + (
        pl.col("month").dt.month() - pl.col("first").dt.month()
    )
    return (
        assets.sort("asset_id")
        .join(first, on="asset_id", maintain_order="left")
        .join(calendar, how="cross", maintain_order="left_right")
        .lazy()
        .join(
            months.lazy().with_columns(traded=pl.lit(value=True)), on=["asset_id", "month"], how="left",
            maintain_order="left",
        )
        .with_columns(
            (elapsed + 1).alias("history_months"), pl.col("traded").fill_null(value=False)
        )
        .drop("first")
    )  # fmt: skip


def _days_known(statistics: pl.DataFrame | None, year: int, columns: Sequence[str]) -> pl.DataFrame:
    """The statistics of days asked for, null without days."""
    keys = {"asset_id": pl.Int64, "month": pl.Date}
    if statistics is None or not columns:
        return pl.DataFrame(schema=keys | dict.fromkeys(columns, pl.Float64))
    of_year = statistics.filter(pl.col("month").dt.year() == year)
    if not set(columns) <= set(statistics.columns):
        rolled = rolling_characteristics(statistics, year)
        of_year = of_year.join(rolled, on=["asset_id", "month"], how="left")
    return of_year.select("asset_id", "month", *columns)


def _statements_known(keys: pl.DataFrame, statements: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The columns of statements asked for: quarters, and years from annual statements or from quarters."""
    matches = [match for column in columns if (match := ITEM_COLUMN.fullmatch(column))]
    quarterly = {(m[1], int(m[3] or 0)): m[0] for m in matches if m[3] is not None}
    annual = {(m[1], 4 * int(m[2] or 0)): m[0] for m in matches if m[3] is None}
    filed = with_optional_columns(statements, STATEMENTS)
    of_quarters = {(item, lag + k) for item, lag in annual for k in range(4 if item in FLOW_ITEMS else 1)}
    known = (
        _periods_known(keys, filed.filter(pl.col("period_months") == 3), of_quarters | set(quarterly),
                       MAXIMUM_AGE_QUARTERS)
        .with_columns(_four_quarters(item, lag).alias(name) for (item, lag), name in annual.items())
        .select(
            "asset_id", "month", *annual.values(),
            *(pl.col(f"{item}_p{lag}").alias(name) for (item, lag), name in quarterly.items()),
        )
    )  # fmt: skip
    years = _periods_known(keys, filed.filter(pl.col("period_months") == 12), set(annual), MAXIMUM_AGE_YEAR)
    return known.join(years, on=["asset_id", "month"], how="full", coalesce=True).select(
        "asset_id", "month", *quarterly.values(),
        *(
            pl.when(pl.col("newest").is_null()).then(pl.col(name)).otherwise(pl.col(f"{item}_p{lag}"))
            .alias(name)
            for (item, lag), name in annual.items()
        ),
    )  # fmt: skip


def _four_quarters(item: str, lag: int) -> pl.Expr:
    """An annual item from quarters: the sum of four for a flow, else the last."""
    newest_first = [pl.col(f"{item}_p{lag + k}") for k in range(4 if item in FLOW_ITEMS else 1)]
    return total(newest_first)


def _periods_known(
    keys: pl.DataFrame, statements: pl.DataFrame, wanted: set[tuple[str, int]], maximum_age: int
) -> pl.DataFrame:
    """``item_p<k>`` for every item and k in ``wanted``: k quarters before the newest public period.

    Each period is looked up by itself and must itself be public by the end of the month, so
    a late filing of an old period neither hides the newer ones nor is seen too early. Rows: stocks and
    months with a public period that is not too old; ``newest`` is its number.
    """
    first_reports = _first_reports(statements)
    known = (
        first_reports.sort("available_from")
        .with_columns(pl.col("quarter").cum_max().over("asset_id", order_by="available_from"))
        .select("asset_id", "available_from", pl.col("quarter").alias("newest"))
    )
    base = (
        keys.join_asof(known, left_on="month", right_on="available_from", by="asset_id",
                       check_sortedness=False)
        .drop("available_from")
        .filter(_quarter_index(pl.col("month")) - pl.col("newest") <= maximum_age)
    )  # fmt: skip
    for lag in sorted({lag for _, lag in wanted}):
        items = sorted(item for item, of in wanted if of == lag)
        lagged = first_reports.select(
            "asset_id",
            (pl.col("quarter") + lag).alias("newest"),
            pl.col("available_from").alias("public"),
            *(pl.col(item).alias(f"{item}_p{lag}") for item in items),
        )
        base = (
            base.join(lagged, on=["asset_id", "newest"], how="left")
            .with_columns(
                pl.when(pl.col("public") <= pl.col("month"))
                .then(pl.col(f"{item}_p{lag}"))
                .alias(f"{item}_p{lag}")
                for item in items
            )
            .drop("public")
        )
    return base


def _first_reports(statements: pl.DataFrame) -> pl.DataFrame:
    return (
        statements.with_columns(_quarter_index(pl.col("period_end").dt.offset_by("-15d")).alias("quarter"))
        .sort("asset_id", "quarter", "available_from", "period_end")
        .unique(["asset_id", "quarter"], keep="first", maintain_order=True)
    )


def _quarter_index(day: pl.Expr) -> pl.Expr:
    """Quarters since year 0. Fiscal quarters may close a few days into the next calendar quarter
    (52- and 53-week years): callers shift period ends back by 15 days first.
    """
    return day.dt.year() * 4 + (day.dt.month() - 1) // 3
