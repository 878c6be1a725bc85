"""The papers' lists: their name of each characteristic, and the acronym it has here. What two papers share
stands once in the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_MEMORY = (
    "absacc", "acc", "agr", "baspread", "beta", "betasq", "bm", "bm_ia", "cash", "cashdebt", "cashpr", "cfp",
    "cfp_ia", "chatoia", "chcsho", "chmom", "chinv", "chpmia", "chtx", "convind", "currat", "depr",
    "dolvol", "dy", "egr", "ep", "gma", "grcapx", "herf", "idiovol", "ill", "indmom", "lev", "lgr",
    "maxret", "mom_1", "mom_6", "mom_12", "mvel1", "mve_ia", "operprof", "pchcurrat", "pchdepr",
    "pchquick", "pchsaleinv", "ps", "quick", "pctacc", "retvol", "roa", "roavol", "roe", "roic",
    "salecash", "saleinv", "salerec", "sgr", "sp", "stddolvol", "stdturn", "stdacc", "stdcf", "tb", "turn",
)  # fmt: skip

_SEQUENCE = {
    "A2ME": "a2me", "OA": "oa", "AOA": "aoa", "AT": "at", "BEME": "bm", "Beta_daily": "beta_daily",
    "C": "cash", "C2D": "c2d", "CTO": "cto", "Dept2P": "debt2p", "Δceq": "egr",
    "Δ(ΔGM – ΔSales)": "dgm_dsales",
    "ΔSo": "chcsho", "Δshrout": "dshrout", "ΔPI2A": "dpi2a", "E2P": "ep", "EPS": "eps", "Free CF": "freecf",
    "Idol_vol": "rvar_ff3", "Investment": "agr", "IPM": "ipm", "IVC": "chinv", "Lev": "lev_book",
    "LDP": "dy", "MC": "mvel1", "Turnover": "turn_1", "NOA": "noa", "NOP": "nop", "O2P": "o2p", "OL": "ol",
    "PCM": "pcm", "PM": "pm", "Prof": "prof", "Q": "q", "Ret": "mom_1", "Ret_max": "maxret", "RNA": "rna",
    "ROA": "roa", "ROC": "cashpr", "ROE": "roe", "ROIC": "roic", "S2C": "salecash", "Sale_g": "sgr",
    "SAT": "sat", "S2P": "sp", "SGA2S": "sga2s", "Spread": "spread", "Std_turnover": "stdturn",
    "Std_vol": "stdvol", "Tan": "tan",
}  # fmt: skip

_DEEPCHAR = {
    "Lag market equity": "mvel1", "Employee growth rate": "hire",
    "Industry-adjusted change in profit margin": "chpmia",
    "Industry-adjusted change in asset turnover": "chatoia", "Industry-adjusted book to market": "bm_ia",
    "Industry Concentration": "herf", "Number of earnings increases": "nincr",
    "Dollar trading volume": "dolvol", "Share turnover": "turn", "Industry momentum": "indmom",
    "Maximum daily return": "maxret", "Volatility of liquidity (dollar trading volume)": "stddolvol",
    "Volatility of liquidity (share turnover)": "stdturn", "Illiquidity": "ill",
    "Zero trading days": "zerotrade", "Price delay": "pricedelay", "Working capital accruals": "acc",
    "Asset growth": "agr", "Book-to-market": "bm", "Cash flow to price ratio": "cfp",
    "Earnings to price": "ep", "Payout yield": "o2p", "Net income": "ni", "Dividend to price": "dy",
    "Unexpected quarterly earnings": "sue", "Revenue surprise": "rsup", "Cash holdings": "cash",
    "Change in shares outstanding": "chcsho", "Cash flow to debt": "cashdebt", "Percent accruals": "pctacc",
    "Gross profitability": "gma", "Leverage": "lev", "R&D to market capitalization": "rd_mve",
    "Sales growth": "sgr", "Sales to price": "sp", "Capital expenditures and inventory": "dpi2a",
    "R&D to sales": "rd_sale", "Financial statements score": "ps", "Growth in long-term debt": "lgr",
    "Return on assets": "roa", "Depreciation / PP&E": "depr", "Growth in common shareholder equity": "egr",
    "Growth in long term net operating assets": "grltnoa", "Change in profit margin": "chpm",
    "Change in asset turnover": "chato", "Change in tax expense": "chtx", "Net Operating Assets": "noa",
    "Return on net operating assets": "rna", "Profit margin": "pm", "Asset turnover": "ato",
    "Bid-ask spread": "baspread", "Residual variance w.r.t. FF3": "rvar_ff3",
    "Residual variance w.r.t. CAPM": "rvar_capm", "Stock variance": "svar", "Market Beta": "beta",
    "1-month momentum": "mom_1", "12-month momentum": "mom_12", "60-month momentum": "mom_60",
    "36-month momentum": "mom_36", "6-month momentum": "mom_6", "Seasonality": "seas",
}  # fmt: skip

_RECURRENT = {
    "60VOL": "retvol_60", "BETA": "beta", "SKEW": "skew_60", "ROE": "roe", "ROA": "oproa",
    "ACCRUALS": "accruals_op", "LEVERAGE": "liab_at", "12-1MOM": "mom_12", "1MOM": "mom_1",
    "60MOM": "ret_60", "PSR": "sp", "PER": "ep", "PBR": "bm", "PCFR": "cfp", "CAP": "mvel1", "ILLIQ": "ill",
}  # fmt: skip

_TREND = {
    "Normalized Daily Return": "normalized_return_1", "Normalized Weekly Return": "normalized_return_5",
    "Normalized Monthly Return": "normalized_return_21",
    "Normalized Quarterly Return": "normalized_return_63",
    "Normalized Biannual Return": "normalized_return_126",
    "Normalized Annual Return": "normalized_return_252", "MACD 8/24": "macd_8_24",
    "MACD 16/48": "macd_16_48", "MACD 32/96": "macd_32_96", "Daily Volatility 5": "volatility_5",
    "Daily Volatility 21": "volatility_21", "Beta 126": "beta_126", "Beta 252": "beta_252",
    "Alpha Daily": "alpha_1", "Alpha Weekly": "alpha_5", "Alpha Monthly": "alpha_21",
    "Annual Alpha Variance Ratio": "alpha_variance_ratio", "CTI 21": "cti_21", "CTI 63": "cti_63",
    "CTI 126": "cti_126", "CTI 252": "cti_252",
}  # fmt: skip

LISTS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "memory": MappingProxyType({acronym: acronym for acronym in _MEMORY}),
        "sequence": MappingProxyType(_SEQUENCE),
        "deepchar": MappingProxyType(_DEEPCHAR),
        "recurrent": MappingProxyType(_RECURRENT),
        "trend": MappingProxyType(_TREND),
    }
)
"""Paper -> its name of a characteristic -> our acronym."""

EXCEPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "memory": """\
- The appendix gives names and frequencies, no formulas: formulas are those of Green, Hand, Zhang (2017),
  whose acronyms it uses, as far as the table below says nothing else.
- `depr` and `herf` are called monthly there; both rest on annual items and change with them.
- Where a source has quarters only, annual characteristics use the newest four.
- `lgr` (growth in long-term debt) is growth of all liabilities, as in the programs of Green, Hand, Zhang.
- `acc`, `absacc`, `pctacc` and `stdacc` take accruals from the cash-flow statement; `oa` and `aoa` take them
  from the balance sheet.
- `cashdebt` takes the cash flow from the cash-flow statement, `mve_ia` the logarithm of market equity,
  `grcapx` one year; `tb` leaves out the statutory tax rate, the same for all.
""",
        "sequence": """\
- The paper speaks of 51; its appendix lists 50, all of which are here.
- `ΔSo` is the logarithm of one plus `chcsho`: the same ranks, so one characteristic.
- `Idol_vol` is the square root of `rvar_ff3`: the same ranks; the paper leaves the window open.
- `Beta_daily` leaves the window open: 12 months here.
- `ROA`, `ROE` and `C` change quarterly here, `MC` is a logarithm, `Ret` is the total return (the risk-free
  rate is the same for all stocks).
- `Free CF`, `Lev` and `NOA` use common book equity, and preferred stock on its own where it is named.
""",
        "deepchar": """\
- The paper speaks of 62; its table 6, the only list in it, has 61, all of which are here.
- The paper averages quarterly and annual versions; here each has the one frequency of its row.
- `ni` is net income in USD, as the table says; in related lists this acronym means net issues.
- `seas` is the return of the same month a year before; "seasonality (1-13)" is all the paper says.
""",
        "recurrent": """\
- `BETA` is the weekly beta over 36 months; the table leaves window and frequency open.
- `ACCRUALS` is divided by assets, without which it would be another measure of size.
""",
        "trend": """\
- MACD is divided by the price: in dollars its level would know later splits. Prices are total-return indices.
- Alpha is over 1, 5 and 21 days as the list of features has it (section 3.2 says 21, 63, 126).
- These are daily, for models that read days; a panel of months has none of them.
""",
    }
)
"""What a list has otherwise than its paper, and why; Markdown."""
