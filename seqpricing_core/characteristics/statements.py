"""Characteristics from quarterly statements.

Columns: ``assets`` is the newest quarter public at the end of the month, ``assets_1`` and ``assets_4`` one
and four quarters before it, ``earnings_ttm`` the sum of four quarters, ``earnings_ttm_4`` the same
a year before. Market equity is of the month itself, so ratios to price move monthly.
The papers use annual statements for most of these; quarterly ones are what the free files have.
"""

from __future__ import annotations

import polars as pl

from seqpricing_core.characteristics.market import Entry

BALANCE_ITEMS = (
    "assets", "current_assets", "liabilities", "current_liabilities", "book_equity",
    "cash", "long_term_debt", "shares",
)  # fmt: skip
FLOW_ITEMS = ("revenue", "earnings", "operating_cash_flow", "capital_expenditures")


def _c(name: str) -> pl.Expr:
    return pl.col(name)


def _positive(name: str) -> pl.Expr:
    """A denominator must be positive; a ratio to zero or to a loss has no order."""
    return pl.when(pl.col(name) > 0).then(pl.col(name))


def _growth(item: str, before: str) -> pl.Expr:
    return _c(item) / _positive(before) - 1


_equity = _positive("market_equity")
_accruals = _c("earnings_ttm") - _c("operating_cash_flow_ttm")
_current_ratio = _c("current_assets") / _positive("current_liabilities")
_current_ratio_4 = _c("current_assets_4") / _positive("current_liabilities_4")
_margin = _c("earnings_ttm") / _positive("revenue_ttm")
_margin_4 = _c("earnings_ttm_4") / _positive("revenue_ttm_4")
_asset_turnover = _c("revenue_ttm") / _positive("assets")
_asset_turnover_4 = _c("revenue_ttm_4") / _positive("assets_4")

STATEMENT: dict[str, Entry] = {
    "bm": (
        "Book to market", "book equity / market equity", "Rosenberg, Reid, Lanstein (1985)",
        _c("book_equity") / _equity,
    ),
    "ep": (
        "Earnings to price", "earnings of 4 quarters / market equity", "Basu (1977)",
        _c("earnings_ttm") / _equity,
    ),
    "sp": (
        "Sales to price", "revenue of 4 quarters / market equity",
        "Barbee, Mukherji, Raines (1996)", _c("revenue_ttm") / _equity,
    ),
    "cfp": (
        "Cash flow to price", "operating cash flow of 4 quarters / market equity",
        "Desai, Rajgopal, Venkatachalam (2004)", _c("operating_cash_flow_ttm") / _equity,
    ),
    "lev": ("Leverage", "liabilities / market equity", "Bhandari (1988)", _c("liabilities") / _equity),
    "agr": (
        "Asset growth", "assets / assets a year before - 1", "Cooper, Gulen, Schill (2008)",
        _growth("assets", "assets_4"),
    ),
    "egr": (
        "Growth in book equity", "book equity / book equity a year before - 1",
        "Richardson et al. (2005)", _growth("book_equity", "book_equity_4"),
    ),
    "lgr": (
        "Growth in liabilities", "liabilities / liabilities a year before - 1",
        "Richardson et al. (2005)", _growth("liabilities", "liabilities_4"),
    ),
    "sgr": (
        "Sales growth", "revenue of 4 quarters / the same a year before - 1",
        "Lakonishok, Shleifer, Vishny (1994)", _growth("revenue_ttm", "revenue_ttm_4"),
    ),
    "grcapx": (
        "Growth in capital expenditures", "capital expenditures of 4 quarters / a year before - 1",
        "Anderson, Garcia-Feijoo (2006)",
        _growth("capital_expenditures_ttm", "capital_expenditures_ttm_4"),
    ),
    "chcsho": (
        "Change in shares outstanding", "shares / shares a year before - 1",
        "Pontiff, Woodgate (2008)", _growth("shares", "shares_4"),
    ),
    "acc": (
        "Accruals", "(earnings - operating cash flow) of 4 quarters / mean assets of the year",
        "Sloan (1996)", 2 * _accruals / (_positive("assets") + _positive("assets_4")),
    ),
    "absacc": (
        "Absolute accruals", "|acc|", "Bandyopadhyay, Huang, Wirjanto (2010)",
        2 * _accruals.abs() / (_positive("assets") + _positive("assets_4")),
    ),
    "pctacc": (
        "Percent accruals", "(earnings - operating cash flow) / |earnings|, of 4 quarters",
        "Hafzalla, Lundholm, Van Winkle (2011)",
        _accruals / pl.when(_c("earnings_ttm") != 0).then(_c("earnings_ttm").abs()),
    ),
    "roa": (
        "Return on assets", "earnings of the quarter / assets a quarter before",
        "Balakrishnan, Bartov, Faurel (2010)", _c("earnings") / _positive("assets_1"),
    ),
    "roe": (
        "Return on equity", "earnings of the quarter / book equity a quarter before",
        "Hou, Xue, Zhang (2015)", _c("earnings") / _positive("book_equity_1"),
    ),
    "chpm": (
        "Change in profit margin", "earnings / revenue of 4 quarters, less the same a year before",
        "Soliman (2008)", _margin - _margin_4,
    ),
    "chato": (
        "Change in asset turnover", "revenue / assets, less the same a year before",
        "Soliman (2008)", _asset_turnover - _asset_turnover_4,
    ),
    "cash": ("Cash holdings", "cash / assets", "Palazzo (2012)", _c("cash") / _positive("assets")),
    "cashpr": (
        "Cash productivity", "(market equity + long-term debt - assets) / cash",
        "Chandrashekar, Rao (2009)",
        (_equity + _c("long_term_debt") - _c("assets")) / _positive("cash"),
    ),
    "cashdebt": (
        "Cash flow to debt", "operating cash flow of 4 quarters / liabilities",
        "Ou, Penman (1989)", _c("operating_cash_flow_ttm") / _positive("liabilities"),
    ),
    "currat": (
        "Current ratio", "current assets / current liabilities", "Ou, Penman (1989)", _current_ratio,
    ),
    "pchcurrat": (
        "Percent change in current ratio", "current ratio / current ratio a year before - 1",
        "Ou, Penman (1989)", _current_ratio / _current_ratio_4 - 1,
    ),
    "salecash": (
        "Sales to cash", "revenue of 4 quarters / cash", "Ou, Penman (1989)",
        _c("revenue_ttm") / _positive("cash"),
    ),
    "invest": (
        "Investment", "capital expenditures of 4 quarters / assets a year before",
        "Titman, Wei, Xie (2004)", _c("capital_expenditures_ttm") / _positive("assets_4"),
    ),
}  # fmt: skip
