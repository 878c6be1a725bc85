"""Characteristics from statements, annual and quarterly.

Columns: ``assets`` is the item of the newest fiscal year that is public at the end of the month,
``assets_1`` that of the year before; ``assets_q`` is the newest public quarter, ``assets_q1`` and
``assets_q4`` one and four quarters before it. Where no annual statement is public (or the newest is too
old), ``assets`` is the newest quarter, ``assets_1`` four quarters before, and flows are sums of four
quarters. ``equity`` is market equity of the month itself, over all share classes of the firm where they
are known: ratios to price move monthly.

A missing item makes the characteristic missing; nothing is taken for zero. Denominators must be
positive: a ratio to zero or to a loss has no order.
"""

from __future__ import annotations

from functools import reduce

import polars as pl

from seqpricing_core.characteristics.definition import Characteristic, Definition, Frequency, total

_c = pl.col


def positive(value: pl.Expr) -> pl.Expr:
    """``value`` as a denominator."""
    return pl.when(value > 0).then(value)


def _ratio(numerator: pl.Expr, denominator: str) -> pl.Expr:
    return numerator / positive(_c(denominator))


def _growth(item: str, before: str) -> pl.Expr:
    return _c(item) / positive(_c(before)) - 1


def _mean_assets() -> pl.Expr:
    return (positive(_c("assets")) + positive(_c("assets_1"))) / 2


_equity = positive(_c("equity"))
_accruals = _c("earnings") - _c("operating_cash_flow")


def _gross_profit(year: str = "") -> pl.Expr:
    return _c(f"revenue{year}") - _c(f"cost_of_revenue{year}")


def _quick(year: str = "") -> pl.Expr:
    return _ratio(_c(f"current_assets{year}") - _c(f"inventory{year}"), f"current_liabilities{year}")


def _working_capital(year: str = "") -> pl.Expr:
    """Without cash and debt."""
    assets = _c(f"current_assets{year}") - _c(f"cash{year}")
    owed = _c(f"current_liabilities{year}") - _c(f"short_term_debt{year}") - _c(f"taxes_payable{year}")
    return assets - owed


def _operating_assets(year: str = "") -> pl.Expr:
    """Net operating assets: (assets - cash) - (assets - debt - minorities - preferred - common equity)."""
    financed = ("short_term_debt", "long_term_debt", "minority_interest", "preferred_stock", "book_equity")
    return reduce(lambda total, item: total + _c(f"{item}{year}"), financed, -_c(f"cash{year}"))


def _long_term_operating_assets(year: str = "") -> pl.Expr:
    """Property, intangibles and other assets less other liabilities, as GHZ add them up."""
    return _c(f"property_plant_equipment{year}") + _c(f"intangibles{year}") + (
        _c(f"other_assets{year}") - _c(f"other_liabilities{year}")
    )  # fmt: skip


def _score() -> pl.Expr:
    """Nine signals of 0 or 1 (Piotroski 2000); all must be known."""

    def leverage(year: str = "") -> pl.Expr:
        return _ratio(_c(f"long_term_debt{year}"), f"assets{year}")

    def liquidity(year: str = "") -> pl.Expr:
        return _ratio(_c(f"current_assets{year}"), f"current_liabilities{year}")

    def profitability(year: str = "") -> pl.Expr:
        return _ratio(_c(f"earnings{year}"), f"assets{year}")

    def margin(year: str = "") -> pl.Expr:
        return _ratio(_gross_profit(year), f"revenue{year}")

    def turnover(year: str = "") -> pl.Expr:
        return _ratio(_c(f"revenue{year}"), f"assets{year}")

    signals = [
        _c("earnings") > 0, _c("operating_cash_flow") > 0, profitability() > profitability("_1"),
        _c("operating_cash_flow") > _c("earnings"), leverage() < leverage("_1"),
        liquidity() > liquidity("_1"), margin() > margin("_1"), turnover() > turnover("_1"),
        _c("shares") <= _c("shares_1"),
    ]  # fmt: skip
    return total(signal.cast(pl.Float64) for signal in signals)


QUARTERS = 16
"""Of the volatilities of earnings, accruals and cash flow; at least half of them must be known."""


def _deviation(values: list[pl.Expr], minimum: int) -> pl.Expr:
    """Standard deviation of those that are known; null if fewer than ``minimum`` are."""
    finite = [pl.when(value.is_finite()).then(value) for value in values]
    count = total(value.is_not_null().cast(pl.Float64) for value in finite)
    values = [value.fill_null(0.0) for value in finite]
    squares = total(value**2 for value in values) - total(values) ** 2 / count
    return pl.when(count >= minimum).then((squares.clip(lower_bound=0.0) / (count - 1)).sqrt())


def _quarter(item: str, back: int) -> str:
    return f"{item}_q{back or ''}"


def _per_quarter(numerator: str, denominator: str, lag: int = 0, less: str = "") -> list[pl.Expr]:
    top = [_c(_quarter(numerator, k)) - (_c(_quarter(less, k)) if less else 0) for k in range(QUARTERS)]
    return [_ratio(top[k], _quarter(denominator, k + lag)) for k in range(QUARTERS)]


def _surprise(item: str) -> pl.Expr:
    """Change over four quarters over the deviation of these changes in the 8 quarters before; 6 at least."""
    changes = [_c(_quarter(item, k)) - _c(_quarter(item, k + 4)) for k in range(9)]
    return changes[0] / positive(_deviation(changes[1:], 6))


def _increases() -> pl.Expr:
    """How many of the newest quarters in a row had higher earnings than a year before; 8 at most."""
    rises = [_c(_quarter("earnings", k)) > _c(_quarter("earnings", k + 4)) for k in range(8)]
    rises = [rises[0], *(rise.fill_null(value=False) for rise in rises[1:])]
    streaks = [reduce(lambda a, b: a & b, rises[: k + 1]) for k in range(8)]
    count = total(streak.cast(pl.Float64) for streak in streaks)
    return pl.when(rises[0].is_not_null()).then(count)


_current_ratio = _ratio(_c("current_assets"), "current_liabilities")
_current_ratio_1 = _ratio(_c("current_assets_1"), "current_liabilities_1")
_margin = _ratio(_c("earnings"), "revenue")
_margin_1 = _ratio(_c("earnings_1"), "revenue_1")
_asset_turnover = _ratio(_c("revenue"), "assets")
_asset_turnover_1 = _ratio(_c("revenue_1"), "assets_1")
_debt = _c("long_term_debt") + _c("short_term_debt")
_operating_accruals = (_working_capital() - _working_capital("_1") - _c("depreciation")) / positive(
    _c("assets_1")
)

_ANNUAL: dict[str, tuple[str, str, str, pl.Expr]] = {
    # Value.
    "bm": (
        "Book to market", "book equity / market equity", "Rosenberg, Reid, Lanstein (1985)",
        _c("book_equity") / _equity,
    ),
    "ep": ("Earnings to price", "earnings / market equity", "Basu (1977)", _c("earnings") / _equity),
    "sp": (
        "Sales to price", "revenue / market equity", "Barbee, Mukherji, Raines (1996)",
        _c("revenue") / _equity,
    ),
    "cfp": (
        "Cash flow to price", "operating cash flow / market equity",
        "Desai, Rajgopal, Venkatachalam (2004)", _c("operating_cash_flow") / _equity,
    ),
    "dy": (
        "Dividend to price", "dividends / market equity", "Litzenberger, Ramaswamy (1979)",
        _c("dividends") / _equity,
    ),
    "a2me": ("Assets to market", "assets / market equity", "Bhandari (1988)", _c("assets") / _equity),
    "debt2p": (
        "Debt to price", "(long-term + short-term debt) / market equity", "Litzenberger, Ramaswamy (1979)",
        _debt / _equity,
    ),
    "nop": (
        "Net payout ratio", "(dividends + share repurchases - share issuance) / market equity",
        "Boudoukh et al. (2007)",
        (_c("dividends") + _c("share_repurchases") - _c("share_issuance")) / _equity,
    ),
    "o2p": (
        "Payout yield", "(dividends + share repurchases - change in preferred stock) / market equity",
        "Boudoukh et al. (2007)",
        (
            _c("dividends") + _c("share_repurchases")
            - (_c("preferred_stock") - _c("preferred_stock_1"))
        ) / _equity,
    ),
    "rd_mve": (
        "R&D to market capitalization", "research and development / market equity",
        "Guo, Lev, Shi (2006)", _c("research_development") / _equity,
    ),
    "q": (
        "Tobin's Q", "(assets + market equity - cash - deferred taxes) / assets",
        "Freyberger, Neuhierl, Weber (2020)",
        _ratio(_c("assets") + _equity - _c("cash") - _c("deferred_taxes"), "assets"),
    ),
    "eps": (
        "Earnings per share", "earnings / (market equity / price that traded): per share of the month",
        "Basu (1977)",
        _c("earnings") * _c("unadjusted_price") / positive(_c("market_equity")),
    ),
    # Leverage and liquidity.
    "lev": ("Leverage", "liabilities / market equity", "Bhandari (1988)", _c("liabilities") / _equity),
    "lev_book": (
        "Leverage (book)", "(long-term + short-term debt) / (the same + book equity)",
        "Lewellen (2015)", _debt / positive(_debt + _c("book_equity")),
    ),
    "liab_at": (
        "Liabilities to assets", "liabilities / assets", "Soliman (2008)",
        _ratio(_c("liabilities"), "assets"),
    ),
    "currat": (
        "Current ratio", "current assets / current liabilities", "Ou, Penman (1989)", _current_ratio,
    ),
    "pchcurrat": (
        "Percent change in current ratio", "current ratio / current ratio a year before - 1",
        "Ou, Penman (1989)", _current_ratio / _current_ratio_1 - 1,
    ),
    "quick": (
        "Quick ratio", "(current assets - inventory) / current liabilities", "Ou, Penman (1989)", _quick(),
    ),
    "pchquick": (
        "Percent change in quick ratio", "quick ratio / quick ratio a year before - 1",
        "Ou, Penman (1989)", _quick() / _quick("_1") - 1,
    ),
    "convind": (
        "Convertible debt indicator", "1 if convertible debt > 0, else 0", "Valta (2016)",
        (_c("convertible_debt") > 0).cast(pl.Float64),
    ),
    "cashdebt": (
        "Cash flow to debt", "operating cash flow / liabilities", "Ou, Penman (1989)",
        _ratio(_c("operating_cash_flow"), "liabilities"),
    ),
    "c2d": (
        "Cash flow to liabilities", "(earnings + depreciation) / liabilities", "Ou, Penman (1989)",
        _ratio(_c("earnings") + _c("depreciation"), "liabilities"),
    ),
    "cashpr": (
        "Cash productivity", "(market equity + long-term debt - assets) / cash",
        "Chandrashekar, Rao (2009)",
        _ratio(_equity + _c("long_term_debt") - _c("assets"), "cash"),
    ),
    "salecash": ("Sales to cash", "revenue / cash", "Ou, Penman (1989)", _ratio(_c("revenue"), "cash")),
    "saleinv": (
        "Sales to inventory", "revenue / inventory", "Ou, Penman (1989)",
        _ratio(_c("revenue"), "inventory"),
    ),
    "pchsaleinv": (
        "Percent change in sales to inventory", "(revenue / inventory) / the same a year before - 1",
        "Ou, Penman (1989)",
        _ratio(_c("revenue"), "inventory") / _ratio(_c("revenue_1"), "inventory_1") - 1,
    ),
    "salerec": (
        "Sales to receivables", "revenue / receivables", "Ou, Penman (1989)",
        _ratio(_c("revenue"), "receivables"),
    ),
    "tan": (
        "Tangibility",
        "(0.715 receivables + 0.547 inventory + 0.535 property, plant, equipment + cash) / assets",
        "Hahn, Lee (2009)",
        _ratio(
            0.715 * _c("receivables") + 0.547 * _c("inventory")
            + 0.535 * _c("property_plant_equipment") + _c("cash"),
            "assets",
        ),
    ),
    # Growth and investment.
    "agr": (
        "Asset growth", "assets / assets a year before - 1", "Cooper, Gulen, Schill (2008)",
        _growth("assets", "assets_1"),
    ),
    "egr": (
        "Growth in book equity", "book equity / book equity a year before - 1",
        "Richardson et al. (2005)", _growth("book_equity", "book_equity_1"),
    ),
    "lgr": (
        "Growth in liabilities", "liabilities / liabilities a year before - 1",
        "Richardson et al. (2005)", _growth("liabilities", "liabilities_1"),
    ),
    "sgr": (
        "Sales growth", "revenue / revenue a year before - 1",
        "Lakonishok, Shleifer, Vishny (1994)", _growth("revenue", "revenue_1"),
    ),
    "grcapx": (
        "Growth in capital expenditures", "capital expenditures / the same a year before - 1",
        "Anderson, Garcia-Feijoo (2006)", _growth("capital_expenditures", "capital_expenditures_1"),
    ),
    "chcsho": (
        "Change in shares outstanding", "shares / shares a year before - 1",
        "Pontiff, Woodgate (2008)", _growth("shares", "shares_1"),
    ),
    "hire": (
        "Employee growth rate", "employees / employees a year before - 1", "Belo, Lin, Bazdresch (2014)",
        _growth("employees", "employees_1"),
    ),
    "invest": (
        "Investment", "capital expenditures / assets a year before", "Titman, Wei, Xie (2004)",
        _ratio(_c("capital_expenditures"), "assets_1"),
    ),
    "chinv": (
        "Change in inventory", "change in inventory / mean assets of the year", "Thomas, Zhang (2002)",
        (_c("inventory") - _c("inventory_1")) / _mean_assets(),
    ),
    "noa": (
        "Net operating assets",
        "(debt + minority interest + preferred stock + book equity - cash) / assets a year before",
        "Hirshleifer et al. (2004)", _ratio(_operating_assets(), "assets_1"),
    ),
    "grltnoa": (
        "Growth in long-term net operating assets",
        ("(change in property, plant, equipment, intangibles and other assets less other liabilities, "
        "+ depreciation) / mean assets of the year"),
        "Fairfield, Whisenant, Yohn (2003)",
        (
            _long_term_operating_assets() - _long_term_operating_assets("_1") + _c("depreciation")
        ) / _mean_assets(),
    ),
    # Accruals.
    "acc": (
        "Accruals", "(earnings - operating cash flow) / mean assets of the year", "Sloan (1996)",
        _accruals / _mean_assets(),
    ),
    "absacc": (
        "Absolute accruals", "|acc|", "Bandyopadhyay, Huang, Wirjanto (2010)",
        _accruals.abs() / _mean_assets(),
    ),
    "pctacc": (
        "Percent accruals", "(earnings - operating cash flow) / |earnings|",
        "Hafzalla, Lundholm, Van Winkle (2011)",
        _accruals / pl.when(_c("earnings") != 0).then(_c("earnings").abs()),
    ),
    "oa": (
        "Operating accruals",
        "(change in non-cash working capital - depreciation) / assets a year before", "Sloan (1996)",
        _operating_accruals,
    ),
    "aoa": (
        "Absolute operating accruals", "|oa|", "Bandyopadhyay, Huang, Wirjanto (2010)",
        _operating_accruals.abs(),
    ),
    "accruals_op": (
        "Accruals (operating profit)", "(operating cash flow - operating income) / assets",
        "Novy-Marx (2013)",
        _ratio(_c("operating_cash_flow") - _c("operating_income"), "assets"),
    ),
    # Profitability.
    "at": ("Total assets", "assets (USD)", "Gandhi, Lustig (2015)", _c("assets")),
    "ni": ("Net income", "earnings (USD)", "Feng, Polson, Xu (2020)", _c("earnings")),
    "gma": (
        "Gross profitability", "(revenue - cost of revenue) / assets a year before", "Novy-Marx (2013)",
        _ratio(_gross_profit(), "assets_1"),
    ),
    "operprof": (
        "Operating profitability",
        "(revenue - cost of revenue - SG&A - interest) / book equity a year before",
        "Fama, French (2015)",
        _ratio(
            _gross_profit() - _c("selling_general_administrative") - _c("interest_expense"),
            "book_equity_1",
        ),
    ),
    "prof": (
        "Profitability", "(revenue - cost of revenue) / book equity", "Ball et al. (2015)",
        _ratio(_gross_profit(), "book_equity"),
    ),
    "oproa": (
        "Operating return on assets", "operating income / assets", "Soliman (2008)",
        _ratio(_c("operating_income"), "assets"),
    ),
    "roic": (
        "Return on invested capital", "operating income / (book equity + liabilities - cash)",
        "Brown, Rowe (2007)",
        _c("operating_income") / positive(_c("book_equity") + _c("liabilities") - _c("cash")),
    ),
    "rna": (
        "Return on net operating assets", "operating income / net operating assets a year before",
        "Soliman (2008)", _c("operating_income") / positive(_operating_assets("_1")),
    ),
    "ato": (
        "Asset turnover", "revenue / net operating assets a year before", "Soliman (2008)",
        _c("revenue") / positive(_operating_assets("_1")),
    ),
    "sat": ("Sales to assets", "revenue / assets", "Soliman (2008)", _asset_turnover),
    "cto": (
        "Capital turnover", "revenue / assets a year before", "Haugen, Baker (1996)",
        _ratio(_c("revenue"), "assets_1"),
    ),
    "pm": (
        "Profit margin", "operating income / revenue", "Soliman (2008)",
        _ratio(_c("operating_income"), "revenue"),
    ),
    "ipm": (
        "Pretax profit margin", "pretax income / revenue", "Cong et al. (2020)",
        _ratio(_c("pretax_income"), "revenue"),
    ),
    "pcm": (
        "Price-to-cost margin", "(revenue - cost of revenue) / revenue", "Bustamante, Donangelo (2017)",
        _ratio(_gross_profit(), "revenue"),
    ),
    "chpm": (
        "Change in profit margin", "earnings / revenue, less the same a year before", "Soliman (2008)",
        _margin - _margin_1,
    ),
    "chato": (
        "Change in asset turnover", "revenue / assets, less the same a year before", "Soliman (2008)",
        _asset_turnover - _asset_turnover_1,
    ),
    "dgm_dsales": (
        "Gross margin growth less sales growth",
        "growth of (revenue - cost of revenue) less growth of revenue, over a year",
        "Abarbanell, Bushee (1997)",
        _gross_profit() / positive(_gross_profit("_1")) - _ratio(_c("revenue"), "revenue_1"),
    ),
    "ol": (
        "Operating leverage", "(cost of revenue + SG&A) / assets", "Novy-Marx (2011)",
        _ratio(_c("cost_of_revenue") + _c("selling_general_administrative"), "assets"),
    ),
    "sga2s": (
        "SG&A to sales", "SG&A / revenue", "Freyberger, Neuhierl, Weber (2020)",
        _ratio(_c("selling_general_administrative"), "revenue"),
    ),
    "rd_sale": (
        "R&D to sales", "research and development / revenue", "Guo, Lev, Shi (2006)",
        _ratio(_c("research_development"), "revenue"),
    ),
    "freecf": (
        "Free cash flow to book equity",
        "(earnings + depreciation - change in non-cash working capital - capital expenditures) / book equity",
        "Hou, Karolyi, Kho (2011)",
        _ratio(
            _c("earnings") + _c("depreciation") - (_working_capital() - _working_capital("_1"))
            - _c("capital_expenditures"),
            "book_equity",
        ),
    ),
    "depr": (
        "Depreciation / PP&E", "depreciation / property, plant, equipment", "Holthausen, Larcker (1992)",
        _ratio(_c("depreciation"), "property_plant_equipment"),
    ),
    "pchdepr": (
        "Percent change in depreciation", "depr / depr a year before - 1", "Holthausen, Larcker (1992)",
        _ratio(_c("depreciation"), "property_plant_equipment")
        / _ratio(_c("depreciation_1"), "property_plant_equipment_1") - 1,
    ),
    "ps": (
        "Financial statements score",
        ("number of: earnings > 0; operating cash flow > 0; earnings / assets up; operating cash flow > "
        "earnings; long-term debt / assets down; current ratio up; gross margin up; revenue / assets up; "
        "shares not up"),
        "Piotroski (2000)", _score(),
    ),
}  # fmt: skip

_QUARTERLY: dict[str, tuple[str, str, str, pl.Expr]] = {
    "roa": (
        "Return on assets", "earnings of the quarter / assets a quarter before",
        "Balakrishnan, Bartov, Faurel (2010)", _ratio(_c("earnings_q"), "assets_q1"),
    ),
    "roe": (
        "Return on equity", "earnings of the quarter / book equity a quarter before",
        "Hou, Xue, Zhang (2015)", _ratio(_c("earnings_q"), "book_equity_q1"),
    ),
    "cash": ("Cash holdings", "cash / assets", "Palazzo (2012)", _ratio(_c("cash_q"), "assets_q")),
    "chtx": (
        "Change in tax expense",
        "(income taxes of the quarter - the same 4 quarters before) / assets 4 quarters before",
        "Thomas, Zhang (2011)", _ratio(_c("income_taxes_q") - _c("income_taxes_q4"), "assets_q4"),
    ),
}  # fmt: skip

_SIXTEEN_QUARTERS: dict[str, tuple[str, str, str, pl.Expr]] = {
    "nincr": (
        "Number of earnings increases",
        "quarters in a row with higher earnings than 4 quarters before, at most 8",
        "Barth, Elliott, Finn (1999)", _increases(),
    ),
    "sue": (
        "Unexpected quarterly earnings",
        ("(earnings - earnings 4 quarters before) / standard deviation of these changes in the 8 quarters "
        "before (at least 6)"),
        "Rendleman, Jones, Latane (1982)", _surprise("earnings"),
    ),
    "rsup": (
        "Revenue surprise",
        ("(revenue - revenue 4 quarters before) / standard deviation of these changes in the 8 quarters "
        "before (at least 6)"),
        "Jegadeesh, Livnat (2006)", _surprise("revenue"),
    ),
    "roavol": (
        "Earnings volatility", "standard deviation of roa over 16 quarters (at least 8)",
        "Francis et al. (2004)", _deviation(_per_quarter("earnings", "assets", lag=1), QUARTERS // 2),
    ),
    "stdacc": (
        "Accrual volatility",
        "standard deviation of (earnings - operating cash flow) / revenue over 16 quarters (at least 8)",
        "Bandyopadhyay, Huang, Wirjanto (2010)",
        _deviation(
            _per_quarter("earnings", "revenue", less="operating_cash_flow"), QUARTERS // 2
        ),
    ),
    "stdcf": (
        "Cash flow volatility",
        "standard deviation of operating cash flow / revenue over 16 quarters (at least 8)",
        "Huang (2009)", _deviation(_per_quarter("operating_cash_flow", "revenue"), QUARTERS // 2),
    ),
}  # fmt: skip


def _investment(item: str) -> pl.Expr:
    return _ratio(
        _c(item) - _c(f"{item}_1") + _c("inventory") - _c("inventory_1"), "assets_1"
    )  # fmt: skip


_PROPERTY_AND_INVENTORY = Characteristic(
    "dpi2a", "Capital expenditures and inventory", "Lyandres, Sun, Zhang (2008)", "annual",
    Definition(
        "(change in gross property, plant, equipment + change in inventory) / assets a year before",
        _investment("gross_property_plant_equipment"),
    ),
    Definition(
        "(where the source has no gross figure) the same with net property, plant, equipment",
        _investment("property_plant_equipment"),
    ),
)  # fmt: skip


def _entries(
    table: dict[str, tuple[str, str, str, pl.Expr]], frequency: Frequency, history_years: int
) -> tuple[Characteristic, ...]:
    return tuple(
        Characteristic(
            acronym, name, paper, frequency, Definition(formula, expression), history_years=history_years
        )
        for acronym, (name, formula, paper, expression) in table.items()
    )


STATEMENT: tuple[Characteristic, ...] = (
    *_entries(_ANNUAL, "annual", 3),
    _PROPERTY_AND_INVENTORY,
    *_entries(_QUARTERLY, "quarterly", 3),
    *_entries(_SIXTEEN_QUARTERS, "quarterly", 6),
)
