"""The simulated market in the shape of WRDS's tables: names, units, signs, codes and keys of CRSP and Compustat.

Both layouts of CRSP: the legacy one (``crsp.msf, dsf, msenames, msedelist``) and CIZ (``crsp.msf_v2, dsf_v2,
stkdelists``); ``comp.funda, comp.fundq``; ``crsp.ccmxpf_lnkhist``; ``ff.factors_monthly, factors_daily``.
Prices, shares and amounts are such that converting them to these units and back is exact: whoever reads the tables
rightly gets the canonical tables of the market bit for bit. There are traps as in the real ones:

- prices of days without a trade are negative (legacy) or flagged BA (CIZ); prices and shares are unadjusted. Cumulative
  factors are 1 in a stock's first month (CRSP's in its last), so that a longer sample changes no row
- delisting returns stand apart in the legacy layout; CIZ's monthly returns hold those that are known
- ``funda`` and ``fundq`` have rows in other formats: restatements under datafmt SUMM_STD, financial services under
  indfmt FS; ``...y`` items run from the start of the fiscal year
- links have types and dates that do not count, and second share classes (linkprim J)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from seqpricing_core.errors import InputError
from seqpricing_core.sources.simulated.accounting import ANNUAL_ONLY, CUMULATIVE_ITEMS, MONEY_UNIT
from seqpricing_core.sources.simulated.files import row_groups
from seqpricing_core.sources.simulated.market import SimulatedMarket
from seqpricing_core.sources.simulated.trading import trading_days
from seqpricing_core.study import SimulatedSource

MILLION: Final = 1e6

ITEMS: Final = {
    "assets": "at", "current_assets": "act", "liabilities": "lt", "current_liabilities": "lct",
    "book_equity": "ceq", "cash": "che", "long_term_debt": "dltt", "revenue": "sale", "earnings": "ib",
    "operating_cash_flow": "oancf", "capital_expenditures": "capx", "inventory": "invt", "receivables": "rect",
    "property_plant_equipment": "ppent", "gross_property_plant_equipment": "ppegt", "intangibles": "intan",
    "other_assets": "ao", "other_liabilities": "lo", "payables": "ap", "other_current_assets": "aco",
    "other_current_liabilities": "lco", "short_term_debt": "dlc", "taxes_payable": "txp",
    "deferred_taxes": "txditc", "preferred_stock": "pstk", "minority_interest": "mib", "convertible_debt": "dcvt",
    "cost_of_revenue": "cogs", "selling_general_administrative": "xsga", "research_development": "xrd",
    "depreciation": "dp", "interest_expense": "xint", "operating_income": "oiadp", "pretax_income": "pi",
    "income_taxes": "txt", "dividends": "dvc", "share_repurchases": "prstkc", "share_issuance": "sstk",
}  # fmt: skip
"""Compustat's names of annual items; a quarterly one ends in q, one of the year to date in y."""
RESTATED_FORMAT: Final = "SUMM_STD"
LETTERS: Final = {1: "N", 2: "A", 3: "Q", 4: "R"}
ACTIONS: Final = {2: "MER", 3: "GEX", 4: "GLI", 5: "GDR"}
"""CIZ's delisting actions by the first digit of the legacy code."""


_SPLITS = pl.col("splits")
_KNOWN = pl.col("delisting_return").is_not_null()


def _raw(price: str) -> pl.Expr:
    return pl.col(price) / _SPLITS


def _coded(column: str, codes: dict[int, str]) -> pl.Expr:
    return pl.col(column).replace_strict(codes, return_dtype=pl.String)


def _thousands(column: str) -> pl.Expr:
    """Unadjusted shares."""
    return pl.col(column) * _SPLITS / 1000


MSF: Final = {
    "permno": pl.col("asset_id"),
    "permco": pl.col("company_id"),
    "date": pl.col("trading_day"),
    "ret": pl.col("ret_before_delisting"),
    "retx": pl.col("ret_without_dividends"),
    "prc": _raw("price") * pl.when("quiet_close").then(-1.0).otherwise(1.0),
    "askhi": _raw("high"),
    "bid": _raw("price") - pl.col("half_spread"),
    "ask": _raw("price") + pl.col("half_spread"),
    "vol": pl.col("volume") * _SPLITS / 100,
    "shrout": _thousands("shares"),
    "cfacpr": 1 / _SPLITS,
    "cfacshr": 1 / _SPLITS,
}
MSF_V2: Final = {
    "permno": pl.col("asset_id"),
    "permco": pl.col("company_id"),
    "mthcaldt": pl.col("trading_day"),
    "mthret": pl.when(_KNOWN).then("ret").otherwise("ret_before_delisting"),
    "mthretx": pl.col("ret_without_dividends"),
    "mthprc": _raw("price"),
    "mthprcflg": pl.when("quiet_close").then(pl.lit("BA")).otherwise(pl.lit("TR")),
    "mthcap": pl.col("market_equity") / 1000,
    "mthvol": pl.col("volume") * _SPLITS,
    "mthprcvol": pl.col("dollar_volume"),
    "shrout": _thousands("shares"),
    "mthcumfacpr": 1 / _SPLITS,
    "mthcumfacshr": 1 / _SPLITS,
    "mthdelflg": pl.when(pl.col("delisting_code").is_not_null()).then(pl.lit("Y")).otherwise(pl.lit("N")),
    "ticker": pl.col("ticker"),
    "siccd": pl.col("sic"),
    "primaryexch": _coded("exchange_code", LETTERS),
    "conditionaltype": pl.lit("RW"),
    "tradingstatusflg": pl.lit("A"),
    "sharetype": _coded("share_code", {10: "NS", 11: "NS", 12: "NS", 18: "NS", 31: "AD"}),
    "securitytype": pl.lit("EQTY"),
    "securitysubtype": pl.lit("COM"),
    "usincflg": _coded("share_code", {10: "Y", 11: "Y", 12: "N", 18: "Y", 31: "N"}),
    "issuertype": _coded("share_code", {10: "ACOR", 11: "CORP", 12: "CORP", 18: "REIT", 31: "CORP"}),
}
DSF: Final = {
    "permno": pl.col("asset_id"),
    "date": pl.col("day"),
    "ret": pl.col("ret"),
    "prc": _raw("price") * pl.when(pl.col("volume") == 0).then(-1.0).otherwise(1.0),
    "askhi": _raw("high"),
    "bidlo": _raw("low"),
    "bid": _raw("bid"),
    "ask": _raw("ask"),
    "vol": pl.col("volume") * _SPLITS,
    "shrout": _thousands("shares"),
    "cfacpr": 1 / _SPLITS,
    "cfacshr": 1 / _SPLITS,
}
DSF_V2: Final = {
    "permno": pl.col("asset_id"),
    "dlycaldt": pl.col("day"),
    "dlyret": pl.col("ret"),
    "dlyprc": _raw("price"),
    "dlyprcflg": pl.when(pl.col("volume") == 0).then(pl.lit("BA")).otherwise(pl.lit("TR")),
    "dlyhigh": _raw("high"),
    "dlylow": _raw("low"),
    "dlybid": _raw("bid"),
    "dlyask": _raw("ask"),
    "dlyvol": pl.col("volume") * _SPLITS,
    "dlyprcvol": pl.col("dollar_volume"),
    "shrout": _thousands("shares"),
    "dlycumfacpr": 1 / _SPLITS,
    "dlycumfacshr": 1 / _SPLITS,
}
MSEDELIST: Final = {
    "permno": pl.col("asset_id"),
    "dlstdt": pl.col("trading_day"),
    "dlstcd": pl.col("delisting_code"),
    "dlret": pl.col("delisting_return"),
}
STKDELISTS: Final = {
    "permno": pl.col("asset_id"),
    "delistingdt": pl.col("trading_day"),
    "deldlydt": pl.when(_KNOWN).then("trading_day"),
    "delret": pl.col("delisting_return"),
    "delactiontype": _coded("action", ACTIONS),
    "delreasontype": pl.lit("UNAV"),
}


def wrds_tables(source: SimulatedSource, first_year: int, last_year: int) -> dict[str, pl.DataFrame]:
    """Every table whole, by its name on the server, such as ``crsp.msf``.

    Raises
    ------
    InputError
        The market is not a complete one.
    """
    parts: dict[str, list[pl.DataFrame]] = {}
    for name, rows in wrds_rows(source, first_year, last_year):
        parts.setdefault(name, []).append(rows)
    return {name: pl.concat(of_table) for name, of_table in parts.items()}


def wrds_rows(source: SimulatedSource, first_year: int, last_year: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """Pieces of the tables as the market goes on: prices and statements by year, days by month, the rest last.

    The tables that come last have a row per stock and event; memory holds them and a year of the others.
    """
    if source.detail != "complete":
        raise InputError(
            "a plain market has no vendor's shape",
            where="source.detail",
            expected="complete",
            remedy="set detail: complete",
        )
    market = SimulatedMarket(source, first_year, last_year)
    left: list[pl.DataFrame] = []
    for name, rows in row_groups(market):
        if name == "stock_months":
            months = _with_trading_day(rows)
            left.append(months.filter(pl.col("delisting_code").is_not_null()))
            yield "crsp.msf", months.select(**MSF)
            yield "crsp.msf_v2", months.select(**MSF_V2)
        elif name == "stock_days":
            yield "crsp.dsf", rows.select(**DSF)
            yield "crsp.dsf_v2", rows.select(**DSF_V2)
        elif name == "statements":
            yield "comp.funda", _compustat(rows, 12)
            yield "comp.fundq", _compustat(rows, 3)
        elif name == "factors":
            yield "ff.factors_monthly", rows.select(
                date=pl.col("month").dt.month_start(), mktrf="market_excess", rf="risk_free"
            )
        elif name == "factor_days":
            yield "ff.factors_daily", rows.select(
                date="day", mktrf="market_excess", smb="size", hml="value", rf="risk_free"
            )
    names = market.names()
    yield "crsp.msenames", _msenames(names)
    delistings = pl.concat(left)
    yield "crsp.msedelist", delistings.select(**MSEDELIST)
    yield "crsp.stkdelists", delistings.select(**STKDELISTS)
    yield "crsp.ccmxpf_lnkhist", _links(names)


def _with_trading_day(months: pl.DataFrame) -> pl.DataFrame:
    """The last trading day of the month beside it, and the first digit of the delisting code."""
    days = {end: trading_days(np.datetime64(end, "M"))[-1].astype(object) for end in months["month"].unique()}
    return months.with_columns(
        pl.col("month").replace_strict(days, return_dtype=pl.Date).alias("trading_day"),
        (pl.col("delisting_code") // 100).alias("action"),
    )


def _msenames(names: pl.DataFrame) -> pl.DataFrame:
    return names.select(
        permno="asset_id",
        permco="company_id",
        namedt="first_day",
        nameendt="last_day",
        ticker="ticker",
        comnam="company",
        shrcls="share_class",
        shrcd="share_code",
        exchcd="exchange_code",
        siccd="sic",
    )


def _gvkey(company: pl.Expr) -> pl.Expr:
    """Six digits, as text."""
    return (company - 19_000).cast(pl.String).str.zfill(6)


def _compustat(statements: pl.DataFrame, months: int) -> pl.DataFrame:
    """``funda`` (12) or ``fundq`` (3): millions, thousands of employees."""
    rows = statements.filter(pl.col("period_months") == months)
    table = rows.select(**_statement_columns(months))
    money = pl.selectors.by_name(_money_columns(months))
    financial = table.filter(rows["asset_id"] % 20 == 0, pl.col("datafmt") == "STD")
    # Firms whose accounts are there twice, once under a gvkey whose link does not count.
    namesake = table.filter(rows["company_id"] % 25 == 0)
    return pl.concat([
        table,
        financial.with_columns(money * 2, indfmt=pl.lit("FS")),
        namesake.with_columns(money * 3, gvkey=pl.lit("9") + pl.col("gvkey").str.slice(1)),
    ])  # fmt: skip


def _money_columns(months: int) -> list[str]:
    return [name for name in _amounts(months) if name not in ("emp", "csho", "cshoq", "ajex", "ajexq")]


def _amounts(months: int) -> dict[str, pl.Expr]:
    """Items by their name of Compustat."""
    million = {item: pl.col(item) / MILLION for item in ITEMS}
    if months == 12:
        current = pl.col("current_income_taxes")
        # Foreign taxes are a tenth of the current ones, in the units that divide exactly.
        foreign = (current / 10 / MONEY_UNIT).round() * MONEY_UNIT
        return {ITEMS[item]: amount for item, amount in million.items()} | {
            "txfo": foreign / MILLION,
            "txfed": (current - foreign) / MILLION,
            "txdi": (pl.col("income_taxes") - current) / MILLION,
            "emp": pl.col("employees") / 1000,
            "csho": pl.col("shares") * _SPLITS / MILLION,
            "ajex": 1 / _SPLITS,
        }
    of_quarter = {
        f"{ITEMS[item]}q": amount
        for item, amount in million.items()
        if item not in (*CUMULATIVE_ITEMS, *ANNUAL_ONLY)
    }
    to_date = {f"{ITEMS[item]}y": pl.col(f"year_to_date_{item}") / MILLION for item in CUMULATIVE_ITEMS}
    return of_quarter | to_date | {"cshoq": pl.col("shares") * _SPLITS / MILLION, "ajexq": 1 / _SPLITS}


def _statement_columns(months: int) -> dict[str, pl.Expr]:
    end, fiscal_end = pl.col("period_end"), pl.col("fiscal_year_end")
    # A fiscal year that ends before June has the number of the year before.
    fiscal_year = end.dt.year() + (end.dt.month() > fiscal_end) - (fiscal_end <= 5)
    restated = pl.col("restated")
    common = {
        "gvkey": _gvkey(pl.col("company_id")),
        "datadate": end,
        "indfmt": pl.lit("INDL"),
        "consol": pl.lit("C"),
        "popsrc": pl.lit("D"),
        "datafmt": pl.when(restated).then(pl.lit(RESTATED_FORMAT)).otherwise(pl.lit("STD")),
        "fyr": fiscal_end,
    }
    if months == 12:
        own = {"fyear": fiscal_year, "curcd": pl.lit("USD"), "fdate": pl.col("filed")}
    else:
        filed = pl.when(restated).then("available_from").otherwise("filed")
        own = {"fyearq": fiscal_year, "fqtr": pl.col("fiscal_quarter"), "curcdq": pl.lit("USD"),
               "rdq": pl.col("filed"), "fdateq": filed}  # fmt: skip
    return common | own | _amounts(months)


def _links(names: pl.DataFrame) -> pl.DataFrame:
    """CCM's link history: links that count, and some that do not."""
    stocks = (
        names.group_by("asset_id", maintain_order=True)
        .agg(pl.col("company_id", "share_class").first(), pl.col("first_day").min(), pl.col("last_day").max())
        .sort("asset_id")
    )
    ended = pl.col("last_day") < names["last_day"].max()
    first_class = pl.col("share_class") == "A"
    links = stocks.select(
        gvkey=_gvkey(pl.col("company_id")),
        linkprim=pl.when(first_class).then(pl.lit("P")).otherwise(pl.lit("J")),
        liid=pl.when(first_class).then(pl.lit("01")).otherwise(pl.lit("02")),
        linktype=pl.when(pl.col("asset_id") % 2 == 0).then(pl.lit("LC")).otherwise(pl.lit("LU")),
        lpermno="asset_id",
        lpermco="company_id",
        linkdt="first_day",
        linkenddt=pl.when(ended).then("last_day"),
    )
    renewed = (pl.col("lpermno") % 7 == 0) & (
        pl.col("linkenddt").is_null() | (pl.col("linkenddt") > _two_years_on())
    )
    before = links.filter(renewed).with_columns(linkenddt=_two_years_on())
    after = links.filter(renewed).with_columns(linkdt=_two_years_on().dt.offset_by("1d"))
    nobody = pl.lit(None, dtype=pl.Int64)
    unlisted = links.filter(pl.col("lpermno") % 3 == 0).with_columns(
        linkprim=pl.lit("C"), linktype=pl.lit("NR"), lpermno=nobody, lpermco=nobody,
        linkdt=pl.col("linkdt").dt.offset_by("-1y"), linkenddt=pl.col("linkdt").dt.offset_by("-1d"),
    )  # fmt: skip
    namesakes = links.filter(pl.col("lpermco") % 25 == 0).with_columns(
        gvkey=pl.lit("9") + pl.col("gvkey").str.slice(1), linkprim=pl.lit("C"), linktype=pl.lit("LN")
    )
    return pl.concat([links.filter(~renewed), before, after, unlisted, namesakes]).sort(
        "gvkey", "linkdt", "lpermno", nulls_last=True
    )


def _two_years_on() -> pl.Expr:
    return pl.col("linkdt").dt.offset_by("2y")
