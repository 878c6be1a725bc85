"""Statements of the simulated firms: quarters and years that balance, filed late and sometimes restated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from seqpricing_core.months import month_ends
from seqpricing_core.sources.simulated.firms import Firms, Ints, Listings
from seqpricing_core.sources.simulated.truth import Floats
from seqpricing_core.tables import BALANCE_ITEMS, FLOW_ITEMS

NEVER: Final = np.datetime64("9999-12-31")
MONEY_UNIT: Final = 1e6 / 1024
"""USD; a multiple of it is exact in dollars and in millions of dollars."""

CUMULATIVE_ITEMS: Final = (
    "operating_cash_flow", "capital_expenditures", "share_repurchases", "share_issuance",
)  # fmt: skip
"""Of the cash flow statement: quarterly reports give them from the start of the fiscal year on."""
ANNUAL_ONLY: Final = ("convertible_debt", "employees", "dividends", "current_income_taxes")
"""Items that quarterly reports of the complete market lack, as Compustat's do."""
ALWAYS_REPORTED: Final = ("assets", "book_equity", "earnings")
MISSING: Final = 0.02
"""Share of the other items that are not reported."""
LAG: Final = {3: "4mo", 12: "6mo"}
"""From the end of a period to the day from which it counts as public, where no filing date is known."""
RESTATED: Final = 0.03
"""Share of quarters that are restated 200 to 500 days after the quarter."""
REPORT_FACTS: Final = ("restated", "filed", "fiscal_year_end", "fiscal_quarter", "splits", "company_id")


def closes_quarter(month: np.datetime64) -> bool:
    return int(month.astype(int)) % 3 == 2


class KnownQuarters:
    """Book equity, earnings and assets of closed quarters: filed, and since when public."""

    ITEMS = ("book", "earnings", "assets")

    def __init__(self, slots: int) -> None:
        self.known = {item: np.full((slots, 5), np.nan) for item in self.ITEMS}
        """(S, 5) newest public quarter first."""
        self._pending: dict[str, Any] | None = None

    def close(self, filed: Any, *values: Floats) -> None:
        self._pending = {
            "filed": filed.copy(), **{i: v.copy() for i, v in zip(self.ITEMS, values, strict=True)}
        }  # fmt: skip

    def publish(self, month: np.datetime64) -> None:
        """Statements filed by the end of ``month`` become the newest known ones."""
        if self._pending is None:
            return
        end = month_ends(np.array([month])).to_numpy()[0]
        public = np.flatnonzero(self._pending["filed"] <= end)
        for item in self.ITEMS:
            known = self.known[item]
            known[public, 1:] = known[public, :-1]
            known[public, 0] = self._pending[item][public]
        self._pending["filed"][public] = NEVER

    def forget(self, slots: Ints) -> None:
        """The firm left; its successor has reported nothing."""
        for item in self.ITEMS:
            self.known[item][slots] = np.nan
        if self._pending is not None:
            self._pending["filed"][slots] = NEVER


@dataclass(frozen=True)
class ClosedQuarter:
    """What the truth needs of a quarter, and all that is reported of it; (S,) arrays."""

    filed: Any
    """Days."""
    items: dict[str, Floats]


def close_quarter(
    firms: Firms, month: np.datetime64, random: np.random.Generator, books: np.random.Generator, *, exact: bool
) -> ClosedQuarter:
    """Earnings, growth and issuance of the quarter; the statement is filed 20 to 75 days later.

    ``random`` draws what the truth depends on, ``books`` the rest. Identities:

    - assets = current assets + property + intangibles + other assets = liabilities + book equity
    - current assets = cash + receivables + inventory + other current assets
    - liabilities = current liabilities + long-term debt + deferred taxes + other liabilities
    - revenue = cost of revenue + selling, general and administrative + depreciation + operating income
    - operating income - interest = pretax income = earnings + income taxes
    - change in book equity = earnings - dividends - share repurchases + share issuance

    Parameters
    ----------
    exact
        Amounts are whole multiples of `MONEY_UNIT`, so that the identities hold without rounding error.
    """
    slots, draw = len(firms.asset_id), random.standard_normal
    money = _whole if exact else _as_is
    firms.book = money(firms.book)  # of a firm that is new as well
    firms.profitability += -0.15 * (firms.profitability - 0.03) + 0.012 * draw(slots)
    earnings = money(firms.profitability * firms.book)
    growth = 0.015 + 0.3 * (firms.profitability - 0.03) + 0.03 * draw(slots)
    equity = firms.price * firms.shares
    assets_before, book_before = firms.assets, firms.book
    firms.assets = firms.assets * (1 + growth)
    # Book equity is drawn towards half of the market's: ratios to price stay in bounds.
    pull = 0.04 * np.log(0.5 * equity / firms.book)
    firms.book = money(np.maximum(firms.book * np.exp(pull) + 0.5 * earnings, 0.02 * equity))
    firms.assets = money(np.maximum(firms.assets, 1.2 * firms.book))
    liabilities = firms.assets - firms.book
    revenue = money(assets_before * 0.25 * np.exp(0.2 * draw(slots)))
    filed = month_ends(np.array([month])).to_numpy()[0] + random.integers(20, 76, slots)
    items = {
        "assets": firms.assets,
        "current_assets": money(firms.assets * 0.4 * np.exp(0.1 * draw(slots))),
        "liabilities": liabilities,
        "current_liabilities": money(liabilities * 0.45 * np.exp(0.1 * draw(slots))),
        "book_equity": firms.book,
        "cash": money(firms.assets * 0.1 * np.exp(0.4 * draw(slots))),
        "long_term_debt": money(liabilities * 0.4 * np.exp(0.1 * draw(slots))),
        "revenue": revenue,
        "earnings": earnings,
        "operating_cash_flow": money(earnings + 0.01 * firms.assets * draw(slots)),
        "capital_expenditures": money(0.015 * firms.assets * np.exp(0.3 * draw(slots))),
        "shares": firms.shares,
    }
    items |= _further_balance(firms, items, books, exact=exact)
    items |= _further_flows(firms, items, book_before, books, exact=exact)
    if exact:
        items["operating_cash_flow"] = items["operating_cash_flow"] + items["depreciation"]
    return ClosedQuarter(filed, items)


def _further_balance(
    firms: Firms, of: dict[str, Floats], books: np.random.Generator, *, exact: bool
) -> dict[str, Floats]:
    slots, draw = len(firms.asset_id), books.standard_normal
    money = _whole if exact else _as_is
    current = np.maximum(of["current_assets"] - of["cash"], 0.0)
    receivables = money(current * 0.45 * np.exp(0.1 * draw(slots)))
    inventory = money(current * 0.35 * np.exp(0.1 * draw(slots)))
    fixed = of["assets"] - of["current_assets"]
    property_ = money(fixed * 0.6 * np.exp(0.05 * draw(slots)))
    intangibles = money(fixed * 0.2 * np.exp(0.1 * draw(slots)))
    payables = money(of["current_liabilities"] * 0.4 * np.exp(0.1 * draw(slots)))
    taxes = money(of["current_liabilities"] * 0.05 * np.exp(0.2 * draw(slots)))
    short_debt = money(of["current_liabilities"] * 0.2 * np.exp(0.2 * draw(slots)))
    rest = of["liabilities"] - of["current_liabilities"] - of["long_term_debt"]
    deferred = money(0.3 * np.maximum(rest, 0.0))
    staff = of["revenue"] * 4 / 250_000 * np.exp(0.1 * draw(slots))
    zero = np.zeros(slots)
    return {
        "inventory": inventory,
        "receivables": receivables,
        "property_plant_equipment": property_,
        "gross_property_plant_equipment": money(property_ * 1.6 * np.exp(0.05 * draw(slots))),
        "intangibles": intangibles,
        "other_assets": fixed - property_ - intangibles,
        "other_liabilities": rest - deferred,
        "payables": payables,
        "other_current_assets": of["current_assets"] - of["cash"] - receivables - inventory,
        "other_current_liabilities": of["current_liabilities"] - payables - taxes - short_debt,
        "short_term_debt": short_debt,
        "taxes_payable": taxes,
        "deferred_taxes": deferred,
        "preferred_stock": zero,
        "minority_interest": zero,
        "convertible_debt": np.where(firms.asset_id % 5 == 0, money(0.25 * of["long_term_debt"]), 0.0),
        "employees": np.maximum(np.rint(staff / 125), 1.0) * 125,
    }


def _further_flows(
    firms: Firms, of: dict[str, Floats], book_before: Floats, books: np.random.Generator, *, exact: bool
) -> dict[str, Floats]:
    slots, draw = len(firms.asset_id), books.standard_normal
    money = _whole if exact else _as_is
    earnings = of["earnings"]
    taxes = money(np.maximum(earnings, 0.0) / 3)
    pretax = earnings + taxes
    interest = money(0.015 * (of["long_term_debt"] + of["short_term_debt"]))
    operating = pretax + interest
    depreciation = money(0.02 * of["property_plant_equipment"] * np.exp(0.1 * draw(slots)))
    costs = of["revenue"] - operating - depreciation
    goods = money(costs * np.clip(0.65 + 0.05 * draw(slots), 0.3, 0.95))
    research = money(0.03 * of["revenue"] * np.exp(0.2 * draw(slots)))
    dividends = np.where(firms.asset_id % 2 == 0, money(0.3 * np.maximum(earnings, 0.0)), 0.0)
    bought = earnings - dividends - (of["book_equity"] - book_before)
    return {
        "cost_of_revenue": goods,
        "selling_general_administrative": costs - goods,
        # Half of the firms do no research, and say nothing of it.
        "research_development": np.where(firms.asset_id % 4 < 2, research, np.nan),
        "depreciation": depreciation,
        "interest_expense": interest,
        "operating_income": operating,
        "pretax_income": pretax,
        "income_taxes": taxes,
        "current_income_taxes": money(0.85 * taxes),
        "dividends": dividends,
        "share_repurchases": np.maximum(bought, 0.0),
        "share_issuance": np.maximum(-bought, 0.0),
    }


def _whole(amount: Floats) -> Floats:
    whole: Floats = np.rint(amount / MONEY_UNIT) * MONEY_UNIT
    return whole


def _as_is(amount: Floats) -> Floats:
    return amount


class Reports:
    """Closed quarters as rows of statements: what is missing, years to date, whole years, restatements.

    ``lagged`` statements carry no filing date but count as public from `LAG` on, and none is restated.
    """

    def __init__(self, seed: int, slots: int, *, lagged: bool) -> None:
        self.lagged = lagged
        self.random = np.random.default_rng([seed, 2])
        self.year_to_date = {item: np.zeros(slots) for item in FLOW_ITEMS}
        self.quarters_of_year = np.zeros(slots, dtype=np.int64)
        """Closed quarters of the fiscal year in which the firm was listed."""
        self.no_cash_flows = np.zeros(slots, dtype=np.bool_)
        """Firms that report no cash flow statement this fiscal year."""
        self._reported = np.zeros(slots, dtype=np.bool_)
        self._to_restate: list[pl.DataFrame] = []

    def forget(self, slots: Ints) -> None:
        """The firms left; what they had to restate stays unsaid."""
        self.quarters_of_year[slots] = 0
        self._reported[slots] = False
        for total in self.year_to_date.values():
            total[slots] = 0.0

    def rows(self, closed: ClosedQuarter, firms: Firms, listings: Listings, month: np.datetime64) -> pl.DataFrame:
        """Quarterly and annual reports of the period that ends with ``month``.

        Columns of `seqpricing_core.tables.STATEMENTS`, then `REPORT_FACTS`, then ``year_to_date_...`` of
        `CUMULATIVE_ITEMS`.
        """
        fiscal_quarter = (_month_of_year(month) - listings.fiscal_year_end) // 3 % 4
        fiscal_quarter = np.where(fiscal_quarter == 0, 4, fiscal_quarter)
        self._start_years(fiscal_quarter == 1)
        first_report = ~self._reported
        for item, total in self.year_to_date.items():
            flow = closed.items[item]
            # A firm that is listed during its fiscal year reports the quarters before as well.
            total += np.where(first_report & (fiscal_quarter > 1), fiscal_quarter, 1) * flow
        self.quarters_of_year += 1
        identity = {
            "asset_id": firms.asset_id,
            "period_end": month_ends(np.repeat(month, len(firms.asset_id))),
            "available_from": pl.Series(closed.filed).cast(pl.Date),
            "fiscal_year_end": listings.fiscal_year_end.copy(),
            "fiscal_quarter": fiscal_quarter,
            "splits": firms.splits.copy(),
            "company_id": listings.company_id.copy(),
            **{f"year_to_date_{item}": self.year_to_date[item].copy() for item in CUMULATIVE_ITEMS},
        }
        quarter = self._quarterly(identity, closed.items, unknown=first_report & (fiscal_quarter > 1))
        self._note_restatements(quarter, ~listings.second)
        self._reported[:] = True
        first_classes = pl.Series(~listings.second)
        whole = pl.Series((fiscal_quarter == 4) & (self.quarters_of_year == 4) & ~listings.second)
        annual = self._annual(identity, closed.items)
        return pl.concat([quarter.filter(first_classes), annual.filter(whole)])

    def plain_rows(self, closed: ClosedQuarter, firms: Firms, month: np.datetime64) -> pl.DataFrame:
        """Quarterly reports of every stock, once each; `plain_gaps` has yet to make what is missing."""
        identity = {
            "asset_id": firms.asset_id,
            "period_end": month_ends(np.repeat(month, len(firms.asset_id))),
            "available_from": pl.Series(closed.filed).cast(pl.Date),
            "period_months": pl.repeat(3, len(firms.asset_id), dtype=pl.Int32, eager=True),
        }
        return pl.DataFrame(identity | closed.items).with_columns(pl.col(*closed.items).fill_nan(None))

    def restatements(self, month: np.datetime64, alive: Ints) -> pl.DataFrame | None:
        """Quarters reported again in ``month``, by firms that still exist."""
        due = [rows.filter(_falls_in(month)) for rows in self._to_restate]
        due = [rows.filter(pl.col("asset_id").is_in(alive)) for rows in due if len(rows)]
        end = month_ends(np.array([month]))[0]
        later = (rows.filter(pl.col("available_from") > end) for rows in self._to_restate)
        self._to_restate = [rows for rows in later if len(rows)]
        return pl.concat(due) if due else None

    def _start_years(self, starts: Any) -> None:
        for total in self.year_to_date.values():
            total[starts] = 0.0
        self.quarters_of_year[starts] = 0
        silent = self.random.random(len(starts)) < MISSING
        self.no_cash_flows = np.where(starts, silent, self.no_cash_flows)

    def _quarterly(self, identity: dict[str, Any], items: dict[str, Floats], unknown: Any) -> pl.DataFrame:
        """A quarter's cash flows are known once the year to date of the quarter before is."""
        values: dict[str, Any] = {}
        for item in (*BALANCE_ITEMS, *FLOW_ITEMS):
            if item in ANNUAL_ONLY:
                absent = np.ones(len(unknown), dtype=np.bool_)
            elif item in CUMULATIVE_ITEMS:
                absent = self.no_cash_flows | unknown
            else:
                absent = self._gaps(item, len(unknown))
            values[item] = np.where(absent, np.nan, items[item])
        return self._report(identity, values, 3)

    def _annual(self, identity: dict[str, Any], items: dict[str, Floats]) -> pl.DataFrame:
        year = {item: items[item] for item in BALANCE_ITEMS} | self.year_to_date
        values = {
            item: np.where(
                self.no_cash_flows if item in CUMULATIVE_ITEMS else self._gaps(item, len(value)), np.nan, value
            )
            for item, value in year.items()
        }
        # Current taxes are a part of all taxes, and as unknown as they.
        unknown_taxes = np.isnan(values["income_taxes"])
        values["current_income_taxes"] = np.where(unknown_taxes, np.nan, year["current_income_taxes"])
        return self._report(identity, values, 12)

    def _report(self, identity: dict[str, Any], values: dict[str, Floats], months: int) -> pl.DataFrame:
        silent = pl.Series(self.no_cash_flows)
        rows = pl.DataFrame(identity).with_columns(
            *(pl.Series(item, values[item]).fill_nan(None) for item in (*BALANCE_ITEMS, *FLOW_ITEMS)),
            pl.lit(months, dtype=pl.Int32).alias("period_months"),
            pl.lit(value=False).alias("restated"),
            pl.col("available_from").alias("filed"),
            *(
                pl.when(~silent).then(pl.col(name)).alias(name)
                for name in (f"year_to_date_{item}" for item in CUMULATIVE_ITEMS)
            ),
        )
        if self.lagged:
            lag = pl.col("period_end").dt.offset_by(LAG[months]).dt.month_end()
            rows = rows.with_columns(available_from=lag)
        return rows

    def _gaps(self, item: str, count: int) -> Any:
        missing = self.random.random(count) < MISSING
        return missing & (item not in ALWAYS_REPORTED)

    def _note_restatements(self, quarter: pl.DataFrame, first_class: Any) -> None:
        """Revenue was booked too early: revenue, income before tax and after it, and receivables fall."""
        chosen = first_class & (self.random.random(len(first_class)) < RESTATED) & (not self.lagged)
        lag = pl.Series(self.random.integers(200, 501, int(chosen.sum())))
        share = pl.Series(0.01 + 0.09 * self.random.random(int(chosen.sum())))
        rows = (
            quarter.filter(pl.Series(chosen))
            .with_columns(lag.alias("lag"), share.alias("share"))
            # Without revenue or receivables there is nothing to correct.
            .drop_nulls(["revenue", "receivables"])
        )
        units = (pl.col("revenue") * pl.col("share") / MONEY_UNIT).round() * MONEY_UNIT
        excess = pl.min_horizontal(units, pl.col("receivables"))
        lower = ("revenue", "operating_income", "pretax_income", "earnings", "receivables")
        restated = rows.with_columns(
            *(pl.col(item) - excess for item in lower),
            pl.col("other_current_assets") + excess,
            (pl.col("period_end") + pl.duration(days=pl.col("lag"))).alias("available_from"),
            pl.lit(value=True).alias("restated"),
        )
        self._to_restate.append(restated.drop("lag", "share"))


def _falls_in(month: np.datetime64) -> pl.Expr:
    return pl.col("available_from").dt.month_end() == month_ends(np.array([month]))[0]


def _month_of_year(month: np.datetime64) -> int:
    return int(month.astype(int)) % 12 + 1
