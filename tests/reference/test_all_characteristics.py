"""Every characteristic of the registry against a slow, readable computation: one firm, one month.

Point in time. The tables are random, with everything that makes real ones difficult: quarters and years, late
and restated statements, gaps, share classes, changing industries, days with missing values. Then real ones.
"""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections import defaultdict
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqpricing_core.characteristics.compute import compute_characteristics
from seqpricing_core.characteristics.day_statistics import AGGREGATES, day_statistics, market_days
from seqpricing_core.characteristics.registry import DAILY_REGISTRY, REGISTRY, available_characteristics
from seqpricing_core.characteristics.trend import trend_features
from seqpricing_core.sources.public_files import PublicFiles, asset_id_of
from seqpricing_core.study import load_study
from seqpricing_core.tables import (
    FACTOR_DAYS,
    FLOW_ITEMS,
    STATEMENTS,
    STOCK_DAYS,
    STOCK_MONTHS,
    check_table,
    with_optional_columns,
)

YEAR, STOCKS = 2004, 36
MONTHS = (1, 4, 9, 12)
"""Of the year, those that are compared."""


class Nothing(Exception):  # noqa: N818
    """A value that is needed is not there."""


def need(value):
    if value is None or not math.isfinite(value):
        raise Nothing
    return value


def positive(value):
    if need(value) <= 0:
        raise Nothing
    return value


def quarter_of(day):
    return day.year * 4 + (day.month - 1) // 3


def known(function, *arguments):
    """Its value, or None."""
    try:
        value = function(*arguments)
    except (Nothing, ZeroDivisionError, ValueError):
        return None
    return value if math.isfinite(value) else None


class Firm:
    """What was known of one stock at the end of one month. Months are counted: year * 12 + month - 1."""

    def __init__(self, market, asset, now):
        self.market, self.asset, self.now = market, asset, now
        year, month = now // 12, now % 12 + 1
        self.end = (dt.date(year, month, 28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)
        self.newest = {
            months: max((q for q, (day, _) in filed.items() if day <= self.end), default=None)
            for months, filed in market.reports[asset].items()
        }

    def m(self, column, back=0):
        """Monthly value ``back`` months ago."""
        return need(self.market.months[self.asset].get(self.now - back, {}).get(column))

    def window(self, column, first, last):
        return [self.m(column, back) for back in range(first, last - 1, -1)]

    def compound(self, first, last):
        return math.prod(1 + r for r in self.window("ret", first, last)) - 1

    def turnover(self, back=0):
        return self.m("dollar_volume", back) / positive(self.m("market_equity", back))

    @property
    def equity(self):
        """Of all classes of the firm."""
        own, company = self.m("market_equity"), self.market.months[self.asset][self.now]["company_id"]
        if company is None:
            return positive(own)
        rows = [months.get(self.now, {}) for months in self.market.months.values()]
        return positive(sum(r["market_equity"] or 0 for r in rows if r.get("company_id") == company))

    def _report(self, months, item, quarter):
        day, row = self.market.reports[self.asset][months].get(quarter, (dt.date.max, {}))
        return need(row[item] if day <= self.end else None)

    def q(self, item, back=0):
        """Of the newest public quarter, or ``back`` quarters before it."""
        newest = self.newest[3]
        if newest is None or quarter_of(self.end) - newest > 5:
            raise Nothing
        return self._report(3, item, newest - back)

    def a(self, item, back=0):
        """Of the newest public fiscal year, or ``back`` years before; from quarters where there is none."""
        newest = self.newest[12]
        if newest is not None and quarter_of(self.end) - newest <= 6:
            return self._report(12, item, newest - 4 * back)
        if item in FLOW_ITEMS:
            return sum(self.q(item, 4 * back + k) for k in range(4))
        return self.q(item, 4 * back)

    def growth(self, item):
        return self.a(item) / positive(self.a(item, 1)) - 1

    def gross(self, back=0):
        return self.a("revenue", back) - self.a("cost_of_revenue", back)

    def working_capital(self, back=0):
        assets = self.a("current_assets", back) - self.a("cash", back)
        return assets - (
            self.a("current_liabilities", back)
            - self.a("short_term_debt", back)
            - self.a("taxes_payable", back)
        )

    def noa(self, back=0):
        operating = self.a("assets", back) - self.a("cash", back)
        financed = sum(
            self.a(item, back)
            for item in (
                "short_term_debt",
                "long_term_debt",
                "minority_interest",
                "preferred_stock",
                "book_equity",
            )
        )
        return operating - (self.a("assets", back) - financed)

    @property
    def mean_assets(self):
        return (positive(self.a("assets")) + positive(self.a("assets", 1))) / 2

    @property
    def debt(self):
        return self.a("long_term_debt") + self.a("short_term_debt")

    @property
    def accruals(self):
        return self.a("earnings") - self.a("operating_cash_flow")

    @property
    def operating_accruals(self):
        change = self.working_capital() - self.working_capital(1)
        return (change - self.a("depreciation")) / positive(self.a("assets", 1))

    @property
    def debt_to_price(self):
        return self.debt / self.equity

    def ratio(self, top, bottom, back=0):
        return self.a(top, back) / positive(self.a(bottom, back))

    def quick(self, back=0):
        return (self.a("current_assets", back) - self.a("inventory", back)) / positive(
            self.a("current_liabilities", back)
        )

    def deviation(self, value, minimum, first=0, last=15):
        values = [v for v in (known(value, k) for k in range(first, last + 1)) if v is not None]
        if len(values) < minimum:
            raise Nothing
        return statistics.stdev(values)

    def surprise(self, item):
        def change(k):
            return self.q(item, k) - self.q(item, k + 4)

        return change(0) / positive(self.deviation(change, 6, 1, 8))

    def increases(self):
        count = 0
        for k in range(8):
            change = known(lambda k=k: self.q("earnings", k) - self.q("earnings", k + 4))
            if change is None and k == 0:
                raise Nothing
            if change is None or change <= 0:
                return count
            count += 1
        return count

    def piotroski(self):
        return sum([
            self.a("earnings") > 0,
            self.a("operating_cash_flow") > 0,
            self.ratio("earnings", "assets") > self.ratio("earnings", "assets", 1),
            self.a("operating_cash_flow") > self.a("earnings"),
            self.ratio("long_term_debt", "assets") < self.ratio("long_term_debt", "assets", 1),
            self.ratio("current_assets", "current_liabilities")
            > self.ratio("current_assets", "current_liabilities", 1),
            self.gross() / positive(self.a("revenue")) > self.gross(1) / positive(self.a("revenue", 1)),
            self.ratio("revenue", "assets") > self.ratio("revenue", "assets", 1),
            self.a("shares") <= self.a("shares", 1),
        ])  # fmt: skip

    def industry(self, value):
        """Known values over the stocks of the month with the same two digits."""
        own = need(self.m("sic")) // 100
        firms = [Firm(self.market, asset, self.now) for asset in self.market.trading(self.now)]
        peers = [f for f in firms if (s := known(f.m, "sic")) is not None and s // 100 == own]
        return [v for v in (known(value, f) for f in peers) if v is not None]

    def less_industry(self, value):
        own = known(value, self)
        return need(own) - statistics.fmean(self.industry(value))

    def days(self, months):
        """Rows of the last ``months`` months."""
        rows = self.market.days[self.asset]
        return [r for r in rows if 0 <= self.now - (r["day"].year * 12 + r["day"].month - 1) < months]

    def returns(self, months):
        return [row["ret"] for row in self.days(months) if row["ret"] is not None]

    def day_values(self, value):
        """Over the days of the month, where it can be computed."""
        return [v for v in (known(value, row) for row in self.days(1)) if v is not None]

    def regress(self, names, months, minimum):
        """Daily excess returns on market variables: coefficients (constant first), residuals, market."""
        rows = [
            (r["ret"] - x["risk_free"], *(x[n] for n in names))
            for r in self.days(months)
            if r["ret"] is not None and all((x := self.market.of_day[r["day"]])[n] is not None for n in names)
        ]
        if len(rows) < minimum:
            raise Nothing
        return least_squares(np.array(rows))

    def weeks(self):
        """(stock, market, four lags) of 36 months."""
        growth = defaultdict(lambda: 1.0)
        for r in self.market.days[self.asset]:
            if r["ret"] is not None:
                growth[week_of(r["day"])] *= 1 + r["ret"]
        rows = []
        for week, value in sorted(growth.items()):
            lags = self.market.weeks.get(week)
            if lags and 0 <= self.now - (week.year * 12 + week.month - 1) < 36:
                rows.append((value - lags[0], *lags[1:]))
        if len(rows) < 52:
            raise Nothing
        return np.array(rows)


def week_of(day):
    """Its Friday, or the end of the year if that comes first."""
    friday = day - dt.timedelta(days=day.weekday()) + dt.timedelta(days=4)
    return min(friday, dt.date(day.year, 12, 31))


def least_squares(rows):
    y, x = rows[:, 0], np.column_stack([np.ones(len(rows)), rows[:, 1:]])
    coefficients = np.linalg.lstsq(x, y)[0]
    return coefficients, y - x @ coefficients, rows[:, 1:]


def r_squared(rows):
    _, residuals, _ = least_squares(rows)
    return 1 - (residuals @ residuals) / ((rows[:, 0] - rows[:, 0].mean()) ** 2).sum()


def residual_variance(fit):
    coefficients, residuals, _ = fit
    return residuals @ residuals / (len(residuals) - len(coefficients))


def coskewness(fit):
    _, residuals, market = fit
    d = market[:, 0] - market[:, 0].mean()
    return np.mean(residuals * d**2) / (math.sqrt(np.mean(residuals**2)) * np.mean(d**2))


class Market:
    """Rows by stock, as plain dictionaries."""

    def __init__(self, months, statements, days, market):
        self.months, self.days = defaultdict(dict), defaultdict(list)
        for row in months.iter_rows(named=True):
            self.months[row["asset_id"]][row["month"].year * 12 + row["month"].month - 1] = row
        for row in days.sort("asset_id", "day").iter_rows(named=True):
            self.days[row["asset_id"]].append(row)
        self.reports = defaultdict(lambda: {3: {}, 12: {}})
        for row in statements.iter_rows(named=True):
            filed = self.reports[row["asset_id"]][row["period_months"]]
            quarter = quarter_of(row["period_end"] - dt.timedelta(days=15))
            held = filed.get(quarter)
            if held is None or (row["available_from"], row["period_end"]) < (held[0], held[1]["period_end"]):
                filed[quarter] = (row["available_from"], row)
        rows = market.sort("day").to_dicts()
        for before, row in zip([{"market": None}, *rows], rows, strict=False):
            row["lagged"] = before["market"]
        self.of_day = {row["day"]: row for row in rows}

    def trading(self, now):
        return [asset for asset, rows in self.months.items() if now in rows]

    @cached_property
    def weeks(self):
        """Week -> growth of a riskless dollar, market's excess return, its four lags."""
        riskless, total = defaultdict(lambda: 1.0), defaultdict(lambda: 1.0)
        for day, row in sorted(self.of_day.items()):
            riskless[week_of(day)] *= 1 + row["risk_free"]
            total[week_of(day)] *= 1 + row["market"] + row["risk_free"]
        order = sorted(total)
        excess = [total[w] - riskless[w] for w in order]
        return {
            week: (riskless[week], *(excess[i - k] for k in range(5)))
            for i, week in enumerate(order)
            if i >= 4
        }


def spread(high, low):
    return lambda r: (need(r[high]) - need(r[low])) / ((r[high] + r[low]) / 2)


def last_known(rows, column):
    return need(next((r[column] for r in reversed(rows) if r[column] is not None), None))


SLOW = {
    # Market.
    "mom_1": lambda f: f.m("ret"),
    "mom_6": lambda f: f.compound(5, 1),
    "mom_12": lambda f: f.compound(11, 1),
    "mom_36": lambda f: f.compound(35, 12),
    "mom_60": lambda f: f.compound(59, 12),
    "ret_60": lambda f: f.compound(59, 0),
    "retvol_60": lambda f: statistics.stdev(f.window("ret", 59, 0)),
    "skew_60": lambda f: skewness(f.window("ret", 59, 0)),
    "chmom": lambda f: f.compound(5, 0) - f.compound(11, 6),
    "seas": lambda f: f.m("ret", 11),
    "high52": lambda f: f.m("price") / max(f.window("high", 11, 0)),
    "retvol": lambda f: math.sqrt(f.m("sum_squared_daily_returns") / f.m("trading_days")),
    "maxret": lambda f: f.m("maximum_daily_return"),
    "retvol_12": lambda f: statistics.stdev(f.window("ret", 11, 0)),
    "mvel1": lambda f: math.log(f.m("market_equity")),
    "dolvol": lambda f: math.log(f.m("dollar_volume", 1)),
    "turn": lambda f: statistics.mean(f.turnover(back) for back in range(3)),
    "turn_1": lambda f: f.turnover(),
    "zerotrade": lambda f: (
        (f.m("zero_volume_days") + 1 / f.turnover() / 480_000) * 21 / f.m("trading_days")
    ),
    "dshrout": lambda f: f.m("shares") / positive(f.m("shares", 12)) - 1,
    # Days.
    "stdturn": lambda f: statistics.stdev(
        f.day_values(lambda r: need(r["volume"]) / positive(r["shares"]))
    ),
    "ill": lambda f: statistics.fmean(
        f.day_values(lambda r: abs(need(r["ret"])) / (need(r["dollar_volume"]) / 1e6))
    ),
    "baspread": lambda f: statistics.fmean(f.day_values(spread("high", "low"))),
    "spread": lambda f: statistics.fmean(f.day_values(spread("ask", "bid"))),
    "stddolvol": lambda f: statistics.stdev(f.day_values(lambda r: math.log(need(r["dollar_volume"])))),
    "stdvol": lambda f: (
        statistics.stdev(f.day_values(lambda r: need(r["volume"])))
        * last_known(f.days(1), "price") / f.m("unadjusted_price")
    ),
    "beta": lambda f: least_squares(f.weeks()[:, :2])[0][1],
    "betasq": lambda f: least_squares(f.weeks()[:, :2])[0][1] ** 2,
    "idiovol": lambda f: math.sqrt(residual_variance(least_squares(f.weeks()[:, :2]))),
    "pricedelay": lambda f: 1 - r_squared(f.weeks()[:, :2]) / r_squared(f.weeks()),
    "beta_daily": lambda f: f.regress(("market", "lagged"), 12, 100)[0][1:].sum(),
    "coskew": lambda f: coskewness(coskew_fit(f)),
    "rvar_capm": lambda f: residual_variance(f.regress(("market",), 3, 20)),
    "rvar_ff3": lambda f: residual_variance(f.regress(("market", "size", "value"), 3, 20)),
    "svar": lambda f: statistics.variance(at_least(20, f.returns(3))),
    # Annual statements.
    "bm": lambda f: f.a("book_equity") / f.equity,
    "ep": lambda f: f.a("earnings") / f.equity,
    "sp": lambda f: f.a("revenue") / f.equity,
    "cfp": lambda f: f.a("operating_cash_flow") / f.equity,
    "dy": lambda f: f.a("dividends") / f.equity,
    "a2me": lambda f: f.a("assets") / f.equity,
    "debt2p": lambda f: f.debt / f.equity,
    "nop": lambda f: (f.a("dividends") + f.a("share_repurchases") - f.a("share_issuance")) / f.equity,
    "o2p": lambda f: (
        f.a("dividends") + f.a("share_repurchases") - f.a("preferred_stock") + f.a("preferred_stock", 1)
    ) / f.equity,
    "rd_mve": lambda f: f.a("research_development") / f.equity,
    "q": lambda f: (f.a("assets") + f.equity - f.a("cash") - f.a("deferred_taxes")) / positive(f.a("assets")),
    "eps": lambda f: f.a("earnings") / (positive(f.m("market_equity")) / f.m("unadjusted_price")),
    "lev": lambda f: f.a("liabilities") / f.equity,
    "lev_book": lambda f: f.debt / positive(f.debt + f.a("book_equity")),
    "liab_at": lambda f: f.ratio("liabilities", "assets"),
    "currat": lambda f: f.ratio("current_assets", "current_liabilities"),
    "pchcurrat": lambda f: (
        f.ratio("current_assets", "current_liabilities")
        / f.ratio("current_assets", "current_liabilities", 1) - 1
    ),
    "quick": lambda f: f.quick(),
    "pchquick": lambda f: f.quick() / f.quick(1) - 1,
    "convind": lambda f: 1.0 if f.a("convertible_debt") > 0 else 0.0,
    "cashdebt": lambda f: f.ratio("operating_cash_flow", "liabilities"),
    "c2d": lambda f: (f.a("earnings") + f.a("depreciation")) / positive(f.a("liabilities")),
    "cashpr": lambda f: (f.equity + f.a("long_term_debt") - f.a("assets")) / positive(f.a("cash")),
    "salecash": lambda f: f.ratio("revenue", "cash"),
    "saleinv": lambda f: f.ratio("revenue", "inventory"),
    "pchsaleinv": lambda f: f.ratio("revenue", "inventory") / f.ratio("revenue", "inventory", 1) - 1,
    "salerec": lambda f: f.ratio("revenue", "receivables"),
    "tan": lambda f: (
        0.715 * f.a("receivables") + 0.547 * f.a("inventory") + 0.535 * f.a("property_plant_equipment")
        + f.a("cash")
    ) / positive(f.a("assets")),
    "agr": lambda f: f.growth("assets"),
    "egr": lambda f: f.growth("book_equity"),
    "lgr": lambda f: f.growth("liabilities"),
    "sgr": lambda f: f.growth("revenue"),
    "grcapx": lambda f: f.growth("capital_expenditures"),
    "chcsho": lambda f: f.growth("shares"),
    "hire": lambda f: f.growth("employees"),
    "invest": lambda f: f.a("capital_expenditures") / positive(f.a("assets", 1)),
    "dpi2a": lambda f: (
        f.a("gross_property_plant_equipment") - f.a("gross_property_plant_equipment", 1)
        + f.a("inventory") - f.a("inventory", 1)
    ) / positive(f.a("assets", 1)),
    "chinv": lambda f: (f.a("inventory") - f.a("inventory", 1)) / f.mean_assets,
    "noa": lambda f: f.noa() / positive(f.a("assets", 1)),
    "grltnoa": lambda f: (
        sum(
            sign * (f.a(item) - f.a(item, 1))
            for item, sign in (
                ("property_plant_equipment", 1), ("intangibles", 1), ("other_assets", 1),
                ("other_liabilities", -1),
            )
        ) + f.a("depreciation")
    ) / f.mean_assets,
    "acc": lambda f: f.accruals / f.mean_assets,
    "absacc": lambda f: abs(f.accruals / f.mean_assets),
    "pctacc": lambda f: f.accruals / abs(f.a("earnings")),
    "oa": lambda f: f.operating_accruals,
    "aoa": lambda f: abs(f.operating_accruals),
    "accruals_op": lambda f: (f.a("operating_cash_flow") - f.a("operating_income")) / positive(f.a("assets")),
    "at": lambda f: f.a("assets"),
    "ni": lambda f: f.a("earnings"),
    "gma": lambda f: f.gross() / positive(f.a("assets", 1)),
    "operprof": lambda f: (
        f.gross() - f.a("selling_general_administrative") - f.a("interest_expense")
    ) / positive(f.a("book_equity", 1)),
    "prof": lambda f: f.gross() / positive(f.a("book_equity")),
    "oproa": lambda f: f.ratio("operating_income", "assets"),
    "roic": lambda f: (
        f.a("operating_income") / positive(f.a("book_equity") + f.a("liabilities") - f.a("cash"))
    ),
    "rna": lambda f: f.a("operating_income") / positive(f.noa(1)),
    "ato": lambda f: f.a("revenue") / positive(f.noa(1)),
    "sat": lambda f: f.ratio("revenue", "assets"),
    "cto": lambda f: f.a("revenue") / positive(f.a("assets", 1)),
    "pm": lambda f: f.ratio("operating_income", "revenue"),
    "ipm": lambda f: f.ratio("pretax_income", "revenue"),
    "pcm": lambda f: f.gross() / positive(f.a("revenue")),
    "chpm": lambda f: f.ratio("earnings", "revenue") - f.ratio("earnings", "revenue", 1),
    "chato": lambda f: f.ratio("revenue", "assets") - f.ratio("revenue", "assets", 1),
    "dgm_dsales": lambda f: (f.gross() / positive(f.gross(1)) - 1) - f.growth("revenue"),
    "ol": lambda f: (
        f.a("cost_of_revenue") + f.a("selling_general_administrative")
    ) / positive(f.a("assets")),
    "sga2s": lambda f: f.ratio("selling_general_administrative", "revenue"),
    "rd_sale": lambda f: f.ratio("research_development", "revenue"),
    "freecf": lambda f: (
        f.a("earnings") + f.a("depreciation") - (f.working_capital() - f.working_capital(1))
        - f.a("capital_expenditures")
    ) / positive(f.a("book_equity")),
    "depr": lambda f: f.ratio("depreciation", "property_plant_equipment"),
    "pchdepr": lambda f: (
        f.ratio("depreciation", "property_plant_equipment")
        / f.ratio("depreciation", "property_plant_equipment", 1) - 1
    ),
    "ps": lambda f: f.piotroski(),
    # Quarterly statements.
    "roa": lambda f: f.q("earnings") / positive(f.q("assets", 1)),
    "roe": lambda f: f.q("earnings") / positive(f.q("book_equity", 1)),
    "cash": lambda f: f.q("cash") / positive(f.q("assets")),
    "chtx": lambda f: (f.q("income_taxes") - f.q("income_taxes", 4)) / positive(f.q("assets", 4)),
    "nincr": lambda f: f.increases(),
    "sue": lambda f: f.surprise("earnings"),
    "rsup": lambda f: f.surprise("revenue"),
    "roavol": lambda f: f.deviation(lambda k: f.q("earnings", k) / positive(f.q("assets", k + 1)), 8),
    "stdacc": lambda f: f.deviation(
        lambda k: (f.q("earnings", k) - f.q("operating_cash_flow", k)) / positive(f.q("revenue", k)), 8
    ),
    "stdcf": lambda f: f.deviation(lambda k: f.q("operating_cash_flow", k) / positive(f.q("revenue", k)), 8),
    # Industries.
    "bm_ia": lambda f: f.less_industry(SLOW["bm"]),
    "cfp_ia": lambda f: f.less_industry(SLOW["cfp"]),
    "chatoia": lambda f: f.less_industry(SLOW["chato"]),
    "chpmia": lambda f: f.less_industry(SLOW["chpm"]),
    "mve_ia": lambda f: f.less_industry(SLOW["mvel1"]),
    "indmom": lambda f: statistics.fmean(f.industry(SLOW["mom_12"])),
    "herf": lambda f: herfindahl(f.industry(lambda g: g.a("revenue"))),
    "tb": lambda f: f.less_industry(lambda g: g.a("current_income_taxes") / positive(g.a("earnings"))),
}  # fmt: skip


def coskew_fit(firm):
    """On the market alone, over the days on which its lag is known too."""
    rows = [
        (r["ret"] - x["risk_free"], x["market"])
        for r in firm.days(12)
        if r["ret"] is not None and (x := firm.market.of_day[r["day"]])["lagged"] is not None
    ]
    return least_squares(np.array(at_least(100, rows)))


def at_least(count, values):
    if len(values) < count:
        raise Nothing
    return values


def skewness(values):
    mean = statistics.fmean(values)
    third, second = (statistics.fmean((v - mean) ** power for v in values) for power in (3, 2))
    return third / second**1.5


def herfindahl(values):
    total = sum(values)
    return sum((v / total) ** 2 for v in values)


@pytest.fixture(scope="module")
def tables(random_market):
    months = random_market.random_months(STOCKS, YEAR - 6, YEAR, seed=1)
    statements = random_market.random_statements(STOCKS, YEAR - 6, YEAR, seed=1)
    days = {year: random_market.random_days(STOCKS, year, seed=1) for year in range(YEAR - 3, YEAR + 1)}
    market = {year: market_days(*of_year) for year, of_year in days.items()}
    return months, statements, {year: stock for year, (stock, _) in days.items()}, market


@pytest.fixture(scope="module")
def fast(tables):
    months, statements, days, market = tables
    of_days = pl.concat(
        day_statistics(days[y], pl.concat(market[k] for k in (y - 1, y) if k in market), y) for y in days
    )
    return compute_characteristics(months, statements, YEAR, tuple(REGISTRY), of_days)


@pytest.fixture(scope="module")
def slow_market(tables):
    months, statements, days, market = tables
    return Market(months, statements, pl.concat(days.values()), pl.concat(market.values()))


@pytest.mark.parametrize("acronym", REGISTRY)
def test_every_firm_and_month(fast, slow_market, acronym):
    present = missing = 0
    chosen = fast.filter(pl.col("month").dt.month().is_in(MONTHS))
    for asset, month, value in chosen.select("asset_id", "month", acronym).iter_rows():
        expected = known(SLOW[acronym], Firm(slow_market, asset, month.year * 12 + month.month - 1))
        if expected is None:
            missing += 1
            assert value is None, (asset, month, value)
        else:
            present += 1
            assert value == pytest.approx(expected, rel=1e-7, abs=1e-10), (asset, month)
    assert present > 35  # of about 110 firm-months
    assert missing > 0 or present > 100


def test_registry_and_loops_name_the_same():
    assert set(SLOW) == set(REGISTRY)


def test_days_add_up_to_the_columns_of_months(tables, slow_market):
    """What a source with days and no monthly aggregates needs."""
    _, _, days, market = tables
    found = day_statistics(days[YEAR], market[YEAR], YEAR)
    for asset, month, *values in found.select("asset_id", "month", *AGGREGATES).iter_rows():
        rows = [r for r in slow_market.days[asset] if (r["day"].year, r["day"].month) == (YEAR, month.month)]
        returns = [r["ret"] for r in rows if r["ret"] is not None]
        expected = [
            len(returns), sum(r["volume"] == 0 for r in rows), sum(r**2 for r in returns), max(returns),
        ]  # fmt: skip
        assert values == pytest.approx(expected, rel=1e-12)


def test_without_daily_factors_the_market_is_the_mean_stock(tables):
    stock_days = tables[2][YEAR]
    found = market_days(stock_days, None)
    rows = stock_days.filter(pl.col("day") == found["day"][17], pl.col("ret").is_not_null())
    assert found["market"][17] == pytest.approx(statistics.fmean(rows["ret"]))
    assert found["risk_free"].unique().to_list() == [0.0]
    assert found["size"].null_count() == len(found) == stock_days["day"].n_unique()


class StockPath:
    """One stock's days up to one day."""

    def __init__(self, rows):
        self.ret = [r for r, _, _ in rows]
        self.x = [r - f for r, f, _ in rows]
        self.m = [m for _, _, m in rows]

    def index(self):
        return list(np.cumprod([1 + r for r in self.ret]))

    def total(self, days):
        return math.prod(1 + r for r in at_least(days, self.ret)[-days:]) - 1

    def volatility(self):
        """Exponential weights, unbiased."""
        weights = [(1 - 2 / 61) ** k for k in reversed(range(len(self.ret)))]
        whole = sum(weights)
        mean = sum(w * r for w, r in zip(weights, self.ret, strict=True)) / whole
        biased = sum(w * (r - mean) ** 2 for w, r in zip(weights, self.ret, strict=True)) / whole
        return math.sqrt(biased * whole**2 / (whole**2 - sum(w**2 for w in weights)))

    def average(self, span):
        value = None
        for price in self.index():
            value = price if value is None else price * 2 / (span + 1) + value * (1 - 2 / (span + 1))
        return value

    def beta(self, days, back=0):
        stop = len(self.x) - back
        x, m = np.array(self.x[stop - days : stop]), np.array(self.m[stop - days : stop])
        return np.cov(x, m)[0, 1] / m.var(ddof=1)

    def alpha(self, days):
        return sum(self.x[-1 - k] - self.beta(252, k) * self.m[-1 - k] for k in range(days))

    def unexplained(self):
        return 1 - np.corrcoef(self.x[-252:], self.m[-252:])[0, 1] ** 2

    def slope(self, days):
        return np.polyfit(np.arange(days), self.ret[-days:], 1)[0]


TREND = {
    **{
        f"normalized_return_{n}": lambda p, n=n: p.total(n) / p.volatility() for n in (1, 5, 21, 63, 126, 252)
    },
    **{
        f"macd_{s}_{n}": lambda p, s=s, n=n: (p.average(s) - p.average(n)) / p.index()[-1]
        for s, n in ((8, 24), (16, 48), (32, 96))
    },
    **{f"volatility_{n}": lambda p, n=n: statistics.stdev(p.ret[-n:]) for n in (5, 21)},
    **{f"beta_{n}": lambda p, n=n: p.beta(n) for n in (126, 252)},
    **{f"alpha_{n}": lambda p, n=n: p.alpha(n) for n in (1, 5, 21)},
    "alpha_variance_ratio": lambda p: p.unexplained(),
    **{f"cti_{n}": lambda p, n=n: p.slope(n) for n in (21, 63, 126, 252)},
}


@pytest.fixture(scope="module")
def trend(tables):
    _, _, days, market = tables
    years = range(YEAR - 2, YEAR + 1)
    return trend_features(pl.concat(days[y] for y in years), pl.concat(market[y] for y in years), YEAR)


@pytest.mark.parametrize("feature", DAILY_REGISTRY)
def test_daily_features(trend, slow_market, feature):
    compared = 0
    for asset in (10_001, 10_014):
        rows = [
            (r["ret"], x["risk_free"], x["market"], r["day"])
            for r in slow_market.days[asset]
            if r["ret"] is not None and r["day"].year >= YEAR - 2 and (x := slow_market.of_day[r["day"]])
        ]
        of_asset = trend.filter(pl.col("asset_id") == asset).sort("day")
        assert of_asset["day"].to_list() == [r[3] for r in rows if r[3].year == YEAR]
        for day in of_asset["day"][::60]:
            path = StockPath([r[:3] for r in rows if r[3] <= day])
            value = of_asset.filter(pl.col("day") == day)[feature][0]
            assert value == pytest.approx(TREND[feature](path), rel=1e-7, abs=1e-12), (asset, day)
            compared += 1
    assert compared >= 8
    assert set(TREND) == set(DAILY_REGISTRY)


ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
TICKERS = ("aapl", "ibm", "ge", "xom", "ko", "jnj", "wmt", "cat", "pg", "mcd", "intc", "dis")


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="no shared/data beside the checkout")
class TestRealData:
    """Large firms in 2008: public prices by month and day, Stockpup's quarters, French's daily factors."""

    @pytest.fixture(scope="class")
    def real(self):
        study = load_study(ROOT / "studies" / "us_public.yaml")
        source, ids = PublicFiles(study.source), [asset_id_of(ticker) for ticker in TICKERS]
        years = range(2002, 2009)

        def chosen(of_year):
            return pl.concat(of_year(y) for y in years).filter(pl.col("asset_id").is_in(ids))

        return chosen(source.stock_months), chosen(source.statements), source.inputs()

    @pytest.fixture(scope="class")
    def days(self):
        prices = (
            pl.scan_parquet(DATA / "sp500_ever_members_daily_ohlcv_1990_2017.parquet")
            .with_columns(
                pl.col("ticker").cast(pl.String),
                pl.col("Date").cast(pl.Date),
                pl.col("Close", "High", "Low", "Volume").cast(pl.Float64),
            )
            .filter(pl.col("ticker").is_in(TICKERS), pl.col("Date").dt.year().is_between(2004, 2008))
        )
        rows = (
            prices.sort("ticker", "Date")
            .with_columns(ret=pl.col("Close") / pl.col("Close").shift(1).over("ticker") - 1)
            .collect()
        )
        ids = {ticker: asset_id_of(ticker) for ticker in TICKERS}
        stocks = rows.filter(pl.col("Date").dt.year() >= 2005).select(
            pl.col("ticker").replace_strict(ids, return_dtype=pl.Int64).alias("asset_id"),
            "ret",
            day="Date",
            price="Close",
            high="High",
            low="Low",
            volume="Volume",
            dollar_volume=pl.col("Close") * pl.col("Volume"),
        )
        french = pl.read_parquet(DATA / "ff3_daily_1926_2017.parquet")
        day = french[french.columns[0]]
        factors = french.select(
            (day if day.dtype == pl.Date else day.cast(pl.String).str.slice(0, 10).str.to_date()).alias(
                "day"
            ),
            risk_free=pl.col("RF") / 100,
            market_excess=pl.col("Mkt-RF") / 100,
            size=pl.col("SMB") / 100,
            value=pl.col("HML") / 100,
        ).filter(pl.col("day").dt.year().is_between(2005, 2008))
        return check_table(stocks, STOCK_DAYS, "prices"), check_table(factors, FACTOR_DAYS, "factors")

    def test_against_slow_loops(self, real, days):
        months, statements, inputs = real
        having = {f"stock_days.{c}" for c in ("ret", "price", "high", "low", "volume", "dollar_volume")}
        having |= {f"factor_days.{c}" for c in ("risk_free", "market_excess", "size", "value")}
        acronyms = available_characteristics("all", inputs | having)
        assert {"beta", "ill", "baspread", "rvar_ff3", "sue", "bm", "mom_60"} <= set(acronyms)
        years = range(2005, 2009)
        stock_days, factor_days = (
            {y: table.filter(pl.col("day").dt.year() == y) for y in years} for table in days
        )
        market = {y: market_days(stock_days[y], factor_days[y]) for y in years}
        of_days = pl.concat(
            day_statistics(stock_days[y], pl.concat(market[k] for k in (y - 1, y) if k in market), y)
            for y in years
        )
        found = compute_characteristics(months, statements, 2008, acronyms, of_days, inputs | having)
        plain = Market(
            with_optional_columns(months, STOCK_MONTHS),
            with_optional_columns(statements, STATEMENTS),
            days[0],
            pl.concat(market.values()),
        )
        rows = found.filter(pl.col("month").dt.month().is_in((3, 10)))
        assert len(rows) == 20  # two of them have no statements there
        slow = SLOW | {"stdturn": lambda f: statistics.stdev([f.turnover(k) for k in range(12)])}
        for acronym in acronyms:
            for asset, month, value in rows.select("asset_id", "month", acronym).iter_rows():
                expected = known(slow[acronym], Firm(plain, asset, month.year * 12 + month.month - 1))
                assert (value is None) == (expected is None), (acronym, asset, month)
                if value is not None:
                    assert value == pytest.approx(expected, rel=1e-7, abs=1e-10), (acronym, asset, month)
            assert rows[acronym].count() > 8, acronym
