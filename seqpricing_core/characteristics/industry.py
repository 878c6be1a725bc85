"""Characteristics that compare a stock with its industry: the first two digits of its SIC code in that month.

Means and shares are over all stocks of the month that have the value, eligible for the study or not.
A stock without a SIC code has none of them.
"""

from __future__ import annotations

import polars as pl

from seqpricing_core.characteristics.definition import MEAN, SUM, Characteristic, Definition
from seqpricing_core.characteristics.market import MARKET
from seqpricing_core.characteristics.statements import STATEMENT, positive

_OWN = {entry.acronym: entry.definition for entry in (*MARKET, *STATEMENT)}


def _known(value: pl.Expr) -> pl.Expr:
    """``value`` for stocks whose industry is known."""
    return pl.when(pl.col("industry").is_not_null()).then(value)


def _adjusted(base: str) -> Definition:
    column = f"own_{base}"
    return Definition(
        f"{base} less its mean over the stocks of the industry (SIC2)",
        _known(pl.col(column) - pl.col(column + MEAN)),
        {column: _OWN[base]},
    )


_tax = Definition(
    "current income taxes / earnings", pl.col("current_income_taxes") / positive(pl.col("earnings"))
)
_revenue = Definition("revenue", pl.col("revenue"))
_squared_revenue = Definition("revenue^2", pl.col("revenue") ** 2)

INDUSTRY: tuple[Characteristic, ...] = (
    Characteristic(
        "bm_ia", "Industry-adjusted book to market", "Asness, Porter, Stevens (2000)", "annual",
        _adjusted("bm"),
    ),
    Characteristic(
        "cfp_ia", "Industry-adjusted cash flow to price", "Asness, Porter, Stevens (2000)", "annual",
        _adjusted("cfp"),
    ),
    Characteristic(
        "chatoia", "Industry-adjusted change in asset turnover", "Soliman (2008)", "annual",
        _adjusted("chato"),
    ),
    Characteristic(
        "chpmia", "Industry-adjusted change in profit margin", "Soliman (2008)", "annual",
        _adjusted("chpm"),
    ),
    Characteristic(
        "mve_ia", "Industry-adjusted size", "Asness, Porter, Stevens (2000)", "monthly",
        _adjusted("mvel1"),
    ),
    Characteristic(
        "herf", "Industry sales concentration", "Hou, Robinson (2006)", "annual",
        Definition(
            "sum over the stocks of the industry (SIC2) of (revenue / revenue of the industry)^2",
            _known(
                pl.col("own_squared_revenue" + SUM) / positive(pl.col("own_revenue" + SUM)) ** 2
            ),
            {"own_revenue": _revenue, "own_squared_revenue": _squared_revenue},
        ),
    ),
    Characteristic(
        "indmom", "Industry momentum", "Moskowitz, Grinblatt (1999)", "monthly",
        Definition(
            "mean of mom_12 over the stocks of the industry (SIC2)",
            _known(pl.col("own_mom_12" + MEAN)),
            {"own_mom_12": _OWN["mom_12"]},
        ),
    ),
    Characteristic(
        "tb", "Tax income to book income", "Lev, Nissim (2004)", "annual",
        Definition(
            "current income taxes / earnings, less its mean over the stocks of the industry (SIC2); the "
            "statutory tax rate, the same for all firms, is left out",
            _known(pl.col("own_tax") - pl.col("own_tax" + MEAN)),
            {"own_tax": _tax},
        ),
    ),
)  # fmt: skip
